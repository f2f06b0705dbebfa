"""Lists and codes that a build makes: on a device, with other threads, in other divisions."""

import numpy as np
import pytest
import torch
from simulated_gpu import simulated_gpu
from small_index import (
    array_checksums,
    build_small,
    merged_lists,
    small_config,
    small_images,
)

from patchindex import PatchGeometry
from patchindex.device import CPU
from patchindex.index import assign
from patchindex.index.assign import Assigner
from patchindex.index.build import build_index
from patchindex.index.train import train_scale
from patchindex.index.trained import encode
from patchindex.progress import no_progress

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BOUNDARIES = ["zeros", "circular", "circular_interior"]


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


def test_a_device_assigns_as_the_processor_does(case, gpu, monkeypatch):
    monkeypatch.setattr(assign, "GPU_PATCHES", 2**12)
    pixels, geometry, trained = case
    (found, codes), (expected, expected_codes) = (
        Assigner.of(trained, geometry, device).assign(pixels, 4) for device in (gpu, CPU)
    )
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    assert (found == expected).mean() > 0.999
    lead = trained.centroids.shape[1]
    projected = Assigner.of(trained, geometry).project(pixels)
    vectors = projected.reshape(-1, len(trained.pca))[:, :lead].double().numpy()
    to_found, to_expected = (
        np.square(vectors - trained.centroids[lists]).sum(1) for lists in (found, expected)
    )
    # both expand the square in float32: errors of 1e-6 of the squared norms, up to 200
    np.testing.assert_allclose(to_found, to_expected, atol=1e-3)
    assert (codes.shape, codes.dtype) == (expected_codes.shape, expected_codes.dtype)
    assert (codes == expected_codes).mean() > 0.999
    assert np.abs(codes.astype(int) - expected_codes).max() <= 1  # on the edge of two codes


def test_codes_are_rounded_as_faiss_rounds_them(case, rng):
    trained = case[2]
    reach = 1.5 * trained.code_span
    vectors = (trained.code_min + reach * rng.uniform(-0.3, 1, (2000, len(reach)))).astype("f4")
    first, span = (torch.from_numpy(x).to(DEVICE) for x in (trained.code_min, trained.code_span))
    found = encode(torch.from_numpy(vectors).to(DEVICE), first, span)
    index = trained.empty_index()
    wanted = index.sq.compute_codes(vectors)
    assert np.array_equal(found.cpu().numpy(), wanted)


def test_neither_threads_nor_the_division_of_images_changes_a_bit(case):
    pixels, geometry, trained = case
    assigner, threads = Assigner.of(trained, geometry), torch.get_num_threads()
    lists, codes = assigner.assign(pixels, 4)
    parts = [assigner.assign(pixels[first : first + 8], 4) for first in range(0, len(pixels), 8)]
    torch.set_num_threads(1)
    try:
        alone = assigner.assign(pixels, 4)
    finally:
        torch.set_num_threads(threads)
    for other_lists, other_codes in (map(np.concatenate, zip(*parts, strict=True)), alone):
        assert np.array_equal(lists, other_lists)
        assert np.array_equal(codes, other_codes)


def test_float32_is_whole_only_as_long_as_it_is_needed():
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high")
    try:
        with assign.exact_float32():
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cudnn.allow_tf32
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before[0])
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before


def lists_by_id(index):
    """List of every patch of scale 3, in the order of ids."""
    count = index.arrays(3).count
    return np.repeat(np.arange(len(count)), count)[np.argsort(merged_lists(index, 3)[0])]


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
