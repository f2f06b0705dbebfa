"""The head of an estimate: patches found for each pixel, and pixels that are summed whole.

What was found for a pixel, moved by the same step as from that pixel to its neighbor, is a
candidate for the neighbor: three neighbors make up for three quarters of the lists that a search
would have to visit to find as much. A candidate's weight comes from its exact distance like any
other's, so a poor candidate costs time and no bias.

A pixel in a corner has one legal center per training image, so that it is summed whole. The windows
of such pixels lie in four blocks, which for small patches are a small part of the image.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from patchindex import BorderSignature, PatchGeometry, PosteriorRecord
from patchindex.kernels import NeighborAxis, exact_scan, propagate_neighbors
from sampler.estimator.query import Query, cut, index_geometry


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FoundPatches:
    """The patches that were found for pixels of one border signature.

    Attributes:
        signature: its position in `PatchGeometry.signatures`.
        pixels: for which of its pixels, in each state.
        ids: distinct patches of each of these pixels, in their order; -1 for none.
    """

    signature: int
    pixels: Bool[Tensor, "b rows cols"]
    ids: Int[Tensor, "q k"]


def search_head(
    query: Query,
    wanted: Bool[Tensor, "b h w"],
    *,
    k: int,
    nprobe: int,
    long_lists: bool = False,
) -> Iterator[FoundPatches]:
    """Search the index for the wanted pixels, one border signature after another.

    Args:
        long_lists: search those, too, for which a tail can stand.
    """
    for number, signature in enumerate(query.geometry.signatures):
        pixels = cut(wanted, signature)
        if pixels.any():
            windows = query.windows(number)[pixels]
            ids = query.search(number, windows, k=k, nprobe=nprobe, long_lists=long_lists)
            yield FoundPatches(signature=number, pixels=pixels, ids=ids)


def with_neighbors(
    found: Int[Tensor, "q k"],
    wanted: Bool[Tensor, "b rows cols"],
    signature: BorderSignature,
    geometry: PatchGeometry,
) -> Int[Tensor, "q m"]:
    """Ids found for each wanted pixel of a signature, or for one beside it, below or across.

    Args:
        found: ids of the wanted pixels, in their order; -1 for none.

    Returns:
        Legal ids, each once and ascending; -1 behind the last.
    """
    field = found.new_full((*wanted.shape, found.shape[1]), -1)
    field[wanted] = found
    rows, cols = signature.rows, signature.cols
    return propagate_neighbors(
        field,
        wanted.nonzero(),
        NeighborAxis.beside(len(rows.pixels), rows.centers, found.device),
        NeighborAxis.beside(len(cols.pixels), cols.centers, found.device),
        height=geometry.height,
        width=geometry.width,
    )


def is_corner(geometry: PatchGeometry) -> Bool[Tensor, "h w"]:
    """Pixels whose only legal center in each image is their own place."""
    corner = torch.zeros(geometry.height, geometry.width, dtype=torch.bool)
    for signature in geometry.signatures:
        rows, cols = signature.rows, signature.cols
        if signature.num_centers == 1 and (rows.pixels, cols.pixels) == (
            rows.centers,
            cols.centers,
        ):
            corner[rows.pixels.start, cols.pixels.start] = True
    return corner


def corner_record(query: Query) -> tuple[Int[Tensor, " m"], PosteriorRecord]:
    """Places of all corner pixels in the flattened states, and their exact sums [m]."""
    corner, device = is_corner(query.geometry), query.y.device
    b, c, height, width = query.y.shape
    places = torch.arange(b * height * width, device=device).reshape(b, height, width)
    r = query.geometry.radius
    if not corner.any():
        return places[:0].flatten(), PosteriorRecord.empty((0,), c, device)
    pixels = query.admitted_pixels  # a copy, where a class does not fit on the device
    # where a side has no more than one row of interior, the blocks would not cover it
    thin = min(height, width) <= query.geometry.patch_size
    if thin or (4 * r) ** 2 >= height * width:  # the blocks are no smaller than the image
        same_place = index_geometry(query.index, query.geometry.patch_size, equivariant=False)
        whole = exact_scan(pixels, query.y, query.sigma, same_place, devices=query.scanning)
        corner = corner.to(device)
        return places[:, corner].flatten(), whole.map(lambda sums: sums[:, corner].flatten(0, 1))
    block = PatchGeometry(
        height=2 * r, width=2 * r, patch_size=query.geometry.patch_size, equivariant=False
    )
    found, records = [], []
    for top, left in product((True, False), repeat=2):
        y, y_corner = (slice(2 * r), slice(r)) if top else (slice(-2 * r, None), slice(r, None))
        x, x_corner = (slice(2 * r), slice(r)) if left else (slice(-2 * r, None), slice(r, None))
        cut_pixels, cut_y = pixels[:, :, y, x].contiguous(), query.y[:, :, y, x]
        sums = exact_scan(cut_pixels, cut_y, query.sigma, block, devices=query.scanning)
        records.append(sums.map(partial(_part_of, y=y_corner, x=x_corner)))
        found.append(_part_of(places[:, y, x], y_corner, x_corner))
    return torch.cat(found), PosteriorRecord.joined(records)


def _part_of(sums: Shaped[Tensor, "b rows cols *c"], y: slice, x: slice) -> Shaped[Tensor, "m *c"]:
    """Some rows and columns of all states, with one axis for all their pixels."""
    return sums[:, y, x].flatten(0, 2)
