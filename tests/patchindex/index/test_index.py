"""Searching an index, against float64 brute force over the same patches."""

import shutil

import faiss
import numpy as np
import pytest
import torch
from small_index import all_windows, build_small, merged_lists, reseal, small_images

from patchindex import ImageSet, windows_at
from patchindex.errors import DatasetError, IndexConfigError
from patchindex.images import to_unit
from patchindex.index.patch_index import PatchIndex
from patchindex.index.trained import decode
from patchindex.kernels.backend import BACKEND

EVERY = 10**6


KINDS = ["faiss"] if BACKEND == "torch" else ["triton", "faiss"]


@pytest.fixture(scope="module")
def small_path(tmp_path_factory):
    return build_small(tmp_path_factory.mktemp("built") / "small.zarr").path


@pytest.fixture(scope="module")
def wide_path(tmp_path_factory):
    """Some hundred images, at a scale whose windows are projected."""
    images = small_images(400, side=20)
    return build_small(
        tmp_path_factory.mktemp("wide") / "wide.zarr",
        images,
        scales=(9,),
        block_patches=50_000,
        shard_patches=60_000,
    ).path


@pytest.fixture(scope="module", params=KINDS)
def index(small_path, request):
    return PatchIndex.open(small_path, list_search=request.param)


@pytest.fixture(scope="module", params=KINDS)
def wide_index(wide_path, request):
    return PatchIndex.open(wide_path, list_search=request.param)


def noisy_windows(index, patch_size, signature, num, *, sigma=0.3):
    """Windows [num, d] of noisy training images at random pixels of a border signature."""
    rng = np.random.default_rng(0)
    geometry = index.geometry(patch_size)
    border = geometry.signatures[signature]
    rows = rng.choice(border.rows.pixels, num)
    cols = rng.choice(border.cols.pixels, num)
    images = to_unit(np.array(index.images.pixels[rng.integers(0, len(index.images), num)]))
    noisy = images + sigma * torch.from_numpy(rng.standard_normal(images.shape)).float()
    windows = [
        windows_at(noisy[i : i + 1], range(y, y + 1), range(x, x + 1), geometry).reshape(-1)
        for i, (y, x) in enumerate(zip(rows, cols, strict=True))
    ]
    return torch.stack(windows)


def interior(index, patch_size):
    """The signature with the most patches."""
    sizes = [s.num_centers for s in index.geometry(patch_size).signatures]
    return int(np.argmax(sizes))


def true_dist_sq(index, patch_size, signature, windows, found):
    """Exact squared distances [q, k] of found ids, and of all patches [q, p] of the signature."""
    ids, patches = all_windows(index, patch_size, signature)
    queries = windows.double().numpy()
    dist_sq = np.square(queries[:, None] - patches).sum(2)
    return np.take_along_axis(dist_sq, np.searchsorted(ids, found.numpy()), axis=1), dist_sq


@pytest.mark.parametrize("patch_size", [3, 7])
def test_visiting_every_list_finds_every_patch_of_the_signature(index, patch_size):
    for signature in range(len(index.geometry(patch_size).signatures)):
        ids, _ = all_windows(index, patch_size, signature)
        windows = noisy_windows(index, patch_size, signature, 3)
        found = index.search(patch_size, signature, windows, len(ids), nprobe=EVERY)
        assert np.array_equal(np.sort(found.numpy(), axis=1), np.tile(ids, (3, 1)))


def test_visiting_every_list_orders_by_the_distance_to_the_codes(index):
    for patch_size in (3, 7):
        arrays, signature = index.arrays(patch_size), interior(index, patch_size)
        windows = noisy_windows(index, patch_size, signature, 5)
        found = index.search(patch_size, signature, windows, 200, nprobe=EVERY).numpy()
        ids, codes = merged_lists(index, patch_size)
        vectors = decode(codes, arrays.code_min, arrays.code_span)
        first, end = (arrays.offsets[arrays.signature_lists[signature + i]] for i in (0, 1))
        ids, vectors = ids[first:end], vectors[first:end].astype(np.float64)
        queries = arrays.project(windows.numpy()).astype(np.float64)
        dist_sq = np.square(queries[:, None] - vectors).sum(2)
        order = np.argsort(ids)
        of_found = np.take_along_axis(dist_sq, order[np.searchsorted(ids[order], found)], axis=1)
        # float32 sums of some tens of squares
        np.testing.assert_allclose(
            of_found, np.sort(dist_sq, axis=1)[:, :200], rtol=1e-5, atol=1e-5
        )


