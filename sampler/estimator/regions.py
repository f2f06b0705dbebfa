"""Regions of an image: its interior, its edges and its corners, each scanned for itself.

Where windows meet zeros beyond the border, a pixel less than P // 2 from one border has only the
centers on its own row (or column) of each image, and one near two borders has one center per image.
An edge is scanned in a strip of the images that holds all its windows, at the displacements along
the border; a corner, of which every patch is summed, in a block. So each has as many draws as it
needs, at a cost in proportion to its pixels. Where windows wrap round, all is interior.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from patchindex import BorderSignature, PatchGeometry, PosteriorRecord
from patchindex.kernels import GroupScan, PairGroups, exact_scan
from sampler.estimator.query import CACHED_GEOMETRIES, Query


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A rectangle of pixels with the same number of legal centers, more than one, in each image.

    Attributes:
        rows, cols: the part of an image that its windows see.
        pixel_rows, pixel_cols: its pixels.
        geometry: of that part.
        signatures: positions in the whole image's `signatures` of those that its pixels have.
        num_centers: legal patches of a pixel in each image.
        farthest: the largest displacements along the two axes.
    """

    rows: slice
    cols: slice
    pixel_rows: range
    pixel_cols: range
    geometry: PatchGeometry
    signatures: tuple[int, ...]
    num_centers: int
    farthest: tuple[int, int]

    def seen_of(self, images: Shaped[Tensor, "n c h w"]) -> Shaped[Tensor, "n c rows cols"]:
        """What windows see of images or states; a view."""
        return images[:, :, self.rows, self.cols]

    def scan_of(self, groups: PairGroups) -> GroupScan:
        """The scan of these groups for its own pixels."""
        top, left = self.rows.start, self.cols.start
        rows, cols = self.pixel_rows, self.pixel_cols
        return GroupScan(
            rows=self.rows, cols=self.cols, geometry=self.geometry,
            own_rows=range(rows.start - top, rows.stop - top),
            own_cols=range(cols.start - left, cols.stop - left), groups=groups,
        )  # fmt: skip

    def own(self, sums: Tensor, leading: int = 1) -> Tensor:
        """Its own pixels of a field over what windows see, behind so many other axes."""
        top, left = self.pixel_rows.start - self.rows.start, self.pixel_cols.start - self.cols.start
        rows, cols = (
            slice(top, top + len(self.pixel_rows)),
            slice(left, left + len(self.pixel_cols)),
        )
        return sums[(slice(None),) * leading + (rows, cols)]

    def own_of(self, field: Shaped[Tensor, "b h w"]) -> Shaped[Tensor, "b own_rows own_cols"]:
        """Its own pixels of a field over whole states."""
        rows, cols = self.pixel_rows, self.pixel_cols
        return field[:, rows.start : rows.stop, cols.start : cols.stop]

    def cut(
        self, field: Shaped[Tensor, "b own_rows own_cols"], signature: BorderSignature
    ) -> Shaped[Tensor, "b rows cols"]:
        """The part of a field over its own pixels that has one of its signatures."""
        rows, cols = signature.rows.pixels, signature.cols.pixels
        top, left = self.pixel_rows.start, self.pixel_cols.start
        return field[:, rows.start - top : rows.stop - top, cols.start - left : cols.stop - left]

    def places(self, query: Query) -> Int[Tensor, "b own_rows own_cols"]:
        """Positions in the flattened states of its pixels."""
        b, _, height, width = query.y.shape
        places = torch.arange(b * height * width, device=query.y.device).reshape(b, height, width)
        return self.own_of(places)


@dataclass(frozen=True, slots=True, kw_only=True)
class _AxisPart:
    """Coordinates of one axis that are alike.

    Attributes:
        seen: what their windows reach.
        farthest: the largest displacement to a legal center.
    """

    pixels: range
    seen: slice
    farthest: int


