"""What a build puts into an index."""

import logging

import numpy as np
import pytest
import torch
from small_index import (
    all_windows,
    array_checksums,
    build_small,
    merged_lists,
    small_config,
    small_images,
)

from patchindex import ImageSet
from patchindex.errors import GeometryError
from patchindex.index.build import build_index
from patchindex.index.lists import cut_windows
from patchindex.index.trained import decode

BOUNDARIES = ["zeros", "circular", "circular_interior"]


@pytest.fixture(scope="module", params=[*BOUNDARIES, "colour"])
def built(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("built") / "small.zarr"
    if request.param == "colour":
        return build_small(path, small_images(20, channels=3), scales=(3, 5))
    return build_small(path, boundary=request.param)


def members(index, patch_size):
    """List of every stored patch."""
    return np.repeat(np.arange(len(index.arrays(patch_size).count)), index.arrays(patch_size).count)


def test_the_images_come_back_bit_for_bit(tmp_path):
    images = small_images()
    index = build_small(tmp_path / "small.zarr", images)
    assert np.array_equal(index.images.pixels, images.pixels)
    assert np.array_equal(index.images.labels, images.labels)
    assert index.images.sha256 == images.sha256 == index.manifest["images_sha256"]
    assert (index.images.name, index.images.class_names) == ("small", ())


def test_images_without_labels_stay_so(tmp_path):
    images = ImageSet.from_array(small_images(4).pixels)
    assert build_small(tmp_path / "small.zarr", images).images.labels is None


def test_every_legal_patch_is_in_one_list_of_its_own_signature(built):
    for patch_size in built.scales:
        arrays, lists = built.arrays(patch_size), members(built, patch_size)
        for signature in range(len(built.geometry(patch_size).signatures)):
            legal, _ = all_windows(built, patch_size, signature)
            own = arrays.lists_of(signature)
            found = merged_lists(built, patch_size)[0][(lists >= own.start) & (lists < own.stop)]
            assert np.array_equal(np.sort(found), legal)
            sizes = np.diff(lists[(lists >= own.start) & (lists < own.stop)])
            assert (sizes >= 0).all()


def test_ids_ascend_in_every_list(built):
    for patch_size in built.scales:
        lists = members(built, patch_size)
        steps = np.diff(merged_lists(built, patch_size)[0])
        assert (steps[np.diff(lists) == 0] > 0).all()


def test_every_patch_is_in_the_list_of_its_nearest_centroid(built):
    for patch_size in built.scales:
        arrays, lists = built.arrays(patch_size), members(built, patch_size)
        assert max(np.diff(arrays.signature_lists)) > 8
        lead = arrays.centroids.shape[1]
        ids, _ = merged_lists(built, patch_size)
        windows = cut_windows(built.images.pixels, ids, built.geometry(patch_size))
        vectors = arrays.project(windows)[:, :lead].astype(np.float64)
        to_own = np.square(vectors - arrays.centroids[lists]).sum(1)
        for signature in range(len(built.geometry(patch_size).signatures)):
            own = arrays.lists_of(signature)
            mine = (lists >= own.start) & (lists < own.stop)
            centroids = arrays.centroids[own.start : own.stop]
            nearest = np.square(vectors[mine, None] - centroids).sum(2).min(1)
            # FAISS expands the square in float32: errors of 1e-6 of the squared norms, up to 200
            np.testing.assert_allclose(to_own[mine], nearest, atol=1e-3)


def test_codes_stand_for_the_projected_windows(built):
    for patch_size in built.scales:
        arrays = built.arrays(patch_size)
        ids, codes = merged_lists(built, patch_size)
        windows = cut_windows(built.images.pixels, ids, built.geometry(patch_size))
        error = np.abs(decode(codes, arrays.code_min, arrays.code_span) - arrays.project(windows))
        within = error <= arrays.code_span / 255 * 0.51  # half a step, and rounding
        assert within.mean() > 0.999  # patches outside the sampled range are clipped
        assert within.all() or len(arrays.pca) < arrays.pca.shape[1]


def test_pixels_of_small_windows_are_their_own_codes(tmp_path):
    index = build_small(tmp_path / "small.zarr", boundary="circular_interior")
    arrays = index.arrays(3)
    ids, codes = merged_lists(index, 3)
    windows = cut_windows(index.images.pixels, ids, index.geometry(3))
    found = decode(codes, arrays.code_min, arrays.code_span)
    np.testing.assert_allclose(found[:, :9], windows, atol=1e-6)  # float32 rounding
    assert (found[:, 9:] == found[0, 9]).all(), "what fills the lanes must not move distances"


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits_and_another_does_not(tmp_path):
    first, again, other = (
        array_checksums(build_small(tmp_path / f"{name}.zarr", seed=seed))
        for name, seed in (("first", 0), ("again", 0), ("other", 1))
    )
    assert first == again
    assert first["scales/7/centroids"] != other["scales/7/centroids"]


@pytest.mark.slow
def test_shards_change_no_list_and_no_code(tmp_path):
    few, many = (
        build_small(tmp_path / f"{patches}.zarr", shard_patches=patches, block_patches=1000)
        for patches in (1000, 10**6)
    )
    for patch_size in few.scales:
        assert len(few.arrays(patch_size).shards) > 8
        assert len(many.arrays(patch_size).shards) == 1
        assert np.array_equal(few.arrays(patch_size).offsets, many.arrays(patch_size).offsets)
        for one, other in zip(
            merged_lists(few, patch_size), merged_lists(many, patch_size), strict=True
        ):
            assert np.array_equal(one, other)


def test_the_number_of_threads_changes_no_bit(tmp_path):
    images, threads = small_images(40, channels=3), torch.get_num_threads()
    try:
        found = []
        for count in (1, 3):
            torch.set_num_threads(count)
            index = build_small(tmp_path / f"{count}.zarr", images, single_list_patches=50)
            found.append(array_checksums(index))
    finally:
        torch.set_num_threads(threads)
    assert found[0] == found[1]


def test_ids_of_a_shard_count_from_its_first_image(built):
    for patch_size in built.scales:
        area = built.images.height * built.images.width
        for shard in built.arrays(patch_size).shards:
            assert shard.ids.dtype == np.uint32
            assert shard.first_id % area == 0
            assert shard.ids.max() < (len(built.images) * area)


def test_projections_hold_the_variance_that_was_asked_for(tmp_path):
    images = small_images(30, channels=3)
    for share, dims in ((0.5, 8), (1.0, 32)):
        index = build_small(
            tmp_path / f"{share}.zarr", images, scales=(9,), explained_variance=share,
            least_dims=4, most_dims=32,
        )  # fmt: skip
        arrays = index.arrays(9)
        assert len(arrays.pca) == dims
        _, windows = all_windows(index, 9, 40)  # the middle, beside all those that PCA has seen
        kept = np.square((windows - windows.mean(0)) @ arrays.pca.T.astype(np.float64)).sum()
        whole = np.square(windows - windows.mean(0)).sum()
        assert kept / whole == pytest.approx(arrays.explained_variance[-1], abs=0.15)
        assert (np.diff(arrays.explained_variance) >= 0).all()


@pytest.mark.parametrize("value", [0, 130])
def test_plain_images_can_be_indexed(tmp_path, value):
    images = ImageSet.from_array(np.full((30, 1, 12, 12), value, dtype=np.uint8))
    build_small(tmp_path / "plain.zarr", images).verify()


def test_one_tiny_image_can_be_indexed_up_to_the_largest_scale(tmp_path):
    images = ImageSet.from_array(small_images(1).pixels[:, :, :4, :5])
    build_small(tmp_path / "tiny.zarr", images, scales=(1, 3, 7, 9)).verify()


def test_a_scale_that_no_window_fits_is_refused(tmp_path):
    with pytest.raises(
        GeometryError, match=r"scale 33 is too large for 16x16 images. Give at most 31"
    ):
        build_small(tmp_path / "small.zarr", scales=(3, 33))
    assert not list(tmp_path.glob("*.zarr*"))


def test_the_plan_is_told_before_anything_is_built(tmp_path, caplog):
    caplog.set_level(logging.INFO, "patchindex")
    stages = []

    def progress(stage, _done, _total):
        if not stages:
            assert [word in caplog.text for word in ("disk", "memory", "estimate")] == [True] * 3
        stages.append(stage)

    build_index(small_images(), small_config(), tmp_path / "small.zarr", progress=progress)
    assert list(dict.fromkeys(stages)) == [
        f"scale {scale}: {stage}" for scale in (3, 7) for stage in ("train", "assign")
    ]
