"""The retrieval estimator: a head of near patches, summed exactly, and a sampled tail.

What retrieval missed can still be drawn in the tail, so low recall costs variance and never bias.
A pixel within P // 2 of two borders has one legal patch per image, and these are always all summed.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from patchindex import PosteriorRecord
from patchindex.choices import DEFAULT_NPROBE
from patchindex.geometry import nearest_scale
from patchindex.kernels import PatchSums, exact_scan
from sampler.choices import DEFAULT_K, DEFAULT_TAIL
from sampler.errors import SamplerConfigError
from sampler.estimator.head import NO_PATCH, Head, Searching, sum_head
from sampler.estimator.parts import of_part
from sampler.estimator.query import NeighborSearch, Query, index_geometry
from sampler.estimator.regions import Region, corner_record, sampled_regions
from sampler.estimator.settings import check_index, check_numbers
from sampler.estimator.tail import MOST_GROUPS, PairDraws, draw_pairs, truncated, with_tail

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


# of each region: the pixels that need a head, and what was found for them; None where all patches
# are summed
Wanted = list[Bool[Tensor, "_ _ _"] | None]
Found = list[PatchSums | None]


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
        parts: of the index, of runs of its shards, in each of which k / parts patches are found for
            a pixel: more than 1 where no machine of a cluster can hold a scale.

    Raises:
        SamplerConfigError: a setting out of range.
    """

    index: NeighborSearch
    k: int = DEFAULT_K
    tail: int = DEFAULT_TAIL
    nprobe: int = DEFAULT_NPROBE
    tolerance: float | None = None
    seed: int = 0
    strict_scales: bool = False
    parts: int = 1

    def __post_init__(self) -> None:
        check_numbers(
            k=self.k, tail=self.tail, nprobe=self.nprobe, tolerance=self.tolerance, seed=self.seed
        )
        check_index(self.index, k=self.k, parts=self.parts)
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
        plans = self.plans(query, effort)
        wanted = self.wanted(query, plans, known)
        found = [self.find(query, plans, wanted, known, part=part) for part in range(self.parts)]
        return self.finish(query, plans, found)

    def plans(self, query: Query, effort: int = 0) -> "list[RegionPlan]":
        """How each region is estimated: always the same for the same query."""
        plans = []
        for number, region in enumerate(sampled_regions(query.geometry)):
            rng = np.random.default_rng([*self._entropy(query, effort), number])
            searching = Searching(
                k=-(-self.k // self.parts),
                nprobe=self.nprobe * MORE_EFFORT**effort,
                forward=bool(rng.integers(2)),
                phase=(int(rng.integers(2)), int(rng.integers(2))),
                long_lists=not self.tail,
            )
            num_patches, num_images = self._num_patches(region, effort), len(query.label_indices)
            summed = self.tail > 0 and (
                num_images < FEWEST_IMAGES
                or num_patches * LARGEST_DRAWN_SHARE >= num_images * region.num_centers
            )
            draws = None
            if self.tail and not summed:
                draws = self._draw(query, region, num_patches, rng)
            plans.append(
                RegionPlan(
                    region=region, searching=searching, num_patches=num_patches, draws=draws,
                    summed=summed, rng=rng,
                )
            )  # fmt: skip
        return plans

    def wanted(self, query: Query, plans: "list[RegionPlan]", known: Head | None) -> Wanted:
        """Which pixels of each region need a head: the first of three parts of an estimate."""
        return [self._wanted_in(query, plan, known) for plan in plans]

    def find(
        self,
        query: Query,
        plans: "list[RegionPlan]",
        wanted: Wanted,
        known: Head | None,
        *,
        part: int = 0,
    ) -> Found:
        """What is found for the wanted pixels in a part of the index, and its sums.

        Args:
            known: of which only what is in this part is used.
        """
        if self.parts > 1:
            query, known = of_part(query, known, part, self.parts)
        found: Found = []
        for plan, pixels in zip(plans, wanted, strict=True):
            if pixels is None:
                found.append(None)
                continue
            groups = None if plan.draws is None else plan.draws.groups
            searching = replace(plan.searching, known=known if self.tail else None, groups=groups)
            found.append(sum_head(query, plan.region, pixels, searching))
        return found

    def finish(self, query: Query, plans: "list[RegionPlan]", found: Sequence[Found]) -> Estimate:
        """The estimate, from what was found in all parts of the index."""
        shape, channels, device = query.y[:, 0].shape, query.y.shape[1], query.y.device
        record = PosteriorRecord.empty((shape.numel(),), channels, device)
        variance = torch.zeros(shape[0], dtype=torch.float64, device=device)
        for plan, *parts in zip(plans, *found, strict=True):
            sums = PatchSums.merged([part for part in parts if part is not None])
            own, spread = self._with_rest(query, plan, sums)
            record = record.replaced(plan.region.places(query).flatten(), own)
            variance += spread
        record = record.replaced(*corner_record(query))
        record = record.map(lambda sums: sums.unflatten(0, shape))
        head = Head(
            patch_size=query.geometry.patch_size,
            ids=torch.cat([nearest_of(query, part) for part in found], dim=-1),
            effective_sample_size=record.sum_w**2 / record.sum_w2,
            mass=record.sum_head / record.sum_w,
        )
        deviation = variance.sqrt() / query.y[0].numel()
        return Estimate(record=record, head=head, mse_deviation=deviation)

    def _wanted_in(
        self, query: Query, plan: "RegionPlan", known: Head | None
    ) -> Bool[Tensor, "b rows cols"] | None:
        """The pixels of a region that need a head; None if all patches are summed."""
        if plan.summed:
            return None
        if plan.draws is None:
            return plan.region.own(torch.ones_like(query.y[:, 0]).bool())
        return self._effective_draws(query, plan, known) < ENOUGH_DRAWS

    def _with_rest(
        self, query: Query, plan: "RegionPlan", head: PatchSums | None
    ) -> tuple[PosteriorRecord, Float[Tensor, " b"] | float]:
        """The record of a region, and the variance of the squared errors of each state."""
        if head is None:
            return _scan_all(query, plan.region), 0.0
        if plan.draws is None:
            num_all = len(query.label_indices) * plan.region.num_centers
            return truncated(head.record, head.record.num_scored == num_all), 0.0
        totals = _scan_pairs(query, plan.region, plan.draws)
        return with_tail(
            head.record, totals, head.members, plan.draws,
            pixel_spread=self.index.images.pixel_spread, num_states=len(query.y),
        )  # fmt: skip

    def _effective_draws(
        self, query: Query, plan: "RegionPlan", known: Head | None
    ) -> Float[Tensor, "b rows cols"]:
        """About how many effective draws the tail will have in each pixel.

        That is judged by the states before, or by a pilot: a choice by the tail's own draws would
        bias it.
        """
        region, num_patches = plan.region, plan.num_patches
        if known is not None and known.patch_size == query.geometry.patch_size:
            num_all = len(query.label_indices) * region.num_centers
            return region.own_of(known.effective_sample_size) * (num_patches / num_all)
        few = max(1, num_patches // PILOT_DIVISOR)
        pilot = self._draw(query, region, few, plan.rng, most_groups=PILOT_GROUPS)
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
        num_patches = self.index.images.count(label) * fmean(per_image)
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


def nearest_of(query: Query, found: Found) -> Int[Tensor, "b h w m"]:
    """The nearest patches of what was found in a part of the index; -1 for none."""
    shape = query.y[:, 0].shape
    width = max((sums.nearest.shape[1] for sums in found if sums is not None), default=1)
    ids = torch.full((shape.numel(), width), NO_PATCH, device=query.y.device)
    for region, sums in zip(sampled_regions(query.geometry), found, strict=True):
        if sums is not None:
            ids[region.places(query).flatten()] = sums.nearest
    return ids.reshape(*shape, width)


def _scan_pairs(query: Query, region: Region, draws: PairDraws) -> PosteriorRecord:
    """The sums of each group for the region's pixels; fields are [g, q]."""
    y = region.seen_of(query.y)
    sums = exact_scan(region.seen_of(query.pixels), y, query.sigma, region.geometry, draws.groups)
    return sums.map(lambda field: region.own(field, leading=2).flatten(1, 3))


def _scan_all(query: Query, region: Region) -> PosteriorRecord:
    """The sums over all patches for the region's pixels [q]."""
    pixels, y = region.seen_of(query.admitted_pixels), region.seen_of(query.y)
    sums = exact_scan(pixels, y, query.sigma, region.geometry, precision=query.precision)
    return sums.map(lambda field: region.own(field).flatten(0, 2))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RegionPlan:
    """How a region is estimated.

    Attributes:
        num_patches: that each pixel meets in the tail.
        draws: of the tail; None where there is none.
        summed: whether all patches are summed.
        rng: for a pilot.
    """

    region: Region
    searching: Searching
    num_patches: int
    draws: PairDraws | None
    summed: bool
    rng: np.random.Generator
