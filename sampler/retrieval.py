"""Posterior records from an index: a retrieved head, summed exactly, and a sampled tail.

What retrieval missed can still be drawn in the tail, so recall costs variance and never bias.
A pixel in a corner has one legal center per image: a small dictionary that is always summed whole.
"""

import logging
from dataclasses import dataclass, field
from typing import Protocol, TypedDict, runtime_checkable

import numpy as np
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from patchindex import (
    BorderSignature,
    Boundary,
    ImageSet,
    PatchGeometry,
    PosteriorRecord,
    windows_at,
)
from patchindex.kernels import scan
from sampler.errors import SamplerConfigError
from sampler.estimator import Candidates, head_and_tail
from sampler.tail import uniform_draws

logger = logging.getLogger(__name__)


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
    ) -> Int[Tensor, "q k"]:
        """Ids of about the k nearest patches with this border signature; -1 where there are fewer.

        Args:
            signature: position in `PatchGeometry.signatures`.
            windows: full windows in [-1, 1] data units, flattened from [c, s, s].
            nprobe: inverted lists visited per query.
        """
        ...


class RetrievalSettings(TypedDict, total=False):
    """Keyword arguments of `Retrieval`, which documents them and holds the defaults."""

    k: int
    tail: int
    nprobe: int
    seed: int
    strict_scales: bool


@dataclass(frozen=True)
class Retrieval:
    """Top-k retrieval plus a corrected tail over an index.

    Attributes:
        k: patches retrieved per pixel.
        tail: patches drawn per border signature besides those retrieved; 0 leaves the rest out,
            which is biased and for comparison only.
        nprobe: inverted lists visited per pixel.
        seed: of the tail's draws; equal seeds give equal results.
        strict_scales: refuse a patch size that the index lacks instead of using the nearest.

    Raises:
        SamplerConfigError: a setting out of range.
    """

    index: NeighborSearch
    k: int = 256
    tail: int = 4096
    nprobe: int = 32
    seed: int = 0
    strict_scales: bool = False
    _announced: set[int] = field(default_factory=set, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_settings(self)
        if self.tail == 0:
            logger.warning(
                "tail is 0: the mean over the %d retrieved patches alone is biased, most of all "
                "at high noise. Use it for comparison only.",
                self.k,
            )

    def record(
        self, y: Float[Tensor, "b c h w"], sigma: float, patch_size: int, label: int | None
    ) -> PosteriorRecord:
        """The estimated sums over the dictionary of each pixel; fields are [b, h, w]."""
        geometry = index_geometry(self.index, self.served_scale(patch_size))
        parts = [
            (
                signature.rows.pixels,
                signature.cols.pixels,
                self._signature_record(y, sigma, geometry, number, label),
            )
            for number, signature in enumerate(geometry.signatures)
            if signature.num_centers > 1
        ]
        corners = [s for s in geometry.signatures if s.num_centers == 1]
        if corners:
            same_place = index_geometry(self.index, geometry.patch_size, equivariant=False)
            exact = scan(self.index.images.with_label(label).tensor, y, sigma, same_place)
            parts += [cut(exact, corner) for corner in corners]
        return PosteriorRecord.assembled(parts, geometry.height, geometry.width)

    def served_scale(self, patch_size: int) -> int:
        """The patch size that is searched for this one: itself, or the nearest in the index.

        Raises:
            SamplerConfigError: it is not in the index and `strict_scales` is set.
            GeometryError: it is no patch size at all.
        """
        scales = self.index.scales
        if patch_size in scales:
            return patch_size
        index_geometry(self.index, patch_size)
        nearest = min(scales, key=lambda scale: (abs(scale - patch_size), scale))
        if self.strict_scales:
            raise SamplerConfigError(
                f"scale {patch_size} is not in the index, which has {list(scales)}. "
                f"Build an index with it, or allow the nearest scale, {nearest}."
            )
        if patch_size not in self._announced:
            self._announced.add(patch_size)
            logger.warning(
                "scale %d is not in the index; scale %d serves in its place", patch_size, nearest
            )
        return nearest

    def _signature_record(
        self,
        y: Float[Tensor, "b c h w"],
        sigma: float,
        geometry: PatchGeometry,
        number: int,
        label: int | None,
    ) -> PosteriorRecord:
        """The estimate for the pixels of one border signature; fields are [b, rows, cols]."""
        signature = geometry.signatures[number]
        members = self.index.images.members(label)
        num_patches = len(members) * signature.num_centers
        windows = windows_at(y, signature.rows.pixels, signature.cols.pixels, geometry)
        queries = rearrange(windows, "b rows cols c sy sx -> (b rows cols) c sy sx").contiguous()
        head_ids = self.index.search(
            geometry.patch_size,
            number,
            queries.flatten(1),
            min(self.k, num_patches),
            nprobe=self.nprobe,
            label=label,
        )
        rng = np.random.default_rng(self._entropy(sigma, geometry.patch_size, number, label))
        draws = uniform_draws(members, signature, geometry, min(self.tail, num_patches), rng)
        candidates = Candidates(
            pixels=self.index.images.tensor,
            geometry=geometry,
            signature=signature,
            num_patches=num_patches,
        )
        record = head_and_tail(candidates, queries, sigma, head_ids, draws)
        num_rows, num_cols = windows.shape[1:3]
        return record.map(lambda sums: sums.reshape(len(y), num_rows, num_cols, *sums.shape[1:]))

    def _entropy(
        self, sigma: float, patch_size: int, signature: int, label: int | None
    ) -> list[int]:
        """What the draws depend on: not the batch, so that a sample is the same in any batch."""
        step = int(np.float64(sigma).view(np.uint64))
        return [self.seed, step, patch_size, signature, 0 if label is None else label + 1]


def cut(
    record: PosteriorRecord, signature: BorderSignature
) -> tuple[range, range, PosteriorRecord]:
    """The record of the signature's pixels, and where they are."""
    rows, cols = signature.rows.pixels, signature.cols.pixels
    part = record.map(lambda sums: sums[:, rows.start : rows.stop, cols.start : cols.stop])
    return rows, cols, part


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


def check_settings(settings: Retrieval) -> None:
    """Raise SamplerConfigError unless k, tail, nprobe and seed are in range."""
    geometries = [index_geometry(settings.index, scale) for scale in settings.index.scales]
    per_image = max(s.num_centers for geometry in geometries for s in geometry.signatures)
    num_patches = len(settings.index.images) * per_image
    if not 1 <= settings.k <= num_patches:
        raise SamplerConfigError(
            f"k is {settings.k}, but a pixel has {num_patches} patches to retrieve from. "
            f"Give 1 to {num_patches}; to sum them all, use the exact machine."
        )
    if settings.tail < 0 or settings.tail == 1:
        raise SamplerConfigError(
            f"tail is {settings.tail}. Give at least 2 draws, without which there is no standard "
            "error, or 0 for the biased average of the retrieved patches alone."
        )
    if settings.nprobe < 1:
        raise SamplerConfigError(f"nprobe is {settings.nprobe}. Give at least 1 inverted list.")
    if settings.seed < 0:
        raise SamplerConfigError(f"seed is {settings.seed}. Give a whole number, 0 or more.")
