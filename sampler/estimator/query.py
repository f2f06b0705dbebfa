"""A query: states, the noise in them, and the index whose patches they are compared with."""

from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int, UInt8
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
from patchindex.choices import Precision
from sampler.exact import sum_exactly

# Lists with a larger share of a dictionary than 1 / LONGEST_SHARE are of plain patches: a tail
# meets so many equal ones that they need no head, and they would take most of the time.
LONGEST_SHARE, LONGEST_LIST = 1000, 10_000
CACHED_GEOMETRIES = 64  # a few kilobytes each
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
        signature: int | Int[Tensor, " q"],
        windows: Float[Tensor, "q d"],
        k: int,
        *,
        nprobe: int,
        label: int | None = None,
        longest_list: int | Int[Tensor, " signatures"] | None = None,
        probes: Int[Tensor, " q"] | None = None,
    ) -> Int[Tensor, "q k"]:
        """Ids of about the k nearest patches with this border signature; -1 where there are fewer.

        Args:
            signature: position in `PatchGeometry.signatures`, of all windows or of each.
            windows: full windows in [-1, 1] data units, flattened from [c, s, s].
            nprobe: inverted lists visited per query.
            longest_list: lists of more patches than this are left out; one for each signature.
            probes: of each query, the lists that it visits; at most `nprobe`.
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AskedPixels:
    """Some pixels of the states of a query.

    Attributes:
        places: positions in the flattened states.
        pixels: positions in a state.
        signatures: of the border, positions in `PatchGeometry.signatures`.
        windows: around them.
    """

    places: Int[Tensor, " q"]
    pixels: Int[Tensor, " q"]
    signatures: Int[Tensor, " q"]
    windows: Float[Tensor, "q c s s"]

    def __getitem__(self, which: Int[Tensor, " m"]) -> "AskedPixels":
        """Those at these positions among them."""
        return AskedPixels(
            **{field.name: getattr(self, field.name)[which] for field in fields(self)}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """The states of one call, in data units, and the dictionary that they are compared with.

    Attributes:
        y: states in data units, xt / sqrt(alpha_bar).
        sigma: noise in the same units.
        label: class of the images to compare with; None for all.
    """

    index: NeighborSearch
    y: Float[Tensor, "b c h w"]
    sigma: float
    geometry: PatchGeometry
    label: int | None

    @property
    def label_indices(self) -> Int[ndarray, " n"]:
        """The images that the label admits."""
        return self.index.images.label_indices(self.label)

    @property
    def precision(self) -> Precision:
        """Of exact scans on a GPU."""
        return self.index.images.device.precision

    @property
    def num_pixels(self) -> int:
        """Of a state."""
        return self.geometry.height * self.geometry.width

    @property
    def pixels(self) -> UInt8[Tensor, "n c h w"]:
        """All training images: beside the states, or on the host where they do not fit."""
        return self.index.images.pixels_on(self.y.device)

    @property
    def admitted_pixels(self) -> UInt8[Tensor, "m c h w"]:
        """Those that the label admits, in the same way."""
        return self.index.images.pixels_on(self.y.device, self.label)

    def cuts(self, num_pixels: int, num_parts: int = 1) -> list[slice]:
        """States for about so many pixels at most, in so many equal parts or more."""
        num_states = len(self.y)
        step = max(1, min(num_pixels // self.num_pixels, -(-num_states // num_parts)))
        return [slice(first, first + step) for first in range(0, num_states, step)]

    def __getitem__(self, states: slice) -> "Query":
        return replace(self, y=self.y[states])

    def candidates(self, number: int) -> Candidates:
        """The dictionary of one border signature."""
        signature = self.geometry.signatures[number]
        return Candidates(
            pixels=self.pixels,
            geometry=self.geometry,
            signature=signature,
            num_patches=len(self.label_indices) * signature.num_centers,
        )

    def places(self, number: int) -> Int[Tensor, "b rows cols"]:
        """Positions in the flattened states of all pixels with one border signature."""
        b, _, height, width = self.y.shape
        places = torch.arange(b * height * width, device=self.y.device)
        return cut(places.reshape(b, height, width), self.geometry.signatures[number])

    def windows(self, number: int) -> Float[Tensor, "b rows cols c s s"]:
        """The windows of all pixels with one border signature."""
        signature = self.geometry.signatures[number]
        return windows_at(self.y, signature.rows.pixels, signature.cols.pixels, self.geometry)

    def search(
        self,
        number: int,
        windows: Float[Tensor, "q c s s"],
        *,
        k: int,
        nprobe: int,
        long_lists: bool = False,
    ) -> Int[Tensor, "q k"]:
        """Patches found for these windows of one signature; -1 where there are fewer.

        Args:
            long_lists: search those, too, for which a tail can stand.
        """
        num_patches = self.candidates(number).num_patches
        return self.index.search(
            self.geometry.patch_size,
            number,
            windows.flatten(1),
            min(k, num_patches),
            nprobe=nprobe,
            label=self.label,
            longest_list=None if long_lists else max(LONGEST_LIST, num_patches // LONGEST_SHARE),
        )

    def at(self, places: Int[Tensor, " q"]) -> "AskedPixels":
        """Pixels at these positions in the flattened states, with their windows."""
        state, pixel = places // self.num_pixels, places % self.num_pixels
        (_, _, height, width) = self.y.shape
        every = windows_at(self.y, range(height), range(width), self.geometry)
        return AskedPixels(
            places=places,
            pixels=pixel,
            signatures=signature_of_pixels(self.geometry, self.y.device)[pixel],
            windows=every[state, pixel // width, pixel % width],
        )

    def search_at(
        self,
        asked: "AskedPixels",
        *,
        k: int,
        nprobe: int,
        probes: Int[Tensor, " q"] | None = None,
        long_lists: bool = False,
    ) -> Int[Tensor, "q k"]:
        """Patches found for these pixels, see `search`.

        Args:
            probes: of each pixel, how many lists are visited: at most `nprobe`.
        """
        longest = None if long_lists else self._longest_lists()
        return self.index.search(
            self.geometry.patch_size,
            asked.signatures,
            asked.windows.flatten(1),
            k,
            nprobe=nprobe,
            label=self.label,
            longest_list=longest,
            probes=probes,
        )

    def _longest_lists(self) -> Int[Tensor, " signatures"]:
        """Of each signature, how many patches a list may have that is worth a search."""
        return _longest_lists(
            self.geometry, len(self.label_indices), LONGEST_SHARE, LONGEST_LIST, self.y.device
        )

    def exact_record(self) -> PosteriorRecord:
        """The sums over every legal patch; fields are [b, h, w]."""
        return sum_exactly(self.index.images, self.y, self.sigma, self.geometry, self.label)


@lru_cache(maxsize=CACHED_GEOMETRIES)
def signature_of_pixels(geometry: PatchGeometry, device: torch.device) -> Int[Tensor, " hw"]:
    """Position in `geometry.signatures` of what each pixel of an image has."""
    numbers = torch.empty(geometry.height, geometry.width, dtype=torch.int64)
    for number, signature in enumerate(geometry.signatures):
        rows, cols = signature.rows.pixels, signature.cols.pixels
        numbers[rows.start : rows.stop, cols.start : cols.stop] = number
    return numbers.flatten().to(device)


@lru_cache(maxsize=CACHED_GEOMETRIES)
def _longest_lists(
    geometry: PatchGeometry, num_images: int, share: int, least: int, device: torch.device
) -> Int[Tensor, " signatures"]:
    """The same for so many images: a part of each dictionary, or the least."""
    sizes = [num_images * signature.num_centers // share for signature in geometry.signatures]
    return torch.tensor(sizes).clamp(min=least).to(device)


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
