"""Which arguments the kernels in torch accept, checked as the C++ kernels check theirs.

Without these checks torch takes a number below zero from the end, and says of others only that some
index is out of bounds. On a GPU they would wait for the device: what lies there is checked where it
is loaded.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from patchindex.errors import KernelInputError
from patchindex.geometry import BorderSignature, PatchGeometry


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NeighborAxis:
    """Along one axis every place takes what was found for itself and for the place beside it.

    Attributes:
        neighbors: places, the own one first; twice the same where there is no other.
        steps: pixels from the neighbor to the place.
        centers: coordinates that a training center may have.
    """

    neighbors: Int[Tensor, "places 2"]
    steps: Int[Tensor, "places 2"]
    centers: range

    @classmethod
    def beside(
        cls, num_places: int, centers: range, device: torch.device | None = None
    ) -> "NeighborAxis":
        """The axis of this many places; the last one takes from the one before it."""
        own = torch.arange(num_places, device=device)
        other = torch.where(own + 1 < num_places, own + 1, own - 1).clamp(min=0)
        neighbors = torch.stack([own, other], dim=1)
        return cls(neighbors=neighbors, steps=own[:, None] - neighbors, centers=centers)


SMALLEST_SIGMA, LARGEST_SIGMA = 1e-10, 1e30
LARGEST_STATE = 1e10  # in units of sigma; beyond it float32 says nothing


def check_sigma(sigma: float) -> None:
    """Refuse a noise whose square is beyond a float."""
    if not SMALLEST_SIGMA <= sigma <= LARGEST_SIGMA:
        raise KernelInputError(
            f"sigma must be positive and finite, from 1e-10 to 1e30, not {sigma}."
        )


def check_states(y: Float[Tensor, "b c h w"], sigma: float) -> None:
    """Refuse states that are not finite, or lie far beyond their noise."""
    check_sigma(sigma)
    if not y.is_cuda and not bool((y.abs() <= LARGEST_STATE * sigma).all()):
        raise KernelInputError(
            "y holds values that are not finite, or over 1e10 times sigma. "
            "Give a finite state y = xt / sqrt(alpha_bar) with its own sigma."
        )


def check_images(numbers: Int[Tensor, "*shape"], num_images: int) -> None:
    """Refuse numbers of images that are not there."""
    if numbers.is_cuda or not numbers.numel():
        return
    low, high = (int(number) for number in numbers.aminmax())
    if low < 0 or high >= num_images:
        raise KernelInputError(
            f"image {low if low < 0 else high} was asked for. Give 0..{num_images - 1}, "
            f"as there are {num_images} images."
        )


def check_patches(
    ids: Int[Tensor, "*q"],
    pixels: UInt8[Tensor, "n c h w"],
    geometry: PatchGeometry,
    signature: BorderSignature,
) -> None:
    """Refuse ids that are no patches, or whose windows leave the image."""
    if ids.is_cuda or not ids.numel():
        return
    num, _, height, width = pixels.shape
    outside = ids[(ids < -1) | (ids >= num * height * width)]
    if len(outside):
        raise KernelInputError(
            f"patch id {int(outside[0])} is not in 0..{num * height * width - 1}. Give ids of "
            "patches of these images, or -1 for none. If they come from an index, it is damaged: "
            "see what `patchindex verify` says of it."
        )
    if geometry.training_wraps:
        return
    y, x = ids // width % height, ids % width
    rows, cols = signature.rows.offsets, signature.cols.offsets
    leaves = (y + rows.start < 0) | (y + rows.stop > height)
    leaves |= (x + cols.start < 0) | (x + cols.stop > width)
    leaving = ids[leaves & (ids >= 0)]
    if len(leaving):
        place = int(leaving[0]) // width % height, int(leaving[0]) % width
        raise KernelInputError(
            f"patch id {int(leaving[0])} has its center at {place}, where the window leaves the "
            "image. Give patches with the border signature of the queries."
        )


def check_group_of(
    group_of: Int[Tensor, " groups"] | None, pixels: UInt8[Tensor, "n c h w"]
) -> None:
    """Refuse other than one group number per image, or none at all."""
    if group_of is not None and len(group_of) != len(pixels):
        raise KernelInputError(
            f"group_of has {len(group_of)} values but there are {len(pixels)} images. "
            "Give one value per image."
        )


def check_nearest(rows: Float[Tensor, "n r"], vectors: Float[Tensor, "q dims"], count: int) -> None:
    """Refuse a count of rows that are not there, and rows or vectors that have no distance."""
    if rows.shape[1] != vectors.shape[1] or not rows.shape[1]:
        raise KernelInputError(
            f"rows are {tuple(rows.shape)} but vectors are {tuple(vectors.shape)}. "
            "Give as many dimensions in both."
        )
    if not 0 < count <= len(rows):
        raise KernelInputError(f"count is {count}. Give 1..{len(rows)}, as there are so many rows.")
    for name, values in ("rows", rows), ("vectors", vectors):
        if not values.is_cuda and not bool(torch.isfinite(values).all()):
            raise KernelInputError(f"{name} hold values that are not finite. Give finite ones.")


def check_neighbors(
    found: Int[Tensor, "b sr sc k"],
    targets: Int[Tensor, "q 3"],
    rows: NeighborAxis,
    cols: NeighborAxis,
) -> None:
    """Refuse neighbors that were not searched, and targets that are no places."""
    if found.is_cuda:
        return
    for axis, num_searched in (rows, found.shape[1]), (cols, found.shape[2]):
        if bool(((axis.neighbors < 0) | (axis.neighbors >= num_searched)).any()):
            raise KernelInputError(
                "a place has a neighbor which was not searched. "
                f"Give neighbors 0..{num_searched - 1}."
            )
    ends = targets.new_tensor([len(found), len(rows.neighbors), len(cols.neighbors)])
    if bool(((targets < 0) | (targets >= ends)).any()):
        raise KernelInputError(
            "a target lies outside the searched field. Give state, row and column of places."
        )
