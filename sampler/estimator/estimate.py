"""The retrieval estimator: a head of near patches, summed exactly, and a sampled tail.

What retrieval missed can still be drawn in the tail, so low recall costs variance and never bias.
A pixel within P // 2 of two borders has one legal patch per image, and these are always all summed.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from statistics import fmean
from typing import TypedDict

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchindex import PosteriorRecord
from patchindex.geometry import nearest_scale
from patchindex.index import DEFAULT_NPROBE
from patchindex.kernels import exact_scan
from sampler.errors import SamplerConfigError
from sampler.estimator.head import NO_PATCH, Head, Searching, sum_head
from sampler.estimator.query import NeighborSearch, Query, index_geometry
from sampler.estimator.regions import Region, corner_record, sampled_regions
from sampler.estimator.tail import MOST_GROUPS, PairDraws, draw_pairs, truncated, with_tail
from sampler.noise import check_seed

# with more effective draws than this the tail alone is precise enough, and no search is made
ENOUGH_DRAWS = 10_000
PATCHES_PER_TAIL = 64  # that a pixel meets for each unit of `tail`
SCANNED_IN_THE_TIME = 3  # times the patches drawn: what an exact scan sums while one is estimated
EDGE_DIVISOR = 8  # at an edge patches are more alike, and each takes five times as long
LARGEST_DRAWN_SHARE = 2  # where half of a dictionary would be drawn, all of it is summed
FEWEST_IMAGES = 3  # fewer may all be in one group, which has no spread: they are summed, too
PILOT_DIVISOR, PILOT_GROUPS = 8, 2  # the pilot has an eighth of the tail's patches
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
        head: the patches that were found.
        mse_deviation: standard deviation of the mean squared error over a state's pixels, whose
            errors are correlated by the draws that they share.
    """

    record: PosteriorRecord
    head: Head
    mse_deviation: Float[Tensor, " b"]


