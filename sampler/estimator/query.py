"""A query: states, the index they are compared with, and pixels that need no search.

A pixel in a corner has one legal center per training image, so that it is summed whole. The windows
of such pixels lie in four blocks, which for small patches are a small part of the image.
"""

from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int, Shaped, UInt8
from numpy import ndarray
from torch import Tensor

from patchindex import (
    BorderSignature,
    Boundary,
    ImageSet,
    PatchGeometry,
    PosteriorRecord,
    windows_at,
)
from patchindex.kernels import exact_scan, patch_distances
from sampler.estimator.sources import SourceCollector

# Lists with a larger share of a dictionary than 1 / LONGEST_SHARE are of plain patches: a tail
# meets so many equal ones that they need no head, and they would take most of the time.
LONGEST_SHARE, LONGEST_LIST = 1000, 10_000
PIXELS_PER_CHUNK = 2**14  # that are asked for at once


@runtime_checkable
class NeighborSearch(Protocol):
    """What retrieval asks of an index; brute force and inverted lists both provide it."""

    @property
    def images(self) -> ImageSet:
        """The training images."""
        ...

    @property
    def boundary(self) -> Boundary:
        """The boundary rule that the patches were grouped by."""
        ...

    @property
    def scales(self) -> tuple[int, ...]:
        """Patch sizes that can be searched, ascending."""
        ...

    def search(
        self,
        patch_size: int,
        signature: int,
        windows: Float[Tensor, "q d"],
        k: int,
        *,
        nprobe: int,
        label: int | None = None,
        longest_list: int | None = None,
    ) -> Int[Tensor, "q k"]:
        """Ids of about the k nearest patches with this border signature; -1 where there are fewer.

        Args:
            signature: position in `PatchGeometry.signatures`.
            windows: full windows in [-1, 1] data units, flattened from [c, s, s].
            nprobe: inverted lists visited per query.
            longest_list: lists of more patches than this are left out.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """The dictionary of one border signature.

    Attributes:
        pixels: all training images.
        num_patches: patches in the dictionary, of those images that the label admits.
    """

    pixels: UInt8[Tensor, "n c h w"]
    geometry: PatchGeometry
    signature: BorderSignature
    num_patches: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """The states of one call, in data units, and the dictionary that they are compared with.

    Attributes:
        label: class of the images to compare with; None for all.
        sources: where the heaviest patches of each pixel are noted; None if nobody asks for them.
    """

    index: NeighborSearch
    y: Float[Tensor, "b c h w"]
    sigma: float
    geometry: PatchGeometry
    label: int | None
    sources: SourceCollector | None = None

    @property
    def members(self) -> Int[ndarray, " n"]:
        """The images that the label admits."""
        return self.index.images.members(self.label)

    @property
    def pixels(self) -> UInt8[Tensor, "n c h w"]:
        """All training images: beside the states, or on the host where they do not fit."""
        return self.index.images.pixels_on(self.y.device)

    @property
    def admitted_pixels(self) -> UInt8[Tensor, "m c h w"]:
        """Those that the label admits, in the same way."""
        return self.index.images.pixels_on(self.y.device, self.label)

    def split(self, num_pixels: int) -> list["Query"]:
        """Queries of some of the states each, with about so many pixels."""
        height, width = self.geometry.height, self.geometry.width
        step = max(1, num_pixels // (height * width))
        return [
            replace(
                self,
                y=self.y[start : start + step],
                sources=self.sources and self.sources.of_states(start, start + step),
            )
            for start in range(0, len(self.y), step)
        ]

    def candidates(self, number: int) -> Candidates:
        """The dictionary of one border signature."""
        signature = self.geometry.signatures[number]
        return Candidates(
            pixels=self.pixels,
            geometry=self.geometry,
            signature=signature,
            num_patches=len(self.members) * signature.num_centers,
        )

    def windows(self, number: int) -> Float[Tensor, "b rows cols c s s"]:
        """The windows of all pixels with one border signature."""
        signature = self.geometry.signatures[number]
        return windows_at(self.y, signature.rows.pixels, signature.cols.pixels, self.geometry)

    def found_ids(
        self,
        number: int,
        windows: Float[Tensor, "q c s s"],
        *,
        k: int,
        nprobe: int,
        plain_too: bool = False,
    ) -> Int[Tensor, "q k"]:
        """Patches found for these windows of one signature; -1 where there are fewer.

        Args:
            plain_too: search long lists, too, which a tail can stand for.
        """
        num_patches = self.candidates(number).num_patches
        return self.index.search(
            self.geometry.patch_size,
            number,
            windows.flatten(1),
            min(k, num_patches),
            nprobe=nprobe,
            label=self.label,
            longest_list=None if plain_too else max(LONGEST_LIST, num_patches // LONGEST_SHARE),
        )

    def note(
        self,
        number: int,
        at: Int[Tensor, " q"],
        windows: Float[Tensor, "q c s s"],
        ids: Int[Tensor, "q k"],
    ) -> None:
        """Have these patches noted for these pixels of one signature, if anyone asked."""
        if self.sources is None:
            return
        signature = self.geometry.signatures[number]
        dist_sq = patch_distances(self.pixels, windows, ids, self.geometry, signature)
        self.sources.note(at, ids, dist_sq / (-2 * self.sigma**2))


def cut(sums: Tensor, signature: BorderSignature) -> Tensor:
    """The part [b, rows, cols, ...] of a field [b, h, w, ...] that has this signature."""
    rows, cols = signature.rows.pixels, signature.cols.pixels
    return sums[:, rows.start : rows.stop, cols.start : cols.stop]


def index_geometry(
    index: NeighborSearch, patch_size: int, *, equivariant: bool = True
) -> PatchGeometry:
    """The geometry of an index's images at one patch size."""
    return PatchGeometry(
        height=index.images.height,
        width=index.images.width,
        patch_size=patch_size,
        boundary=index.boundary,
        equivariant=equivariant,
    )


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
        whole, corner = exact_scan(pixels, query.y, query.sigma, same_place), corner.to(device)
        return places[:, corner].flatten(), whole.map(lambda sums: sums[:, corner].flatten(0, 1))
    block = PatchGeometry(
        height=2 * r, width=2 * r, patch_size=query.geometry.patch_size, equivariant=False
    )
    found, records = [], []
    for top, left in product((True, False), repeat=2):
        y, y_corner = (slice(2 * r), slice(r)) if top else (slice(-2 * r, None), slice(r, None))
        x, x_corner = (slice(2 * r), slice(r)) if left else (slice(-2 * r, None), slice(r, None))
        sums = exact_scan(pixels[:, :, y, x].contiguous(), query.y[:, :, y, x], query.sigma, block)
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
