"""Recall against brute force in float64, ties, labels, and which pixels are tried."""

import numpy as np
import pytest
import torch
from small_index import all_windows, build_small

import sampler.studies.recall
from patchindex import PatchGeometry, PatchIndex, windows_at
from sampler.studies.recall import random_pixels, recall_of, search_recall


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> PatchIndex:
    return build_small(tmp_path_factory.mktemp("indices") / "small.zarr")


@pytest.fixture
def y(rng, index) -> torch.Tensor:
    clean = torch.from_numpy(index.images.pixels[:3] / 127.5 - 1).float()
    return clean + 0.5 * torch.from_numpy(rng.standard_normal(clean.shape).astype("f4"))


def query(index, y, patch_size, pixel) -> tuple[int, torch.Tensor]:
    """Signature number and full window [1, c, s, s] of one pixel."""
    sample, row, col = pixel
    geometry = index.geometry(patch_size)
    window = windows_at(y[sample : sample + 1], range(row, row + 1), range(col, col + 1), geometry)
    return geometry.signature_at(row, col), window[0, 0].contiguous()


def distances(index, y, patch_size, pixel) -> tuple[np.ndarray, np.ndarray]:
    """Ids of a pixel's dictionary and their squared distances, by brute force."""
    number, window = query(index, y, patch_size, pixel)
    ids, patches = all_windows(index, patch_size, number)
    return ids, ((patches - window.reshape(-1).double().numpy()) ** 2).sum(axis=1)


def recall_at(index, y, patch_size, pixel, found, label=None) -> float:
    number, window = query(index, y, patch_size, pixel)
    geometry = index.geometry(patch_size)
    shares = recall_of(
        torch.as_tensor(found)[None],
        window,
        index.images.tensor,
        geometry,
        geometry.signatures[number],
        label_indices=index.images.label_indices(label),
    )
    return shares.item()


@pytest.mark.parametrize("patch_size", [3, 7])
@pytest.mark.parametrize("pixel", [(0, 8, 8), (1, 0, 7), (2, 15, 15)])
def test_recall_is_the_share_of_the_true_nearest(index, y, patch_size, pixel) -> None:
    ids, dist_sq = distances(index, y, patch_size, pixel)
    nearest, k = ids[dist_sq.argsort(kind="stable")], 12
    found = np.concatenate([nearest[: k - 3], nearest[-2:], [-1]])
    assert recall_at(index, y, patch_size, pixel, nearest[:k]) == 1
    assert recall_at(index, y, patch_size, pixel, found) == pytest.approx((k - 3) / k)
    assert recall_at(index, y, patch_size, pixel, nearest[-k:]) == 0
    assert recall_at(index, y, patch_size, pixel, np.full(k, -1)) == 0


def test_a_patch_as_near_as_the_last_one_counts(index) -> None:
    """Plain patches have many equals, and any of them is as good as another."""
    plain = torch.full((1, 1, 16, 16), -1.0)
    ids, dist_sq = distances(index, plain, 3, (0, 8, 8))
    equals = ids[dist_sq == 0]
    assert len(equals) > 40
    assert recall_at(index, plain, 3, (0, 8, 8), equals[-20:]) == 1


def test_a_dictionary_smaller_than_k_is_found_whole(index, y) -> None:
    ids, _ = distances(index, y, 7, (0, 0, 0))
    found = np.concatenate([ids, np.full(60, -1)])
    assert recall_at(index, y, 7, (0, 0, 0), found) == 1
    assert recall_at(index, y, 7, (0, 0, 0), np.where(np.arange(100) < 10, found, -1)) == 10 / 40


def test_a_label_narrows_what_counts_as_nearest(index, y) -> None:
    label = int(index.images.labels[0])
    ids, dist_sq = distances(index, y, 3, (0, 8, 8))
    of_label = index.images.labels[ids // 256] == label
    nearest = ids[of_label][dist_sq[of_label].argsort()]
    assert recall_at(index, y, 3, (0, 8, 8), nearest[:9], label) == 1
    assert recall_at(index, y, 3, (0, 8, 8), nearest[:9]) < 1


def test_chunks_change_nothing(index, y, monkeypatch) -> None:
    pixels = np.array([[0, 8, 8], [1, 0, 7], [2, 3, 3]])
    whole = search_recall(index, y, 7, pixels, k=30, nprobe=1)
    monkeypatch.setattr(sampler.studies.recall, "PATCHES_PER_CHUNK", 150)
    assert torch.equal(search_recall(index, y, 7, pixels, k=30, nprobe=1), whole)
    assert 0 < whole.mean() < 1


def test_the_search_is_measured_pixel_by_pixel_in_order(index, y) -> None:
    pixels = np.array([[2, 8, 8], [0, 0, 5], [1, 8, 9], [0, 0, 6]])
    shares = search_recall(index, y, 3, pixels, k=20, nprobe=2)
    for pixel, share in zip(pixels.tolist(), shares.tolist(), strict=True):
        number, window = query(index, y, 3, pixel)
        found = index.search(3, number, window.flatten(1), 20, nprobe=2)[0]
        ids, dist_sq = distances(index, y, 3, pixel)
        limit = np.sort(dist_sq)[19] * (1 + 1e-5)
        assert share == np.isin(found.numpy(), ids[dist_sq <= limit]).mean()


def test_more_lists_raise_recall_to_all_but_what_codes_confuse(index, y) -> None:
    pixels = random_pixels(index.geometry(7), 3, 24, np.random.default_rng(0))
    few = search_recall(index, y, 7, pixels, k=20, nprobe=1).mean()
    every = search_recall(index, y, 7, pixels, k=20, nprobe=10**6).mean()
    assert few < every
    # codes keep so many components of these crops that few neighbors change places
    assert every > 0.9


def test_pixels_are_distinct_and_need_a_search(rng) -> None:
    geometry = PatchGeometry(height=8, width=8, patch_size=5)
    pixels = random_pixels(geometry, 2, 1000, rng)
    assert len(np.unique(pixels, axis=0)) == len(pixels) == 2 * (64 - 4 * 4)
    assert (geometry.centers_per_pixel[pixels[:, 1], pixels[:, 2]] > 1).all()
    assert len(random_pixels(geometry, 2, 5, rng)) == 5


def test_where_nothing_is_searched_no_pixel_is_tried(rng) -> None:
    geometry = PatchGeometry(height=4, width=4, patch_size=7)
    assert random_pixels(geometry, 2, 5, rng).shape == (0, 3)