@dataclass(frozen=True)
class Retrieval:
    """Top-k retrieval over an index, plus a random tail that stands for all other patches.

    Attributes:
        k: patches retrieved for each pixel that is searched, and kept for the next step; its
            neighbors share them.
        tail: effort of the random draws: a pixel meets about 64 * tail patches (4,096: 262,144), an
            eighth of them at the edges of images. 0 leaves the rest out, which is biased and for
            comparison only.
        nprobe: inverted lists visited per searched pixel, and four times as many where nothing is
            known of it; pixels whose weight is spread over very many patches are not searched.
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

    def estimate(self, query: Query, *, effort: int = 0, known: Head | None = None) -> Estimate:
        """One estimate of all pixels.

        Args:
            effort: probes and draws are multiplied by 4**effort.
            known: what was found for the states before these on their trajectories.
        """
        if known is not None and known.patch_size != query.geometry.patch_size:
            known = None
        shape, channels, device = query.y[:, 0].shape, query.y.shape[1], query.y.device
        record = PosteriorRecord.empty((shape.numel(),), channels, device)
        ids = torch.full((shape.numel(), self.k), NO_PATCH, device=device)
        variance = torch.zeros(shape[0], dtype=torch.float64, device=device)
        for number, region in enumerate(sampled_regions(query.geometry)):
            rng = np.random.default_rng([*self._entropy(query, effort), number])
            part = self._estimate_region(query, region, effort, known, rng)
            places = region.places(query).flatten()
            record = record.replaced(places, part.record)
            ids[places] = part.nearest
            variance += part.squared_errors_variance
        record = record.replaced(*corner_record(query))
        record = record.map(lambda sums: sums.unflatten(0, shape))
        head = Head(
            patch_size=query.geometry.patch_size,
            ids=ids.unflatten(0, shape),
            effective_sample_size=record.sum_w**2 / record.sum_w2,
            mass=record.sum_head / record.sum_w,
        )
        deviation = variance.sqrt() / query.y[0].numel()
        return Estimate(record=record, head=head, mse_deviation=deviation)

    def _estimate_region(
        self,
        query: Query,
        region: Region,
        effort: int,
        known: Head | None,
        rng: np.random.Generator,
    ) -> "_RegionEstimate":
        """The estimate of a region's pixels."""
        searching = Searching(
            k=self.k,
            nprobe=self.nprobe * MORE_EFFORT**effort,
            forward=bool(rng.integers(2)),
            phase=(int(rng.integers(2)), int(rng.integers(2))),
            long_lists=not self.tail,
        )
        if not self.tail:
            head = sum_head(
                query, region, region.own(torch.ones_like(query.y[:, 0]).bool()), searching
            )
            complete = head.record.num_scored == len(query.label_indices) * region.num_centers
            return _RegionEstimate(record=truncated(head.record, complete), nearest=head.nearest)
        num_patches, num_images = self._num_patches(region, effort), len(query.label_indices)
        if (
            num_images < FEWEST_IMAGES
            or num_patches * LARGEST_DRAWN_SHARE >= num_images * region.num_centers
        ):
            record = _scan_all(query, region)
            nearest = torch.full((len(record.sum_w), self.k), NO_PATCH, device=query.y.device)
            return _RegionEstimate(record=record, nearest=nearest)
        draws = self._draw(query, region, num_patches, rng)
        totals = _scan_pairs(query, region, draws)
        effective = self._effective_draws(query, region, num_patches, known, rng)
        searching = replace(searching, known=known, groups=draws.groups)
        head = sum_head(query, region, effective < ENOUGH_DRAWS, searching)
        record, variance = with_tail(
            head.record, totals, head.members, draws,
            pixel_spread=self.index.images.pixel_spread, num_states=len(query.y),
        )  # fmt: skip
        return _RegionEstimate(
            record=record, nearest=head.nearest, squared_errors_variance=variance
        )

    def _effective_draws(
        self,
        query: Query,
        region: Region,
        num_patches: int,
        known: Head | None,
        rng: np.random.Generator,
    ) -> Float[Tensor, "b rows cols"]:
        """About how many effective draws the tail will have in each pixel.

        That is judged by the states before, or by a pilot: a choice by the tail's own draws would
        bias it.
        """
        if known is not None:
            num_all = len(query.label_indices) * region.num_centers
            return region.own_of(known.effective_sample_size) * (num_patches / num_all)
        few = max(1, num_patches // PILOT_DIVISOR)
        pilot = self._draw(query, region, few, rng, most_groups=PILOT_GROUPS)
        sums = PosteriorRecord.merged_over(_scan_pairs(query, region, pilot))
        effective = sums.sum_w**2 / sums.sum_w2 * (num_patches / few)
        return effective.reshape(region.places(query).shape)

    def _num_patches(self, region: Region, effort: int) -> int:
        """How many patches each pixel of a region meets in the tail."""
        num: int = PATCHES_PER_TAIL * self.tail * MORE_EFFORT**effort
        return num if min(region.farthest) else -(-num // EDGE_DIVISOR)

    def _draw(
        self,
        query: Query,
        region: Region,
        num_patches: int,
        rng: np.random.Generator,
        most_groups: int = MOST_GROUPS,
    ) -> PairDraws:
        """Pairs of the images that the label admits."""
        draws = draw_pairs(
            region,
            query.label_indices,
            self.index.images.brightness,
            num_patches,
            rng,
            most_groups=most_groups,
        )
        return draws.to(query.y.device)

    def exact_is_no_slower(self, patch_sizes: Sequence[int], label: int | None = None) -> bool:
        """Whether summing every patch takes no longer than an estimate, over steps of these sizes.

        As measured: an estimate takes as long as a scan of three times the patches that it
        draws.
        """
        per_image = [
            float(index_geometry(self.index, size).centers_per_pixel.mean()) for size in patch_sizes
        ]
        num_patches = len(self.index.images.label_indices(label)) * fmean(per_image)
        return num_patches <= SCANNED_IN_THE_TIME * PATCHES_PER_TAIL * self.tail

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

    def _entropy(self, query: Query, effort: int) -> list[int]:
        """Seed of the draws. The batch is not in it, so that a sample is the same in any batch."""
        sigma_bits, label = int(np.float64(query.sigma).view(np.uint64)), query.label
        patch_size = query.geometry.patch_size
        return [self.seed, sigma_bits, patch_size, 0 if label is None else label + 1, effort]


def _scan_pairs(query: Query, region: Region, draws: PairDraws) -> PosteriorRecord:
    """The sums of each group for the region's pixels; fields are [g, q]."""
    y = region.seen_of(query.y)
    sums = exact_scan(region.seen_of(query.pixels), y, query.sigma, region.geometry, draws.groups)
    return sums.map(lambda field: region.own(field, leading=2).flatten(1, 3))


def _scan_all(query: Query, region: Region) -> PosteriorRecord:
    """The sums over all patches for the region's pixels [q]."""
    pixels, y = region.seen_of(query.admitted_pixels), region.seen_of(query.y)
    sums = exact_scan(pixels, y, query.sigma, region.geometry, devices=query.scanning)
    return sums.map(lambda field: region.own(field).flatten(0, 2))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _RegionEstimate:
    """The sums of a region's pixels, and the nearest patches found for each.

    Attributes:
        squared_errors_variance: of the sum of squared errors of each state's pixels.
    """

    record: PosteriorRecord
    nearest: Int[Tensor, "q k"]
    squared_errors_variance: Float[Tensor, " b"] | float = 0.0


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
