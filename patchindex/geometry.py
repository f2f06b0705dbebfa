"""Which training patches may stand for a pixel's window: ids, border signatures, legal centers.

A pixel's *dictionary* is the set of training patches its posterior mean averages over. The boundary
rule decides it, one image axis at a time, so a rectangle of centers describes it completely
(arXiv 2412.20292, equation 41 and figure 9, restated as one rule for interior, edges and corners).

The exact scans restate the rule by displacements, and are tested against this file:
`kernels/native/layout.cpp`, `kernels/torch_scan.py`, `kernels/triton_scan_kernel.py` with
`triton_scan.py` and `tiles.py`. A new boundary is added here and there; distances, windows and the
index ask `query_wraps` and `training_wraps`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

import numpy as np
from jaxtyping import Int, UInt
from numpy import ndarray

from patchindex.choices import Boundary
from patchindex.errors import GeometryError


@dataclass(frozen=True, slots=True)
class AxisSignature:
    """One axis of a border signature: who shares it, which centers are legal, which cells count.

    Attributes:
        pixels: query coordinates with this signature.
        centers: coordinates that a training center may have.
        offsets: window cells relative to the center that lie inside the image (all of them where
            the boundary wraps). The others are zero in query and patch alike and cancel.
    """

    pixels: range
    centers: range
    offsets: range


@dataclass(frozen=True, slots=True)
class BorderSignature:
    """The pixels that share one dictionary, and the rectangle of training centers it is."""

    rows: AxisSignature
    cols: AxisSignature

    @property
    def num_pixels(self) -> int:
        """Query pixels per image with this signature."""
        return len(self.rows.pixels) * len(self.cols.pixels)

    @property
    def num_centers(self) -> int:
        """Legal patches per training image."""
        return len(self.rows.centers) * len(self.cols.centers)


@dataclass(frozen=True, kw_only=True)
class PatchGeometry:
    """Patches of odd side `patch_size` in images of `height` x `width` pixels.

    Args:
        boundary: `zeros`, the paper's boundary-broken ELS: a window that crosses a border only
            meets windows that cross it equally. `circular`: windows wrap in query and training
            images (equations 32-40). `circular_interior`: the query wraps, training windows lie
            inside the image (the authors' implementation).
        equivariant: False keeps every training center at the query's own place (LS machine).

    Raises:
        GeometryError: patch_size is even, not positive, or too large for the image.
    """

    height: int
    width: int
    patch_size: int
    boundary: Boundary = "zeros"
    equivariant: bool = True

    def __post_init__(self) -> None:
        check_boundary(self.boundary)
        check_patch_size(self.patch_size, self.height, self.width, self.boundary)

    @property
    def radius(self) -> int:
        """Cells between the center and the window's side."""
        return self.patch_size // 2

    @property
    def query_wraps(self) -> bool:
        """Whether windows of a query wrap round at the border; otherwise they meet zeros there."""
        return self.boundary != "zeros"

    @property
    def training_wraps(self) -> bool:
        """Whether training windows may leave the image, and come in on the other side."""
        return self.boundary == "circular" or (self.query_wraps and not self.equivariant)

    @cached_property
    def signatures(self) -> tuple[BorderSignature, ...]:
        """Every border signature once, row classes outermost; together they tile the image."""
        rows = self._axis_signatures(self.height)
        cols = self._axis_signatures(self.width)
        return tuple(BorderSignature(row, col) for row in rows for col in cols)

    @cached_property
    def centers_per_pixel(self) -> Int[ndarray, "h w"]:
        """Legal patches per training image for every pixel."""
        counts = np.zeros((self.height, self.width), dtype=np.int64)
        for signature in self.signatures:
            rows, cols = signature.rows.pixels, signature.cols.pixels
            counts[rows.start : rows.stop, cols.start : cols.stop] = signature.num_centers
        return counts

    def signature_at(self, y: int, x: int) -> int:
        """Position in `signatures` of the one that pixel (y, x) has."""
        for index, signature in enumerate(self.signatures):
            if y in signature.rows.pixels and x in signature.cols.pixels:
                return index
        raise GeometryError(
            f"pixel ({y}, {x}) lies outside the image. "
            f"Give y in 0..{self.height - 1} and x in 0..{self.width - 1}."
        )

    def _axis_signatures(self, size: int) -> tuple[AxisSignature, ...]:
        r, everywhere = self.radius, range(size)
        window = range(-r, r + 1)
        if not self.equivariant:
            return tuple(
                AxisSignature(range(i, i + 1), range(i, i + 1), self._offsets_at(i, size))
                for i in everywhere
            )
        if self.boundary == "circular":
            return (AxisSignature(everywhere, everywhere, window),)
        interior = range(r, size - r)
        if self.boundary == "circular_interior":
            return (AxisSignature(everywhere, interior, window),)
        fixed = {
            i: AxisSignature(range(i, i + 1), range(i, i + 1), self._offsets_at(i, size))
            for i in everywhere
            if i not in interior
        }
        free = {r: AxisSignature(interior, interior, window)} if interior else {}
        return tuple(signature for _, signature in sorted((fixed | free).items()))

    def _offsets_at(self, center: int, size: int) -> range:
        """Cells that count of a window with this center: all, or those in 0 .. size - 1."""
        r = self.radius
        if self.query_wraps:
            return range(-r, r + 1)
        return range(max(-r, -center), min(r + 1, size - center))


def check_boundary(boundary: str) -> None:
    """Raise GeometryError unless `boundary` is one of the three that exist."""
    if boundary not in get_args(Boundary):
        raise GeometryError(
            f"boundary is {boundary!r}. Give one of {', '.join(get_args(Boundary))}."
        )


def check_patch_size(patch_size: int, height: int, width: int, boundary: str = "zeros") -> None:
    """Raise GeometryError unless images of this size have windows of this side."""
    if patch_size < 1 or patch_size % 2 == 0:
        raise GeometryError(
            f"scale {patch_size} is not a patch size. Give an odd positive number of pixels, "
            "so that the patch has a center pixel."
        )
    interior = boundary == "circular_interior"
    largest = min(height, width) if interior else 2 * max(height, width) - 1
    if patch_size > largest:
        reason = "windows must lie inside the image" if interior else "it is the IS machine there"
        raise GeometryError(
            f"scale {patch_size} is too large for {height}x{width} images. "
            f"Give at most {largest}: {reason}."
        )


def id_dtype(num_images: int, height: int, width: int) -> np.dtype[np.unsignedinteger]:
    """The smallest of uint32 and uint64 that holds every patch id."""
    return np.dtype(np.uint32 if num_images * height * width <= 2**32 else np.uint64)


def patch_ids(
    images: Int[ndarray, "..."],
    rows: Int[ndarray, "..."],
    cols: Int[ndarray, "..."],
    height: int,
    width: int,
) -> Int[ndarray, "..."]:
    """Image * H * W + y * W + x for centers (y, x); the arrays broadcast against each other."""
    ids: Int[ndarray, "..."] = (images * height + rows) * width + cols
    return ids


def locate(
    ids: Int[ndarray, "*n"] | UInt[ndarray, "*n"], height: int, width: int
) -> tuple[Int[ndarray, "*n"], Int[ndarray, "*n"], Int[ndarray, "*n"]]:
    """(image, y, x) of each patch id: the inverse of `patch_ids`."""
    wide = ids.astype(np.int64)
    return wide // (height * width), wide // width % height, wide % width


def nearest_scale(scales: Sequence[int], patch_size: int) -> int:
    """The one of these patch sizes that is nearest to another, of two the smaller."""
    return min(scales, key=lambda scale: (abs(scale - patch_size), scale))