def sampled_regions(geometry: PatchGeometry) -> Iterator[Region]:
    """The interior and the edges: all pixels but those of which an image has one patch."""
    numbered = list(enumerate(geometry.signatures))
    row_parts, col_parts = (_axis_parts(geometry, n) for n in (geometry.height, geometry.width))
    for rows, cols in product(row_parts, col_parts):
        if not (rows.farthest or cols.farthest):
            continue
        inside = [
            (number, signature)
            for number, signature in numbered
            if signature.rows.pixels[0] in rows.pixels and signature.cols.pixels[0] in cols.pixels
        ]
        first = inside[0][1]
        yield Region(
            rows=rows.seen,
            cols=cols.seen,
            pixel_rows=rows.pixels,
            pixel_cols=cols.pixels,
            geometry=PatchGeometry(
                height=rows.seen.stop - rows.seen.start,
                width=cols.seen.stop - cols.seen.start,
                patch_size=geometry.patch_size,
                boundary=geometry.boundary,
            ),
            signatures=tuple(number for number, _ in inside),
            num_centers=first.num_centers,
            farthest=(rows.farthest, cols.farthest),
        )


def _axis_parts(geometry: PatchGeometry, size: int) -> list[_AxisPart]:
    """An axis in parts: those of its coordinates that are free to move, and those that are not."""
    r, everything = geometry.radius, slice(0, size)
    if geometry.query_wraps:
        return [_AxisPart(pixels=range(size), seen=everything, farthest=size - 1)]
    if size <= 2 * r:
        return [_AxisPart(pixels=range(size), seen=everything, farthest=0)]
    low = _AxisPart(pixels=range(r), seen=slice(0, 2 * r), farthest=0)
    inside = _AxisPart(pixels=range(r, size - r), seen=everything, farthest=size - 2 * r - 1)
    high = _AxisPart(pixels=range(size - r, size), seen=slice(size - 2 * r, size), farthest=0)
    return [low, inside, high] if r else [inside]


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


@lru_cache(maxsize=CACHED_GEOMETRIES)
def _corners_of(geometry: PatchGeometry, device: torch.device) -> Int[Tensor, " m"]:
    """The corner pixels of an image, row after row."""
    return is_corner(geometry).flatten().nonzero()[:, 0].to(device)


def corner_record(query: Query) -> tuple[Int[Tensor, " m"], PosteriorRecord]:
    """Places of all corner pixels in the flattened states, and their exact sums [m]."""
    geometry, (b, c, height, width) = query.geometry, query.y.shape
    corners, device = _corners_of(geometry, query.y.device), query.y.device
    if not len(corners):
        return corners, PosteriorRecord.empty((0,), c, device)
    r, pixels, y = geometry.radius, query.admitted_pixels, query.y
    # where a side has no more than one row of interior, the blocks would not cover it
    thin = min(height, width) <= geometry.patch_size
    if not thin and (4 * r) ** 2 < height * width:
        # blocks that hold the corners' windows, side by side: a small image with the same corners
        pixels, y = _ends_of(_ends_of(pixels, 2 * r, 2), 2 * r, 3), _ends_of(query.y, 2 * r, 2)
        y = _ends_of(y, 2 * r, 3)
        geometry = replace(geometry, height=4 * r, width=4 * r)
    same_place = replace(geometry, equivariant=False)
    sums = exact_scan(pixels, y, query.sigma, same_place, precision=query.precision)
    own = _corners_of(geometry, device)
    names = ("log_max", "sum_w", "sum_wc", "sum_w2", "num_scored")
    record = PosteriorRecord.exact(
        **{name: getattr(sums, name).flatten(1, 2)[:, own].flatten(0, 1) for name in names}
    )
    states = torch.arange(0, b * height * width, height * width, device=device)
    return (states[:, None] + corners).flatten(), record


def _ends_of(images: Shaped[Tensor, "n c h w"], size: int, dim: int) -> Shaped[Tensor, "n c h2 w2"]:
    """The first and the last rows, or columns, side by side."""
    count = images.shape[dim]
    return torch.cat([images.narrow(dim, 0, size), images.narrow(dim, count - size, size)], dim)