def test_visiting_every_list_of_plain_codes_is_brute_force(index):
    signature = interior(index, 3)
    windows = noisy_windows(index, 3, signature, 20)
    found = index.search(3, signature, windows, 100, nprobe=EVERY)
    of_found, of_all = true_dist_sq(index, 3, signature, windows, found)
    np.testing.assert_allclose(of_found, np.sort(of_all, axis=1)[:, :100], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("nprobe", "least"), [(4, 0.5), (16, 0.65), (EVERY, 0.7)])
def test_recall_on_real_images(wide_index, nprobe, least):
    signature, k = interior(wide_index, 9), 64
    windows = noisy_windows(wide_index, 9, signature, 8, sigma=0.4)
    found = wide_index.search(9, signature, windows, k, nprobe=nprobe)
    of_found, of_all = true_dist_sq(wide_index, 9, signature, windows, found)
    farthest = np.partition(of_all, k - 1, axis=1)[:, k - 1 : k]
    assert (of_found <= farthest * (1 + 1e-6)).mean() > least


def test_more_lists_never_find_worse_neighbors(wide_index):
    signature = interior(wide_index, 9)
    windows = noisy_windows(wide_index, 9, signature, 4)
    farthest = []
    for nprobe in (1, 4, 16, 64, EVERY):
        found = wide_index.search(9, signature, windows, 32, nprobe=nprobe)
        arrays, (ids, codes) = wide_index.arrays(9), merged_lists(wide_index, 9)
        order = np.argsort(ids)
        slots = order[np.searchsorted(ids, found.numpy(), sorter=order)]
        vectors = decode(codes[slots], arrays.code_min, arrays.code_span)
        queries = arrays.project(windows.numpy())
        farthest.append(np.square(queries[:, None] - vectors).sum(2).max(1))
    assert (np.diff(farthest, axis=0) <= 1e-4).all()


def test_results_do_not_depend_on_the_other_queries(wide_index):
    signature = interior(wide_index, 9)
    windows = noisy_windows(wide_index, 9, signature, 60)
    together = wide_index.search(9, signature, windows, 20, nprobe=8)
    alone = [wide_index.search(9, signature, row[None], 20, nprobe=8) for row in windows]
    assert torch.equal(together, torch.cat(alone))
    assert torch.equal(
        together, PatchIndex.open(wide_index.path).search(9, signature, windows, 20, nprobe=8)
    )


def test_fewer_patches_than_asked_for_end_in_minus_one(index):
    found = index.search(3, 0, noisy_windows(index, 3, 0, 2), 50)
    assert (found[:, :40] >= 0).all()
    assert (found[:, 40:] == -1).all()


