"""The retrieval estimator: a head of near patches, summed exactly, and a sampled tail.

What retrieval missed can still be drawn in the tail, so low recall costs variance and never bias.
A pixel within P // 2 of two borders has one legal patch per image, and these are always all summed.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf
from typing import TypedDict

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from patchindex import PosteriorRecord
from patchindex.geometry import nearest_scale
from patchindex.images import to_unit
from patchindex.index import DEFAULT_NPROBE
from patchindex.kernels import GroupMembers, exact_scan, sum_patches
from sampler.errors import SamplerConfigError
from sampler.estimator.head import (
    FoundPatches,
    corner_record,
    is_corner,
    search_head,
    with_neighbors,
)
from sampler.estimator.query import NeighborSearch, Query, index_geometry
from sampler.estimator.tail import (
    FEWEST_GROUPS,
    ImageDraws,
    draw_images,
    patch_tail,
    truncated,
    uniform_draws,
    with_image_tail,
)
from sampler.noise import check_seed

# with more effective draws than this the tail alone is precise enough, and no search is made
ENOUGH_DRAWS = 10_000
# tail * patch_size / TAIL_DIVISOR images are drawn: the larger a patch, the fewer legal ones an
# image has, and the less time it takes
TAIL_DIVISOR = 32
PILOT_DIVISOR = 8  # the pilot has an eighth of the tail's images
MORE_EFFORT = 4  # times the probes and draws, where a first estimate is not within tolerance

logger = logging.getLogger(__name__)


class RetrievalSettings(TypedDict, total=False):
    """Keyword arguments of `Retrieval`, which documents them and holds the defaults."""

    k: int
    tail: int
    nprobe: int
    tolerance: float | None
    seed: int
    strict_scales: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Estimate:
    """The sums over the dictionary of each pixel, and what was found for them.

    Attributes:
        record: fields are [b, h, w].
        head: patches that a search found; empty unless `keep_head`.
    """

    record: PosteriorRecord
    head: tuple[FoundPatches, ...] = ()


@dataclass(frozen=True)
class Retrieval:
    """Top-k retrieval over an index, plus a random tail that stands for all other patches.

    Attributes:
        k: patches retrieved for each pixel that is searched; its neighbors share them.
        tail: effort of the random draws: tail * patch_size / 32 whole images (4,096 at patch size
            15: 1,920 images), or `tail` single patches where that would be fewer than 32 images.
            0 leaves the rest out, which is biased and for comparison only.
        nprobe: inverted lists visited per searched pixel; pixels whose weight is spread over very
            many patches are not searched.
        tolerance: standard error of the posterior mean that is good enough. Pixels above it, or
            with k-hat of 0.7 or more, are estimated again with four times the probes and draws,
            and where that is not enough, their state is scanned exactly. None accepts all.
        seed: of the tail's draws; equal seeds give equal results.
        strict_scales: refuse a patch size that the index lacks instead of using the nearest.

    Raises:
        SamplerConfigError: a setting out of range.
    """

    index: NeighborSearch
    k: int = 256
    tail: int = 4096
    nprobe: int = DEFAULT_NPROBE
    tolerance: float | None = None
    seed: int = 0
    strict_scales: bool = False

    def __post_init__(self) -> None:
        _check_settings(self)
        if self.tail == 0:
            logger.warning(
                "tail is 0: the mean over the %d retrieved patches alone is biased, most of all "
                "at high noise. Use it for comparison only.",
                self.k,
            )

    def estimate(self, query: Query, *, effort: int = 0, keep_head: bool = False) -> Estimate:
        """One estimate of all pixels.

        Args:
            effort: probes and draws are multiplied by 4**effort.
            keep_head: also return the patches that were found.
        """
        tail = self.tail * MORE_EFFORT**effort
        num_images = tail * query.geometry.patch_size // TAIL_DIVISOR
        if num_images >= max(len(query.label_indices), FEWEST_GROUPS):  # all would be drawn
            return Estimate(record=query.exact_record())
        entropy = self._entropy(query, effort)
        search = {"k": self.k, "nprobe": self.nprobe * MORE_EFFORT**effort}
        not_corner = ~is_corner(query.geometry).to(query.y.device).expand(len(query.y), -1, -1)
        if num_images < FEWEST_GROUPS:
            found = search_head(query, not_corner, long_lists=not tail, **search)
            head = tuple(found) if keep_head else found
            record = _estimate_by_patches(query, head, tail=tail, entropy=entropy)
        else:
            draws, pilot = self._draw_images(query, num_images, entropy)
            wanted = not_corner & _needs_head(query, draws, pilot)
            found = _shared_by_neighbors(query, search_head(query, wanted, **search))
            head = tuple(found) if keep_head else found
            record = _estimate_by_images(query, head, draws, pixel_spread=self._pixel_spread)
        return Estimate(record=record, head=tuple(head) if keep_head else ())

    def nearest_scales(self, patch_sizes: Sequence[int]) -> dict[int, int]:
        """The scale of the index that serves for each patch size: itself, or the nearest.

        Raises:
            SamplerConfigError: one is not in the index and `strict_scales` is set.
            GeometryError: one is no patch size at all.
        """
        scales = self.index.scales
        lacking = sorted(set(patch_sizes) - set(scales))
        for patch_size in lacking:
            index_geometry(self.index, patch_size)
        nearest = {patch_size: nearest_scale(scales, patch_size) for patch_size in patch_sizes}
        if lacking and self.strict_scales:
            raise SamplerConfigError(
                f"scale {lacking[0]} is not in the index, which has {list(scales)}. "
                f"Build an index with it, or allow the nearest scale, {nearest[lacking[0]]}."
            )
        return nearest

    def _draw_images(
        self, query: Query, num_images: int, entropy: list[int]
    ) -> tuple[ImageDraws, ImageDraws]:
        """The images of the tail, and fewer of a pilot, drawn apart from them."""
        rng, device = np.random.default_rng(entropy), query.y.device
        among, brightness = query.label_indices, self._brightness
        draws = draw_images(among, brightness, num_images, rng)
        pilot = draw_images(among, brightness, num_images // PILOT_DIVISOR, rng, fewest_groups=1)
        return draws.to(device), pilot.to(device)

    @cached_property
    def _brightness(self) -> Float[np.ndarray, " n"]:
        """Mean pixel value of every image."""
        means: Float[np.ndarray, " n"] = self.index.images.pixels.mean(axis=(1, 2, 3))
        return means

    @cached_property
    def _pixel_spread(self) -> float:
        """Standard deviation of the training pixels in [-1, 1] units, from a thousand images."""
        pixels = self.index.images.pixels
        return float(to_unit(np.asarray(pixels[:: 1 + len(pixels) // 1000])).std())

    def _entropy(self, query: Query, effort: int) -> list[int]:
        """Seed of the draws. The batch is not in it, so that a sample is the same in any batch."""
        sigma_bits, label = int(np.float64(query.sigma).view(np.uint64)), query.label
        patch_size = query.geometry.patch_size
        return [self.seed, sigma_bits, patch_size, 0 if label is None else label + 1, effort]


def check_numbers(*, k: int, tail: int, nprobe: int, tolerance: float | None, seed: int) -> None:
    """Raise SamplerConfigError unless the settings are in range."""
    if k < 1:
        raise SamplerConfigError(f"k is {k}. Give at least 1 patch to retrieve.")
    if tail < 0 or tail == 1:
        raise SamplerConfigError(
            f"tail is {tail}. Give at least 2 draws, without which there is no standard "
            "error, or 0 for the biased average of the retrieved patches alone."
        )
    if nprobe < 1:
        raise SamplerConfigError(f"nprobe is {nprobe}. Give at least 1 inverted list.")
    if tolerance is not None and not 0 <= tolerance < inf:
        raise SamplerConfigError(
            f"tolerance is {tolerance}. Give a standard error in [-1, 1] units, such as "
            "0.02; 0 scans exactly."
        )
    check_seed(seed)


def _estimate_by_images(
    query: Query, head: Iterable[FoundPatches], draws: ImageDraws, *, pixel_spread: float
) -> PosteriorRecord:
    """The estimate of every pixel with a tail of whole images; fields are [b, h, w]."""
    pixels, device = query.pixels, query.y.device
    totals = exact_scan(pixels, query.y, query.sigma, query.geometry, draws.groups)
    shape, channels = totals.sum_w.shape[1:], query.y.shape[1]
    record = PosteriorRecord.empty((shape.numel(),), channels, device)
    head_in_tail = [GroupMembers.none(channels, device)]
    for found in head:
        found_record, in_groups = sum_patches(
            pixels,
            query.windows(found.signature)[found.pixels],
            found.ids,
            query.geometry,
            query.geometry.signatures[found.signature],
            sigma=query.sigma,
            group_of=draws.group_of,
        )
        at = query.places(found.signature)[found.pixels]
        record = record.replaced(at, found_record)
        head_in_tail.append(replace(in_groups, query=at[in_groups.query]))
    record = with_image_tail(
        record,
        totals.map(lambda sums: sums.flatten(1, 3)),
        GroupMembers.joined(head_in_tail),
        draws,
        pixel_spread=pixel_spread,
    ).replaced(*corner_record(query))
    return record.map(lambda sums: sums.unflatten(0, shape))


def _needs_head(query: Query, draws: ImageDraws, pilot: ImageDraws) -> Bool[Tensor, "b h w"]:
    """Pixels that need a search, because the tail alone would probably be too noisy.

    That is judged by a pilot, because a choice by the tail's own draws would bias it.
    """
    sums = PosteriorRecord.merged_over(
        exact_scan(query.pixels, query.y, query.sigma, query.geometry, pilot.groups)
    )
    effective_draws = sums.sum_w**2 / sums.sum_w2
    return effective_draws * (draws.groups.numel() / pilot.groups.numel()) < ENOUGH_DRAWS


def _shared_by_neighbors(query: Query, head: Iterable[FoundPatches]) -> Iterator[FoundPatches]:
    """What was found for each pixel, and for its neighbors of the same signature."""
    for found in head:
        signature = query.geometry.signatures[found.signature]
        yield replace(found, ids=with_neighbors(found.ids, found.pixels, signature, query.geometry))


def _estimate_by_patches(
    query: Query, head: Iterable[FoundPatches], *, tail: int, entropy: list[int]
) -> PosteriorRecord:
    """The estimate of every pixel with a tail of single patches, or none; fields are [b, h, w]."""
    (b, channels, height, width), device = query.y.shape, query.y.device
    record = PosteriorRecord.empty((b * height * width,), channels, device)
    for found in head:
        candidates = query.candidates(found.signature)
        windows, signature = query.windows(found.signature)[found.pixels], candidates.signature
        part, _ = sum_patches(
            candidates.pixels, windows, found.ids, query.geometry, signature, sigma=query.sigma
        )
        if tail:
            rng = np.random.default_rng([*entropy, found.signature])
            num_draws = min(tail, candidates.num_patches)
            drawn = uniform_draws(query.label_indices, signature, query.geometry, num_draws, rng)
            draws = torch.from_numpy(drawn).to(device)
            part = part.merge(patch_tail(candidates, windows, query.sigma, found.ids, draws))
        else:
            part = truncated(part, (found.ids >= 0).sum(-1) == candidates.num_patches)
        record = record.replaced(query.places(found.signature)[found.pixels], part)
    record = record.replaced(*corner_record(query))
    return record.map(lambda sums: sums.unflatten(0, (b, height, width)))


def _check_settings(settings: Retrieval) -> None:
    """Raise SamplerConfigError unless k, tail, nprobe, tolerance and seed are in range."""
    check_numbers(
        k=settings.k, tail=settings.tail, nprobe=settings.nprobe, tolerance=settings.tolerance,
        seed=settings.seed,
    )  # fmt: skip
    geometries = [index_geometry(settings.index, scale) for scale in settings.index.scales]
    per_image = max(s.num_centers for geometry in geometries for s in geometry.signatures)
    num_patches = len(settings.index.images) * per_image
    if settings.k > num_patches:
        raise SamplerConfigError(
            f"k is {settings.k}, but a pixel has {num_patches} patches to retrieve from. "
            f"Give 1 to {num_patches}; to sum them all, use the exact machine."
        )
