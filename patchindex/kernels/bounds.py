"""Which arguments the kernels in torch accept, checked as the C++ kernels check theirs.

Without these checks torch takes a number below zero from the end, and says of others only that some
index is out of bounds. On a GPU they would wait for the device: what lies there is checked where it
is loaded.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from patchindex.errors import KernelInputError
from patchindex.geometry import AxisSignature, BorderSignature, PatchGeometry
from patchindex.kernels.groups import PairGroups


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NeighborAxis:
    """Along one axis every place takes what was found for itself and for the place beside it.

    Attributes:
        neighbors: places, the own one first; twice the same where there is no other.
        steps: pixels from the neighbor to the place.
        centers: the first coordinate that a training center may have, and the end.
    """

    neighbors: Int[Tensor, "places 2"]
    steps: Int[Tensor, "places 2"]
    centers: Int[Tensor, "places 2"]

    @classmethod
    def beside(
        cls,
        signatures: Sequence[AxisSignature],
        device: torch.device | None = None,
        *,
        forward: bool = True,
    ) -> "NeighborAxis":
        """The axis of all coordinates, each with the next of its signature, or the one before it.

        At the end, where there is none, it takes from the other side.

        Args:
            signatures: of the axis, in the order of their pixels.
        """
        step, neighbors, centers = 1 if forward else -1, [], []
        for signature in signatures:
            first, last = signature.pixels[0], signature.pixels[-1]
            for own in signature.pixels:
                other = own + step if first <= own + step <= last else own - step
                neighbors.append((own, min(max(other, first), last)))
                centers.append((signature.centers.start, signature.centers.stop))
        places = torch.tensor(neighbors)
        return cls(
            neighbors=places.to(device),
            steps=(places[:, :1] - places).to(device),
            centers=torch.tensor(centers).to(device),
        )

    def followed_by(self, other: "NeighborAxis") -> "NeighborAxis":
        """The places of both, for targets that take from either side of the same coordinates."""
        return NeighborAxis(
            neighbors=torch.cat([self.neighbors, other.neighbors]),
            steps=torch.cat([self.steps, other.steps]),
            centers=torch.cat([self.centers, other.centers]),
        )


SMALLEST_SIGMA, LARGEST_SIGMA = 1e-10, 1e30
SMALLEST_LOG_MASS = -1e30
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


def check_masses(log_mass: Float[Tensor, "b h w"]) -> None:
    """Refuse what is no log of a mass."""
    if not log_mass.is_cuda and not bool((log_mass >= SMALLEST_LOG_MASS).all()):
        raise KernelInputError(
            "log_mass holds values that are no masses. Give finite ones, or infinity for pixels "
            "that take no part."
        )


def check_places(places: Int[Tensor, "q 3"], y: Float[Tensor, "b c h w"]) -> None:
    """Refuse pixels that the states do not have, and none at all."""
    ends = places.new_tensor([len(y), *y.shape[2:]])
    outside = places[((places < 0) | (places >= ends)).any(-1)]
    if len(outside) or not len(places):
        found = f"pixel {tuple(outside[0].tolist())} was" if len(outside) else "no pixel was"
        last = tuple((ends - 1).tolist())
        raise KernelInputError(
            f"{found} asked for. Give state, row and column of at least one, up to {last}."
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


def check_groups(groups: PairGroups, num_images: int, geometry: PatchGeometry) -> None:
    """Refuse groups of images that are not there or twice, and shares that cannot be."""
    check_images(groups.images, num_images)
    if groups.images.shape != groups.image_shares.shape:
        raise KernelInputError(
            f"groups have images {tuple(groups.images.shape)} but image_shares "
            f"{tuple(groups.image_shares.shape)}. Give one share for each image."
        )
    if any(size % 2 == 0 for size in groups.displacement_shares.shape):
        raise KernelInputError(
            f"displacement_shares are {tuple(groups.displacement_shares.shape)}. Give odd numbers "
            "of rows and columns, with displacement 0 in the middle."
        )
    if groups.images.is_cuda:
        return
    if len(groups.images.unique()) < groups.images.numel():
        raise KernelInputError("an image is in the groups twice. Give each image once.")
    if bool((groups.image_shares < 0).any()):
        raise KernelInputError("an image has a share below 0. Give images shares from 0 on.")
    if geometry.query_wraps and geometry.equivariant and not _is_periodic(groups, geometry):
        raise KernelInputError(
            "displacements that differ by the size of the image have other shares, though windows "
            f"wrap round ({geometry.boundary}). Give them the same one."
        )


def _is_periodic(groups: PairGroups, geometry: PatchGeometry) -> bool:
    """Whether displacements that meet the same patch, as the query wraps, have the same share."""
    height, width = geometry.height, geometry.width
    dy, dx = torch.arange(1 - height, height), torch.arange(1 - width, width)
    shares = groups.shares_at(dy[:, None], dx)
    return bool(
        shares[: height - 1].equal(shares[height:])
        and shares[:, : width - 1].equal(shares[:, width:])
    )


def checked_query_pixels(
    query_pixels: Int[Tensor, " q"] | None, num_windows: int, num_pixels: int
) -> Int[Tensor, " q"]:
    """A pixel of the image for each window, which groups must come with."""
    given = None if query_pixels is None else len(query_pixels)
    if query_pixels is None or given != num_windows:
        raise KernelInputError(
            f"there are groups, {num_windows} windows and query_pixels for {given}. "
            "Give one pixel per window."
        )
    if not query_pixels.is_cuda:
        outside = query_pixels[(query_pixels < 0) | (query_pixels >= num_pixels)]
        if len(outside):
            raise KernelInputError(
                f"query pixel {int(outside[0])} is not in 0..{num_pixels - 1}. Give y * width + x."
            )
    return query_pixels


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
