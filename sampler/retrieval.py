"""Posterior records from an index: a retrieved head, summed exactly, and a sampled tail.

What retrieval missed can still be drawn in the tail, so recall costs variance and never bias.
A pixel in a corner has one legal center per image: a small dictionary that is always summed whole.
"""

import logging
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, TypedDict, runtime_checkable

import numpy as np
import torch
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
from patchindex.kernels import scan, scan_groups
from sampler.errors import SamplerConfigError
from sampler.head import Candidates, rescored_head
from sampler.image_tail import FEWEST_GROUPS, ImageDraws, draw_images, image_tail
from sampler.patch_tail import patch_tail, truncated
from sampler.tail import uniform_draws

logger = logging.getLogger(__name__)

# Summing all patches of an image for every pixel takes about as long as four single patches.
DRAWS_PER_IMAGE = 4
STATES_PER_CHUNK = 16


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
        pixels, members = self.index.images.tensor, self.index.images.members(label)
        num_images = self.tail // DRAWS_PER_IMAGE
        if num_images >= max(len(members), FEWEST_GROUPS):  # every image would be drawn
            return scan(self.index.images.with_label(label).tensor, y, sigma, geometry)
        rng = np.random.default_rng(self._entropy(sigma, geometry.patch_size, label))
        draws = draw_images(members, self._brightness, num_images, rng)
        chunks = []
        for states in y.split(STATES_PER_CHUNK):
            totals = None
            if draws is not None:
                totals = scan_groups(pixels, draws.groups, states, sigma, geometry)
            query = Query(y=states, sigma=sigma, geometry=geometry, label=label)
            parts = [
                (s.rows.pixels, s.cols.pixels, self._signature_record(query, number, draws, totals))
                for number, s in enumerate(geometry.signatures)
                if s.num_centers > 1
            ]
            chunks.append(
                PosteriorRecord.assembled(
                    parts + self._corner_records(query), geometry.height, geometry.width
                )
            )
        return PosteriorRecord.joined(chunks)

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
        query: "Query",
        number: int,
        draws: ImageDraws | None,
        totals: PosteriorRecord | None,
    ) -> PosteriorRecord:
        """The estimate for the pixels of one border signature; fields are [b, rows, cols]."""
        geometry, sigma = query.geometry, query.sigma
        signature = geometry.signatures[number]
        members = self.index.images.members(query.label)
        num_patches = len(members) * signature.num_centers
        windows = windows_at(query.y, signature.rows.pixels, signature.cols.pixels, geometry)
        queries = rearrange(windows, "b rows cols c sy sx -> (b rows cols) c sy sx").contiguous()
        ids = self.index.search(
            geometry.patch_size,
            number,
            queries.flatten(1),
            min(self.k, num_patches),
            nprobe=self.nprobe,
            label=query.label,
        )
        candidates = Candidates(
            pixels=self.index.images.tensor,
            geometry=geometry,
            signature=signature,
            num_patches=num_patches,
        )
        head = rescored_head(candidates, queries, sigma, ids)
        if draws is not None and totals is not None:
            part = cut(totals, signature).map(lambda sums: sums.flatten(1, 3))
            record = head.record().merge(
                image_tail(part, head, draws, geometry.height * geometry.width)
            )
        elif self.tail:
            entropy = self._entropy(sigma, geometry.patch_size, query.label)
            rng = np.random.default_rng([*entropy, number])
            drawn = uniform_draws(members, signature, geometry, min(self.tail, num_patches), rng)
            tail = patch_tail(candidates, queries, sigma, ids, torch.from_numpy(drawn))
            record = head.record().merge(tail)
        else:
            record = truncated(head.record(), (ids >= 0).sum(-1) == num_patches)
        num_rows, num_cols = windows.shape[1:3]
        return record.map(lambda sums: sums.unflatten(0, (len(query.y), num_rows, num_cols)))

    def _corner_records(self, query: "Query") -> list[tuple[range, range, PosteriorRecord]]:
        """Exact records of the pixels that have one legal center per image, and their places."""
        corners = [s for s in query.geometry.signatures if s.num_centers == 1]
        if not corners:
            return []
        same_place = index_geometry(self.index, query.geometry.patch_size, equivariant=False)
        pixels = self.index.images.with_label(query.label).tensor
        exact = scan(pixels, query.y, query.sigma, same_place)
        return [(corner.rows.pixels, corner.cols.pixels, cut(exact, corner)) for corner in corners]

    @cached_property
    def _brightness(self) -> Float[np.ndarray, " n"]:
        """Mean pixel value of every image."""
        means: Float[np.ndarray, " n"] = self.index.images.pixels.mean(axis=(1, 2, 3))
        return means

    def _entropy(self, sigma: float, patch_size: int, label: int | None) -> list[int]:
        """What the draws depend on: not the batch, so that a sample is the same in any batch."""
        step = int(np.float64(sigma).view(np.uint64))
        return [self.seed, step, patch_size, 0 if label is None else label + 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """The states of one call, in data units, and what they are compared with."""

    y: Float[Tensor, "b c h w"]
    sigma: float
    geometry: PatchGeometry
    label: int | None


def cut(record: PosteriorRecord, signature: BorderSignature) -> PosteriorRecord:
    """The part of the signature's pixels; fields are [..., h, w], then channels."""
    rows, cols = signature.rows.pixels, signature.cols.pixels
    h = record.sum_w.ndim - 2
    return record.map(
        lambda sums: sums.narrow(h, rows.start, len(rows)).narrow(h + 1, cols.start, len(cols))
    )


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
