"""Pixels in the corners of an image: one legal center per image, so they are summed whole.

Their windows lie in four blocks, which for small patches are a small part of the image.
"""

from functools import partial
from itertools import product

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from patchindex import PatchGeometry, PosteriorRecord
from patchindex.kernels import scan
from sampler.estimator.query import Query, index_geometry


def corner_record(query: Query) -> tuple[Int[Tensor, " m"], PosteriorRecord]:
    """Places of all these pixels in the flattened states, and their exact sums [m]."""
    corner, device = is_corner(query.geometry), query.y.device
    b, c, height, width = query.y.shape
    places = torch.arange(b * height * width, device=device).reshape(b, height, width)
    r = query.geometry.radius
    if not corner.any():
        return places[:0].flatten(), PosteriorRecord.empty((0,), c, device)
    pixels = query.admitted_pixels  # a copy, where a class does not fit on the device
    if (4 * r) ** 2 >= height * width:  # the blocks are no smaller than the image
        same_place = index_geometry(query.index, query.geometry.patch_size, equivariant=False)
        whole, corner = scan(pixels, query.y, query.sigma, same_place), corner.to(device)
        return places[:, corner].flatten(), whole.map(lambda sums: sums[:, corner].flatten(0, 1))
    block = PatchGeometry(
        height=2 * r, width=2 * r, patch_size=query.geometry.patch_size, equivariant=False
    )
    found, records = [], []
    for top, left in product((True, False), repeat=2):
        y, y_corner = (slice(2 * r), slice(r)) if top else (slice(-2 * r, None), slice(r, None))
        x, x_corner = (slice(2 * r), slice(r)) if left else (slice(-2 * r, None), slice(r, None))
        sums = scan(pixels[:, :, y, x].contiguous(), query.y[:, :, y, x], query.sigma, block)
        records.append(sums.map(partial(part_of, y=y_corner, x=x_corner)))
        found.append(part_of(places[:, y, x], y_corner, x_corner))
    return torch.cat(found), PosteriorRecord.joined(records)


def part_of(sums: Shaped[Tensor, "b rows cols *c"], y: slice, x: slice) -> Shaped[Tensor, "m *c"]:
    """Some rows and columns of all states, with one axis for all their pixels."""
    return sums[:, y, x].flatten(0, 2)


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
