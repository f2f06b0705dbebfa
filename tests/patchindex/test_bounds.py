"""The back ends in torch refuse what points outside the images, as the C++ kernels do."""

import numpy as np
import pytest
import torch
from torch import Tensor

from patchindex.errors import KernelInputError
from patchindex.geometry import AxisSignature, PatchGeometry
from patchindex.kernels import PairGroups, torch_backend, torch_scan
from patchindex.kernels.bounds import NeighborAxis


def rescore_arguments(boundary: str = "zeros"):
    geometry = PatchGeometry(height=6, width=7, patch_size=3, boundary=boundary)
    signature = max(geometry.signatures, key=lambda s: len(s.rows.pixels) * len(s.cols.pixels))
    pixels = torch.zeros(5, 2, 6, 7, dtype=torch.uint8)
    return pixels, torch.zeros(3, 2, 3, 3), geometry, signature


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        (-2, r"patch id -2 is not in 0\.\.209\. Give ids .* see what `patchindex verify` says"),
        (210, r"patch id 210 is not in 0\.\.209"),
        (2**62, r"patch id 4611686018427387904 is not in"),
        (6, r"patch id 6 has its center at \(0, 6\), where the window leaves the image"),
    ],
)
def test_ids_that_are_no_patches_are_refused(patch, message):
    pixels, windows, geometry, signature = rescore_arguments()
    ids = torch.full((3, 4), 8)
    ids[1, 2] = patch
    with pytest.raises(KernelInputError, match=message):
        torch_backend.patch_distances(pixels, windows, ids, geometry, signature)
    with pytest.raises(KernelInputError, match=message):
        torch_backend.patch_distances(pixels, windows, ids[1], geometry, signature)


def test_where_windows_wrap_every_id_of_the_images_is_a_patch():
    pixels, windows, geometry, signature = rescore_arguments("circular")
    ids = torch.arange(210).expand(3, -1)
    assert torch_backend.patch_distances(pixels, windows, ids, geometry, signature).isfinite().all()


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan"), float("inf"), 1e-200])
def test_noise_that_is_none_is_refused(sigma):
    pixels, windows, geometry, signature = rescore_arguments()
    ids = torch.full((3, 4), 8)
    with pytest.raises(KernelInputError, match="sigma must be positive and finite"):
        torch_backend.sum_patches(pixels, windows, ids, geometry, signature, sigma=sigma)
    with pytest.raises(KernelInputError, match="sigma must be positive and finite"):
        torch_scan.exact_scan(pixels, torch.zeros(1, 2, 6, 7), sigma, geometry)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e12])
def test_states_that_are_not_finite_are_refused(value):
    pixels, _, geometry, _ = rescore_arguments()
    with pytest.raises(KernelInputError, match="not finite, or over 1e10 times sigma"):
        torch_scan.exact_scan(pixels, torch.full((1, 2, 6, 7), value), 1.0, geometry)


def groups_with(**changed: Tensor) -> PairGroups:
    fields = {
        "images": torch.tensor([[0, 1], [2, 4]]),
        "image_shares": torch.tensor([[0, 1], [1, 0]], dtype=torch.int32),
        "displacement_shares": torch.zeros(11, 13, dtype=torch.int32),
    }
    return PairGroups(**(fields | changed))