@pytest.mark.parametrize("patch_size", [3, 7])
def test_a_label_restricts_the_patches_to_its_images(index, patch_size):
    signature = interior(index, patch_size)
    windows = noisy_windows(index, patch_size, signature, 4)
    label = int(index.images.labels[0])
    members = index.images.label_indices(label)
    everything = index.search(patch_size, signature, windows, EVERY // 50, nprobe=EVERY).numpy()
    found = index.search(patch_size, signature, windows, 30, nprobe=EVERY, label=label).numpy()
    for row, all_row in zip(found, everything, strict=True):
        of_label = all_row[np.isin(all_row // 256, members) & (all_row >= 0)]
        assert set(row // 256) <= set(members)
        assert len(set(row)) == 30
        # the same patches, unless codes tie at the end
        assert len(set(row) & set(of_label[:60])) == 30


def test_lists_that_are_too_long_are_left_out(index):
    number = interior(index, 3)
    windows = noisy_windows(index, 3, number, 4)
    arrays = index.arrays(3)
    lists = arrays.lists_of(number)
    longest = int(np.median(arrays.count[lists.start : lists.stop]))
    kept = [
        set(arrays.read_lists(np.array([i]))[0].tolist())
        for i in lists
        if arrays.count[i] <= longest
    ]
    found = index.search(3, number, windows, EVERY, nprobe=EVERY, longest_list=longest)
    for row in found:
        assert set(row[row >= 0].tolist()) == set().union(*kept)


def test_maps_are_for_reading_so_that_an_index_may_be_larger_than_memory(index):
    arrays = index.arrays(3)
    for array in (index.images.pixels, arrays.shards[1].ids, arrays.shards[1].codes):
        assert not array.flags.writeable


def test_the_only_list_of_a_signature_is_never_left_out(index):
    number = index.geometry(3).signature_at(0, 0)
    assert len(index.arrays(3).lists_of(number)) == 1
    found = index.search(3, number, noisy_windows(index, 3, number, 2), 9, longest_list=1)
    assert (found >= 0).all()


def test_a_label_without_images_is_refused(index):
    with pytest.raises(DatasetError, match=r"no image of small has label 77. Give one of these"):
        index.search(3, 4, noisy_windows(index, 3, 4, 1), 5, label=77)


def test_images_whose_size_is_no_multiple_of_eight_keep_their_labels_apart(tmp_path):
    images = ImageSet.from_array(small_images(9).pixels[:, :, :5, :7], np.arange(9) % 2)
    index = build_small(tmp_path / "odd.zarr", images, scales=(1,))
    windows = torch.zeros(1, 1)
    found = index.search(1, 0, windows, 500, nprobe=EVERY, label=1)
    assert set((found[found >= 0] // 35).tolist()) == {1, 3, 5, 7}
    assert (found >= 0).sum() == 4 * 35


def test_scales_are_known_and_the_nearest_is_found(index):
    assert index.scales == (3, 7)
    assert [index.nearest_scale(p) for p in (1, 3, 5, 7, 31)] == [3, 3, 3, 7, 7]
    assert index.geometry(5).patch_size == 5
    assert index.boundary == "zeros"


def test_a_scale_that_is_not_there_is_refused(index):
    with pytest.raises(
        IndexConfigError, match=r"the index has no scale 5. Give one of these: 3, 7"
    ):
        index.search(5, 0, torch.zeros(1, 25), 1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"signature": 9}, r"signature is 9. Give 0..8"),
        (
            {"windows": torch.zeros(1, 8)},
            r"windows have 8 values, but patches of this scale have 9",
        ),
        ({"k": 0}, r"k is 0. Give at least 1"),
        ({"nprobe": 0}, r"nprobe is 0. Give at least 1"),
        ({"skip": -1}, r"skip is -1. Give 0, to leave out no list, or more"),
    ],
)
def test_a_search_that_cannot_be_is_refused(index, wrong, message):
    right = {"signature": 0, "windows": torch.zeros(1, 9), "k": 1, "nprobe": 1}
    with pytest.raises(IndexConfigError, match=message):
        index.search(3, **(right | wrong))


def test_no_query_gives_no_neighbors(index):
    assert index.search(3, 0, torch.zeros(0, 9), 5).shape == (0, 5)


def test_skipped_lists_are_those_visited_before(wide_index):
    signature = interior(wide_index, 9)
    windows = noisy_windows(wide_index, 9, signature, 6)
    every = len(wide_index.arrays(9).lists_of(signature))
    assert every > 20
    found = [
        wide_index.search(9, signature, windows, EVERY // 10, nprobe=nprobe, skip=skip)
        for skip, nprobe in ((0, 4), (4, 5), (9, every), (0, every))
    ]
    for *parts, whole in zip(*found, strict=True):
        apart = [set(part[part >= 0].tolist()) for part in parts]
        assert all(apart)
        assert sum(map(len, apart)) == len(set().union(*apart))
        assert set().union(*apart) == set(whole[whole >= 0].tolist())
    behind = wide_index.search(9, signature, windows, 5, nprobe=3, skip=every)
    assert (behind == -1).all()


@pytest.mark.slow
def test_how_images_are_divided_into_shards_changes_no_neighbor(tmp_path):
    images = small_images(40, channels=3)
    found = []
    for shard_patches in (1000, 10**6):
        path = tmp_path / f"{shard_patches}.zarr"
        build_small(path, images, shard_patches=shard_patches, block_patches=1000)
        for kind in KINDS:
            index = PatchIndex.open(path, list_search=kind)
            windows = [noisy_windows(index, 7, s, 20) for s in (0, 3, 24)]
            found.append(
                torch.cat(
                    [
                        index.search(7, s, w, 30, nprobe=6, label=label)
                        for s, w in zip((0, 3, 24), windows, strict=True)
                        for label in (None, int(images.labels[0]))
                    ]
                )
            )
    assert len(PatchIndex.open(tmp_path / "1000.zarr").arrays(7).shards) == 20
    half = len(KINDS)
    for one, other in zip(found[:half], found[half:], strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("patch_size", [3, 7])
def test_a_faiss_index_of_a_signature_finds_what_the_index_finds(small_path, patch_size):
    index = PatchIndex.open(small_path, list_search="faiss")
    for signature in (0, interior(index, patch_size)):
        windows = noisy_windows(index, patch_size, signature, 9)
        plain = index.to_faiss(patch_size, signature)
        for nprobe in (1, 3, len(index.arrays(patch_size).lists_of(signature))):
            faiss.extract_index_ivf(plain).nprobe = nprobe
            dist_sq, ids = plain.search(windows.numpy(), 12)
            wanted = index.search(patch_size, signature, windows, 12, nprobe=nprobe)
            same = ids == wanted.numpy()
            # a window is projected in float32 there, so that near ties may be decided otherwise
            assert same.mean() > 0.98
            assert (np.diff(dist_sq, axis=1) >= 0).all()


def test_a_faiss_index_of_a_scale_holds_every_patch(small_path):
    index = PatchIndex.open(small_path)
    plain = index.to_faiss(7)
    assert plain.ntotal == index.info().scales[1].patches
    ids, windows = all_windows(index, 7, interior(index, 7))
    faiss.extract_index_ivf(plain).nprobe = len(index.arrays(7).count)
    dist_sq, found = plain.search(windows[::500].astype(np.float32), 1)
    assert (found[:, 0] == ids[::500]).mean() > 0.9  # but for equal ones
    assert dist_sq.max() < 0.1
    with pytest.raises(IndexConfigError, match=r"signature is 49. Give 0..48"):
        index.to_faiss(7, 49)


def test_lists_of_scales_not_used_for_longest_are_dropped(index, monkeypatch):
    monkeypatch.setattr("patchindex.index.list_search.faiss.CACHE_BYTES", 1)
    opened = PatchIndex.open(index.path, list_search="faiss")
    windows = {p: noisy_windows(index, p, interior(index, p), 3) for p in (3, 7)}
    for patch_size in (3, 7, 3, 7):
        signature = interior(index, patch_size)
        found = opened.search(patch_size, signature, windows[patch_size], 10)
        assert torch.equal(found, index.search(patch_size, signature, windows[patch_size], 10))
        assert list(opened._search._list_search("faiss")._searchers) == [patch_size]


def test_the_numbers_of_an_index(index):
    info = index.info()
    assert (info.dataset, info.images, info.boundary) == ("small", (40, 1, 16, 16), "zeros")
    assert [(s.patch_size, s.patches, s.code_bytes, s.shards) for s in info.scales] == [
        (3, 40 * 256, 16, 3), (7, 40 * 256, 40, 3),
    ]  # fmt: skip
    assert info.scales[0].explained_variance == 1
    assert 0.97 < info.scales[1].explained_variance < 1
    assert set(info.versions) == {"patchindex", "faiss", "numpy", "torch", "zarr"}
    text = "\n".join(info.lines())
    for word in (
        "small: 40 images of 1 x 16 x 16",
        "zeros",
        "10,240",
        "MB",
        "faiss",
        "none",
        "1..44",
        "99.",
    ):
        assert word in text


def test_names_that_no_terminal_can_show_are_escaped(small_path, tmp_path):
    path = shutil.copytree(small_path, tmp_path / "copy.zarr")
    reseal(path, lambda attributes: attributes.update(dataset="\ud800\x1b[2J ümlaut"))
    text = "\n".join(PatchIndex.open(path).info().lines())
    assert r"dataset   \ud800\x1b[2J ümlaut: 40 images" in text
