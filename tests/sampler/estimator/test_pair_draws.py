"""Draws of image and displacement pairs: each pair equally likely, and no pair twice."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
import torch
from reference.score_machines import legal_centers

from patchindex import PatchGeometry
from sampler.estimator.regions import Region, sampled_regions
from sampler.estimator.tail import PairDraws, draw_pairs, shares_of_displacements

HEIGHT, WIDTH, PATCH_SIZE = 7, 10, 3
SHAPES = [
    ("zeros", HEIGHT, WIDTH, 3),
    ("zeros", 12, 4, 3),  # two columns inside
    ("zeros", 5, 30, 5),  # one row inside
    ("circular", HEIGHT, WIDTH, 3),
    ("circular", 9, 9, 5),
    ("circular_interior", HEIGHT, WIDTH, 5),
]


def geometry_of(boundary: str, height: int, width: int, patch_size: int) -> PatchGeometry:
    return PatchGeometry(height=height, width=width, patch_size=patch_size, boundary=boundary)


def interior(boundary: str = "zeros") -> Region:
    geometry = geometry_of(boundary, HEIGHT, WIDTH, PATCH_SIZE)
    return max(sampled_regions(geometry), key=lambda region: region.num_centers)


def drawn(region: Region, draws: PairDraws, num_images: int) -> np.ndarray:
    """Which pairs were drawn [n, rows, cols], by position in the table of displacements."""
    group_of, share_of = draws.groups.of_images(num_images)
    shares = draws.groups.displacement_shares
    chosen = (group_of >= 0)[:, None, None] & (share_of[:, None, None] == shares)
    return chosen.numpy()


def legal_displacements(region: Region, shape: tuple, y: int, x: int) -> list[tuple[int, int]]:
    """Positions in the table of displacements of a pixel's legal centers."""
    boundary, height, width, patch_size = shape
    legal = np.argwhere(legal_centers("ELS", boundary, (y, x), patch_size, (height, width)))
    return [tuple(center - (y, x) + region.farthest) for center in legal]


@pytest.mark.parametrize(("boundary", "num_patches"), [("zeros", 300), ("circular", 700)])
def test_every_legal_pair_is_equally_likely(boundary: str, num_patches: int) -> None:
    region, num_seeds, num_images = interior(boundary), 600, 81
    members = np.arange(1, num_images, 2)
    brightness = np.random.default_rng(0).random(num_images)
    counts: np.ndarray | int = 0
    for seed in range(num_seeds):
        rng = np.random.default_rng(seed)
        draws = draw_pairs(region, members, brightness, num_patches, rng)
        counts = counts + drawn(region, draws, num_images)
    probability = 1 / draws.inverse_probability
    assert 0.8 < probability * len(members) * region.num_centers / num_patches < 1.2
    assert not counts[0::2].any()
    # 600 draws show a share of 0.2 to 0.016; 40 images by 247 displacements, of which those of one
    # share are alike: 5 standard deviations
    deviation = (probability * (1 - probability) / num_seeds) ** 0.5
    np.testing.assert_allclose(counts[1::2] / num_seeds, probability, atol=5 * deviation)
    # of all images together: half a group of 15 more or less
    np.testing.assert_allclose(counts[1::2].mean(axis=0) / num_seeds, probability, rtol=0.015)


@pytest.mark.parametrize("num_patches", [64, 150, 400, 900])
@pytest.mark.parametrize("shape", SHAPES)
def test_no_pair_is_drawn_twice_and_each_pixel_meets_about_as_many(shape, num_patches) -> None:
    num_images = 200
    for region in sampled_regions(geometry_of(*shape)):
        if 2 * num_patches >= num_images * region.num_centers:
            continue
        rng = np.random.default_rng(0)
        draws = draw_pairs(region, np.arange(num_images), rng.random(num_images), num_patches, rng)
        images = draws.groups.images.flatten().tolist()
        assert len(set(images)) == len(images)
        assert len(draws.groups) >= 2
        chosen = drawn(region, draws, num_images)
        for y, x in product(region.pixel_rows, region.pixel_cols):
            met = sum(
                chosen[:, dy, dx].sum() for dy, dx in legal_displacements(region, shape, y, x)
            )
            expected = num_images * region.num_centers / draws.inverse_probability
            assert met == pytest.approx(expected, rel=0.4)
            assert expected == pytest.approx(num_patches, rel=0.3)


@pytest.mark.parametrize("num_shares", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("shape", SHAPES)
def test_shares_of_displacements_part_the_centers_of_every_pixel_evenly(shape, num_shares) -> None:
    for region in sampled_regions(geometry_of(*shape)):
        shares = shares_of_displacements(region, num_shares)
        assert shares.shape == tuple(2 * farthest + 1 for farthest in region.farthest)
        assert shares.min() == 0 <= shares.max() < num_shares
        for y, x in product(region.pixel_rows, region.pixel_cols):
            legal = legal_displacements(region, shape, y, x)
            sizes = Counter(int(shares[place]) for place in legal)
            assert sum(sizes.values()) == len(legal) == region.num_centers
            # each row may hold a run of two more or less
            mean = region.num_centers / num_shares
            assert max(abs(sizes[share] - mean) for share in range(num_shares)) <= 2 + mean / 2


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape[0] != "zeros"])
def test_where_windows_wrap_round_shares_repeat_with_the_image(shape) -> None:
    (region,) = sampled_regions(geometry_of(*shape))
    _, height, width, _ = shape
    for num_shares in (2, 3, 5):
        shares = shares_of_displacements(region, num_shares)
        np.testing.assert_array_equal(shares[height:], shares[: height - 1])
        np.testing.assert_array_equal(shares[:, width:], shares[:, : width - 1])


def test_groups_are_of_images_of_every_brightness() -> None:
    region, rng = interior(), np.random.default_rng(1)
    brightness = rng.random(4000)
    draws = draw_pairs(region, np.arange(4000), brightness, 8000, rng)
    per_group = draws.groups.images.shape[1]
    assert per_group > 4
    # one of each of the strata, whose ranks are at most a stratum away from those of even steps
    ranks = brightness.argsort().argsort()[draws.groups.images.numpy()]
    expected = (np.arange(per_group) + 0.5) * 4000 / per_group
    assert np.abs(np.sort(ranks, axis=1) - expected).max() < 4000 / per_group


@pytest.mark.parametrize(
    ("num_patches", "shape"), [(500, (25, 1)), (1300, (32, 2)), (4000, (33, 6)), (45000, (46, 48))]
)
def test_groups_are_many_before_they_are_large(num_patches, shape) -> None:
    draws = draw_pairs(
        interior(), np.arange(9000), np.zeros(9000), num_patches, np.random.default_rng(0)
    )
    assert tuple(draws.groups.images.shape) == shape
    pilot = draw_pairs(
        interior(), np.arange(9000), np.zeros(9000), 100, np.random.default_rng(0), most_groups=2
    )
    assert len(pilot.groups) == 2
    assert torch.equal(pilot.groups.displacement_shares, draws.groups.displacement_shares)
