"""Neighbors, expected errors, comparison and segmentation of copies, against plain loops."""

from collections import deque
from math import log
from pathlib import Path

import numpy as np
import pytest
import torch
from small_index import build_small, small_images

from patchindex import ImageSet, PatchIndex
from patchindex.images import to_unit
from sampler.attribution.copy_candidates import (
    Candidates,
    Neighbors,
    expected_error,
    find_neighbors,
    vote,
)
from sampler.attribution.copy_regions import (
    LEAST_EVIDENCE,
    best_component,
    components,
    displaced,
    evidence,
    find_regions,
    segment,
)

SIDE, SIZE, K = 16, 5, 8


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> PatchIndex:
    images = small_images(20, side=SIDE, channels=3)
    return build_small(tmp_path_factory.mktemp("regions") / "i.zarr", images, scales=(SIZE,))


@pytest.fixture(scope="module")
def picture() -> torch.Tensor:
    return to_unit(small_images(40, side=SIDE, channels=3).pixels[33])


@pytest.fixture(scope="module")
def near(index: PatchIndex, picture: torch.Tensor) -> Neighbors:
    (found,) = find_neighbors(index, picture[None], SIZE, k=K, nprobe=10**4, without=[None])
    return found


def all_patches(index: PatchIndex) -> tuple[np.ndarray, np.ndarray]:
    """Image, top and left of every patch, and its float64 values."""
    pixels = index.images.pixels / 127.5 - 1
    free = SIDE - SIZE + 1
    places = [(i, y, x) for i in range(len(pixels)) for y in range(free) for x in range(free)]
    patches = [pixels[i, :, y : y + SIZE, x : x + SIZE].ravel() for i, y, x in places]
    return np.array(places), np.array(patches)


def test_neighbors_are_the_nearest_patches(
    index: PatchIndex, picture: torch.Tensor, near: Neighbors
) -> None:
    _, patches = all_patches(index)
    values = picture.double().numpy()
    assert len(near.top) + near.plain.sum() == (SIDE - SIZE + 1) ** 2
    # codes of patches are rounded, so that the last of so many may be another
    for number in range(0, len(near.top), 7):
        y, x = near.top[number], near.left[number]
        window = values[:, y : y + SIZE, x : x + SIZE].ravel()
        nearest = np.sort(np.square(patches - window).sum(axis=1))
        assert near.dist_sq[number, 0] == pytest.approx(nearest[0], rel=0.05, abs=1e-4)
        assert np.all(np.diff(near.dist_sq[number]) >= 0)


