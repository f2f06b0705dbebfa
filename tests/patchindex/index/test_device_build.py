"""What a device makes of patches during a build, against what FAISS makes of them here."""

import numpy as np
import pytest
import torch
from simulated_gpu import simulated_gpu
from small_index import array_checksums, build_small, small_config, small_images

from patchindex import PatchGeometry
from patchindex.index import assign, assign_on_device
from patchindex.index.build import build_index
from patchindex.index.merge import ListSums
from patchindex.index.train import train_scale
from patchindex.progress import no_progress

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BOUNDARIES = ["zeros", "circular", "circular_interior"]


@pytest.fixture(autouse=True)
def small_steps(monkeypatch):
    monkeypatch.setattr(assign_on_device, "STEP_BYTES", 2**19)


@pytest.fixture
def gpu():
    """A simulated one, which refuses what CUDA would."""
    if torch.cuda.is_available():
        pytest.skip("the real GPU would be disturbed by a simulated one")
    with simulated_gpu(0) as device:
        yield device


@pytest.fixture(params=[(b, p) for b in BOUNDARIES for p in (3, 7)], ids=str)
def case(request):
    boundary, patch_size = request.param
    images = small_images(30, channels=2)
    geometry = PatchGeometry(height=16, width=16, patch_size=patch_size, boundary=boundary)
    trained = train_scale(images, geometry, small_config(), no_progress)
    return images.pixels, geometry, trained


def test_a_device_puts_patches_into_the_lists_of_the_processor(case):
    pixels, geometry, trained = case
    found = assign_on_device.list_block(pixels, geometry, trained, DEVICE)
    expected = assign.list_block(pixels, geometry, trained)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    assert (found == expected).mean() > 0.999
    lead = trained.centroids.shape[1]
    projected = assign.project_block(pixels, geometry, trained)
    vectors = projected.reshape(-1, len(trained.pca))[:, :lead].double().numpy()
    to_found, to_expected = (
        np.square(vectors - trained.centroids[lists]).sum(1) for lists in (found, expected)
    )
    # both expand the square in float32: errors of 1e-6 of the squared norms, up to 200
    np.testing.assert_allclose(to_found, to_expected, atol=1e-3)


def test_a_device_gives_patches_the_codes_of_the_processor(case):
    pixels, geometry, trained = case
    found = assign_on_device.code_block(pixels, geometry, trained, DEVICE)
    expected = assign.code_block(pixels, geometry, trained)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    assert (found == expected).mean() > 0.999
    assert np.abs(found.astype(int) - expected).max() <= 1  # a vector on the edge of two codes


def test_a_device_rounds_as_faiss_does(case, rng):
    trained = case[2]
    reach = 1.5 * trained.code_span
    vectors = (trained.code_min + reach * rng.uniform(-0.3, 1, (2000, len(reach)))).astype("f4")
    first, span = (torch.from_numpy(x).to(DEVICE) for x in (trained.code_min, trained.code_span))
    found = assign_on_device.encode(torch.from_numpy(vectors).to(DEVICE), first, span)
    assert np.array_equal(found.cpu().numpy(), trained.encode(vectors))


def test_of_equal_centroids_a_device_takes_the_first():
    centroids = torch.tensor([[1.0, 0], [0, 1], [0, 1]], device=DEVICE)
    vectors = torch.tensor([[0.0, 3], [0, 2], [2, 0]], device=DEVICE)
    assert assign_on_device.nearest(vectors, centroids).tolist() == [1, 1, 0]


def test_float32_is_whole_only_as_long_as_it_is_needed():
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high")
    try:
        with assign_on_device.exact_float32():
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cudnn.allow_tf32
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before[0])
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before


def lists_by_id(index):
    """List of every patch of scale 3, in the order of ids."""
    arrays = index.arrays(3)
    return np.repeat(np.arange(len(arrays.count)), arrays.count)[np.argsort(arrays.ids)]


def test_a_build_on_a_device_is_whole_and_has_the_same_lists(tmp_path, gpu):
    images = small_images(20)
    here = build_small(tmp_path / "here.zarr", images, scales=(3,))
    there = build_index(images, small_config(scales=(3,)), tmp_path / "there.zarr", device=gpu)
    there.verify()
    mine, theirs = array_checksums(here), array_checksums(there)
    for name in ("pca", "centroids", "code_min", "code_span"):
        assert mine[f"scales/3/{name}"] == theirs[f"scales/3/{name}"], name
    assert (lists_by_id(here) == lists_by_id(there)).mean() > 0.999  # but for near ties


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_build_on_a_gpu_is_whole_and_repeats_itself(tmp_path):
    """Its twin without a GPU is the build on a simulated one."""
    first, again = (
        build_index(small_images(), small_config(), tmp_path / name, device=torch.device("cuda", 0))
        for name in ("first.zarr", "again.zarr")
    )
    first.verify()
    assert array_checksums(first) == array_checksums(again)


def test_sums_are_the_same_wherever_they_are_added_up(case, gpu):
    pixels, geometry, trained = case
    lists = assign.list_block(pixels, geometry, trained)
    sums = [ListSums.zeros(trained.nlist, 2, geometry.patch_size) for _ in range(2)]
    sums[0].add(pixels, lists, geometry)
    sums[1].add(pixels, lists, geometry, gpu)
    for name in ("count", "sums", "sum_sq"):
        assert np.array_equal(getattr(sums[0], name), getattr(sums[1], name))