OF_COLUMNS = torch.arange(13, dtype=torch.int32).expand(11, 13)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ["torch_backend", "native_backend", "triton_backend"])
@pytest.mark.parametrize(
    ("boundary", "changed", "message"),
    [
        ("zeros", {"images": torch.tensor([[0, 1], [2, -1]])}, r"image -1 was asked .* 0\.\.4"),
        ("zeros", {"images": torch.tensor([[0, 1], [2, 5]])}, r"image 5 was asked .* 0\.\.4"),
        ("zeros", {"images": torch.tensor([[0, 1], [2, 1]])}, "an image is in the groups twice"),
        (
            "zeros",
            {"image_shares": torch.zeros(2, 1, dtype=torch.int32)},
            r"groups have images \(2, 2\) but image_shares \(2, 1\)\. Give one share",
        ),
        (
            "zeros",
            {"image_shares": torch.tensor([[0, 1], [-1, 0]], dtype=torch.int32)},
            "an image has a share below 0",
        ),
        (
            "zeros",
            {"displacement_shares": torch.zeros(11, 12, dtype=torch.int32)},
            r"displacement_shares are \(11, 12\)\. Give odd numbers",
        ),
        (
            "circular",
            {"displacement_shares": OF_COLUMNS},
            r"differ by the size of the image have other shares.* \(circular\)",
        ),
        (
            "circular_interior",
            {"displacement_shares": OF_COLUMNS[:, 1:12]},
            r"differ by the size of the image have other shares",
        ),
    ],
)
def test_groups_that_cannot_be_are_refused(name, boundary, changed, message):
    back_end = pytest.importorskip(f"patchindex.kernels.{name}")
    pixels, windows, geometry, signature = rescore_arguments(boundary)
    groups, at = groups_with(**changed), torch.tensor([8, 9, 15])
    with pytest.raises(KernelInputError, match=message):
        back_end.exact_scan(pixels, torch.zeros(1, 2, 6, 7), 1.0, geometry, groups)
    with pytest.raises(KernelInputError, match=message):
        back_end.sum_patches(
            pixels, windows, torch.full((3, 4), 8), geometry, signature,
            sigma=1.0, groups=groups, query_pixels=at,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("boundary", "shares"),
    [
        ("zeros", OF_COLUMNS // 7),
        ("circular", OF_COLUMNS % 7),
        ("circular_interior", OF_COLUMNS[:, :1]),
    ],
)
def test_shares_that_are_the_same_round_the_image_are_accepted(boundary, shares):
    pixels, _, geometry, _ = rescore_arguments(boundary)
    groups = groups_with(displacement_shares=shares.contiguous())
    record = torch_scan.exact_scan(pixels, torch.zeros(1, 2, 6, 7), 1.0, geometry, groups)
    assert record.num_scored.any()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ["torch_backend", "native_backend", "triton_backend"])
@pytest.mark.parametrize(
    ("query_pixels", "message"),
    [
        (None, r"there are groups, 3 windows and query_pixels for None\. Give one pixel per"),
        (torch.tensor([8, 9]), r"3 windows and query_pixels for 2\. Give one pixel per window"),
        (torch.tensor([8, 9, 42]), r"query pixel 42 is not in 0\.\.41\. Give y \* width \+ x"),
        (torch.tensor([8, -1, 9]), r"query pixel -1 is not in 0\.\.41"),
    ],
)
def test_groups_without_a_pixel_for_each_window_are_refused(name, query_pixels, message):
    back_end = pytest.importorskip(f"patchindex.kernels.{name}")
    pixels, windows, geometry, signature = rescore_arguments()
    with pytest.raises(KernelInputError, match=message):
        back_end.sum_patches(
            pixels, windows, torch.full((3, 4), 8), geometry, signature,
            sigma=1.0, groups=groups_with(), query_pixels=query_pixels,
        )  # fmt: skip


@pytest.mark.usefixtures("unchecked")
def test_rows_that_have_no_distance_and_counts_of_none_are_refused():
    rows, vectors = torch.zeros(6, 3), torch.zeros(2, 3)
    for count in (0, -1, 7):
        with pytest.raises(KernelInputError, match=rf"count is {count}\. Give 1\.\.6"):
            torch_backend.nearest_rows(rows, vectors, count)
    with pytest.raises(KernelInputError, match="Give as many dimensions"):
        torch_backend.nearest_rows(rows, vectors[:, :2], 1)
    with pytest.raises(KernelInputError, match="rows hold values that are not finite"):
        torch_backend.nearest_rows(rows.log().log(), vectors, 1)
    with pytest.raises(KernelInputError, match="vectors hold values that are not finite"):
        torch_backend.nearest_rows(rows, vectors + torch.inf, 1)


def test_neighbors_that_are_not_there_are_refused():
    rows, cols = (
        NeighborAxis.beside([AxisSignature(range(num), range(1, num + 2), range(1))])
        for num in (3, 4)
    )
    found, targets = torch.zeros(2, 3, 4, 5, dtype=torch.int64), torch.tensor([[1, 2, 3]])
    with pytest.raises(KernelInputError, match=r"was not searched\. Give neighbors 0\.\.1"):
        torch_backend.propagate_neighbors(found[:, :2], targets, rows, cols, height=6, width=7)
    for target in ([2, 0, 0], [0, -1, 0], [0, 0, 4]):
        with pytest.raises(KernelInputError, match=r"a target lies outside the searched field"):
            torch_backend.propagate_neighbors(
                found, torch.tensor([target]), rows, cols, height=6, width=7
            )