def test_neighbors_leave_an_image_out(index: PatchIndex) -> None:
    own = to_unit(index.images.pixels[:2])
    found = find_neighbors(index, own, SIZE, k=K, nprobe=10**4, without=[0, None])
    assert not (found[0].ids // SIDE**2 == 0).any()
    assert (found[1].ids // SIDE**2 == 1).any(axis=1).all()
    assert found[1].dist_sq[:, 0].max() < 1e-6


def test_expected_error_is_that_of_the_farther_half(
    index: PatchIndex, picture: torch.Tensor, near: Neighbors
) -> None:
    values, pixels = picture.double().numpy(), index.images.pixels / 127.5 - 1
    total, times = np.zeros((SIDE, SIDE)), np.zeros((SIDE, SIDE))
    for y in range(SIDE - SIZE + 1):
        for x in range(SIDE - SIZE + 1):
            times[y : y + SIZE, x : x + SIZE] += 1
    for y, x, ids in zip(near.top, near.left, near.ids, strict=True):
        for patch in ids[K // 2 :]:
            image, row, col = patch // SIDE**2, patch // SIDE % SIDE - 2, patch % SIDE - 2
            there = pixels[image, :, row : row + SIZE, col : col + SIZE]
            error = np.square(values[:, y : y + SIZE, x : x + SIZE] - there).mean(axis=0)
            total[y : y + SIZE, x : x + SIZE] += error / (K - K // 2)
    found = expected_error(index, picture, near, compared=100)
    np.testing.assert_allclose(found, total / times, atol=1e-5)


def test_votes_name_images_and_displacements(index: PatchIndex) -> None:
    pixels = np.roll(index.images.pixels[4], (2, -3), axis=(1, 2))
    (near,) = find_neighbors(index, to_unit(pixels)[None], SIZE, k=K, nprobe=99, without=[None])
    open_pixels = np.ones((SIDE, SIDE), dtype=bool)
    voted = vote(near, open_pixels, tolerance=0.04, most=5, values=3 * SIZE**2)
    assert len(voted) == 5
    assert (voted.image[0], voted.dy[0], voted.dx[0]) == (4, -2, 3)
    none = vote(near, ~open_pixels, tolerance=0.04, most=5, values=3 * SIZE**2)
    assert len(none) == 0


@pytest.mark.parametrize("wraps", [False, True])
def test_regions_compare_every_pixel_with_its_counterpart(
    index: PatchIndex, picture: torch.Tensor, wraps: bool, rng: np.random.Generator
) -> None:
    tolerance, most_offset = 0.1, 0.2
    candidates = Candidates(
        image=np.array([3, 7, 7]), dy=np.array([-4, 0, 5]), dx=np.array([2, 0, -15]),
        seen=np.ones((3, SIDE, SIDE), dtype=bool),
    )  # fmt: skip
    expected = torch.from_numpy(rng.random((SIDE, SIDE), dtype=np.float32))
    moved, valid = displaced(index.images, candidates, wraps=wraps)
    found = find_regions(
        picture, moved, valid, torch.from_numpy(candidates.seen), expected,
        tolerance=tolerance, most_offset=most_offset,
    )  # fmt: skip
    values, pixels = picture.double().numpy(), index.images.pixels / 127.5 - 1
    for number, image in enumerate(candidates.image):
        dy, dx = candidates.dy[number], candidates.dx[number]
        pairs = {
            (y, x): pixels[image, :, (y + dy) % SIDE, (x + dx) % SIDE]
            for y in range(SIDE)
            for x in range(SIDE)
            if wraps or (0 <= y + dy < SIDE and 0 <= x + dx < SIDE)
        }
        assert valid[number].sum() == len(pairs)
        differences = sorted((values[:, y, x] - at).mean() for (y, x), at in pairs.items())
        middle = differences[(len(differences) - 1) // 2]
        offset = min(max(middle, -most_offset), most_offset)
        assert float(found.offset[number]) == pytest.approx(offset, abs=1e-5)
        score = 0.0
        for (y, x), at in pairs.items():
            squared = np.square(values[:, y, x] - np.clip(at + offset, -1, 1)).mean()
            assert float(found.squared[number, y, x]) == pytest.approx(squared, abs=1e-4)
            if found.mask[number, y, x]:
                other = float(expected[y, x]) + tolerance**2
                nats = 0.5 * (log(other / tolerance**2) + float(expected[y, x]) / other)
                score += max(LEAST_EVIDENCE, nats - 0.5 * squared / tolerance**2)
        assert float(found.score[number]) == pytest.approx(score, rel=1e-3, abs=0.01)


def test_plain_pixels_are_no_evidence() -> None:
    nats = evidence(torch.zeros(1, 2, 2), torch.tensor([[0.0, 0.1], [0.0, 0.4]]), 0.05)
    assert nats[0, :, 0].tolist() == [0, 0]
    assert 0 < nats[0, 0, 1] < nats[0, 1, 1]
    assert evidence(torch.ones(1, 1, 1), torch.zeros(1, 1), 0.05).item() == LEAST_EVIDENCE


def test_segments_ignore_single_pixels() -> None:
    nats = torch.full((1, 9, 9), -0.8)
    nats[0, 1:8, 1:8] = 0.8
    nats[0, 4, 4], nats[0, 0, 8] = -0.8, 0.4
    mask = segment(nats)[0]
    assert mask[4, 4]
    assert not mask[0, 8]
    assert mask[1:8, 1:8].all()


def flooded(mask: np.ndarray) -> list[frozenset[tuple[int, int]]]:
    """The connected parts of a mask, by a queue."""
    left = {tuple(place) for place in np.argwhere(mask).tolist()}
    parts = []
    while left:
        queue, part = deque([left.pop()]), set()
        while queue:
            y, x = queue.popleft()
            part.add((y, x))
            for near in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
                if near in left:
                    left.remove(near)
                    queue.append(near)
        parts.append(frozenset(part))
    return parts


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.7, 1.0])
def test_components_are_those_of_a_flood(share: float, rng: np.random.Generator) -> None:
    masks = rng.random((4, 13, 9)) < share
    labels = components(masks)
    for mask, numbers in zip(masks, labels, strict=True):
        assert not numbers[~mask].any()
        by_label = {
            frozenset(map(tuple, np.argwhere(numbers == each).tolist()))
            for each in set(numbers[mask].tolist())
        }
        assert by_label == set(flooded(mask))


def test_the_best_component_has_the_most_evidence(rng: np.random.Generator) -> None:
    masks = rng.random((5, 11, 11)) < 0.5
    masks[4] = False
    nats = rng.normal(0.3, 1, masks.shape)
    chosen, score = best_component(torch.from_numpy(masks), torch.from_numpy(nats))
    for number in range(4):
        sums = {sum(nats[number][place] for place in part) for part in flooded(masks[number])}
        assert float(score[number]) == pytest.approx(max(sums), rel=1e-5)
        assert nats[number][chosen[number].numpy()].sum() == pytest.approx(max(sums))
    assert score[4] == 0
    assert not chosen[4].any()


def test_circular_indices_find_what_wraps(tmp_path: Path) -> None:
    images: ImageSet = small_images(20, side=SIDE)
    index = build_small(tmp_path / "i.zarr", images, scales=(SIZE,), boundary="circular")
    pixels = np.roll(images.pixels[4], (5, 6), axis=(1, 2))
    (near,) = find_neighbors(index, to_unit(pixels)[None], SIZE, k=K, nprobe=99, without=[None])
    open_pixels = np.ones((SIDE, SIDE), dtype=bool)
    voted = vote(near, open_pixels, tolerance=0.04, most=3, values=SIZE**2)
    assert (voted.image[0], voted.dy[0], voted.dx[0]) == (4, -5, -6)
    moved, valid = displaced(index.images, voted, wraps=True)
    assert valid.all()
    torch.testing.assert_close(moved[0], to_unit(pixels))
