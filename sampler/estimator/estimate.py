"""The retrieval estimator: a head of near patches, summed exactly, and a sampled tail.

What retrieval missed can still be drawn in the tail, so low recall costs variance and never bias.
A pixel within P // 2 of two borders has one legal patch per image, and these are always all summed.
"""

import logging
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from patchindex import PosteriorRecord
from patchindex.choices import DEFAULT_NPROBE
from patchindex.device import PendingWork
from patchindex.geometry import nearest_scale
from patchindex.kernels import PatchSums
from patchindex.records import RecordRows
from sampler.choices import DEFAULT_K, DEFAULT_TAIL
from sampler.errors import SamplerConfigError
from sampler.estimator.head import NO_PATCH, Head, sum_head
from sampler.estimator.parts import of_part
from sampler.estimator.plan import Plan, RegionPlan
from sampler.estimator.query import NeighborSearch, Query, index_geometry
from sampler.estimator.regions import Region, corner_record, sampled_regions
from sampler.estimator.rest import Tails, put_rest, scan_drawn, scan_tails
from sampler.estimator.settings import check_index, check_numbers
from sampler.estimator.tail import (
    MOST_GROUPS,
    PairDraws,
    draw_pairs,
    effective_size,
)

# with more effective draws than this the tail alone is precise enough, and no search is made
ENOUGH_DRAWS = 10_000
PATCHES_PER_TAIL = 64  # that a pixel meets for each unit of `tail`
SCANNED_IN_THE_TIME = 3  # times the patches drawn: what an exact scan sums while one is estimated
EDGE_DIVISOR = 8  # at an edge patches are more alike, and each takes five times as long
LARGEST_DRAWN_SHARE = 2  # where half of a dictionary would be drawn, all of it is summed
FEWEST_IMAGES = 3  # fewer may all be in one group, which has no spread: they are summed, too
PILOT_DIVISOR, PILOT_GROUPS = 8, 2  # the pilot has an eighth of the tail's patches
KEPT_PLANS = 2  # of one noise level: with little effort, and with more
MORE_EFFORT = 4  # times the probes and draws, where a first estimate is not within tolerance

logger = logging.getLogger(__name__)


# the pixels that need a head, and what was found for them; None if there are none
Wanted = Bool[Tensor, "b h w"]
Found = PatchSums | None


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
    _plans: dict[Any, Plan] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        """Without the plans, which are on a device."""
        return self.__dict__ | {"_plans": {}}

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
        plan = self.plan(query, effort)
        wanted = self.wanted(query, plan, known)
        # queued before anything that the search must wait for
        totals = PendingWork(lambda: scan_tails(query, plan), query.y.device)
        found = [self.find(query, plan, wanted, known, part=part) for part in range(self.parts)]
        return self.finish(query, plan, found, totals)

    def plan(self, query: Query, effort: int = 0) -> Plan:
        """How each region is estimated: always the same for the same noise."""
        key = (*self._entropy(query, effort), query.geometry, query.y.device)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._make_plan(query, effort)
            while len(self._plans) >= KEPT_PLANS:
                self._plans.pop(next(iter(self._plans)), None)
            self._plans[key] = plan
        return plan

    def wanted(self, query: Query, plan: Plan, known: Head | None) -> Wanted:
        """Which pixels need a head: the first of three parts of an estimate."""
        shape, geometry = query.y[:, 0].shape, query.geometry
        if not self.tail:
            return (plan.drawn_share == 0).expand(shape)
        if not plan.drawn:
            return torch.zeros(shape, dtype=torch.bool, device=query.y.device)
        if known is not None and known.patch_size == geometry.patch_size:
            return known.effective_sample_size * plan.drawn_share < ENOUGH_DRAWS
        return self._piloted(query, plan) < ENOUGH_DRAWS

    def find(
        self,
        query: Query,
        plan: Plan,
        wanted: Wanted,
        known: Head | None,
        *,
        part: int = 0,
    ) -> Found:
        """What is found for the wanted pixels in a part of the index, and its sums.

        Args:
            known: of which only what is in this part is used.
        """
        if not plan.searched:
            return None
        if self.parts > 1:
            query, known = of_part(query, known, part, self.parts)
        searching = replace(plan.searching, known=known if self.tail else None)
        return sum_head(query, wanted, searching)

    def finish(
        self,
        query: Query,
        plan: Plan,
        found: Sequence[Found],
        totals: PendingWork[Tails] | None = None,
    ) -> Estimate:
        """The estimate, from what was found in all parts of the index.

        Args:
            totals: sums of the tail's draws, if they were begun before.
        """
        shape, device = query.y[:, 0].shape, query.y.device
        head = PatchSums.merged([part for part in found if part is not None])
        tails = scan_tails(query, plan) if totals is None else totals.result()
        rows = RecordRows.room(shape.numel(), query.y.shape[1], device)
        variance = put_rest(rows, query, plan.kin, head, tails)
        rows.put(*corner_record(query))
        record = rows.record.map(lambda sums: sums.unflatten(0, shape))
        ids = [nearest_of(query, part) for part in found]
        known = Head(
            patch_size=query.geometry.patch_size,
            ids=torch.cat(ids, dim=-1) if len(ids) > 1 else ids[0],
            effective_sample_size=record.sum_w**2 / record.sum_w2,
            mass=record.sum_head / record.sum_w,
        )
        deviation = variance.sqrt() / query.y[0].numel()
        return Estimate(record=record, head=known, mse_deviation=deviation)

    def _make_plan(self, query: Query, effort: int) -> Plan:
        """The plan, for which the tail is drawn."""
        regions, ways = [], []
        num_images = len(query.label_indices)
        for number, region in enumerate(sampled_regions(query.geometry)):
            rng = np.random.default_rng([*self._entropy(query, effort), number])
            ways.append((bool(rng.integers(2)), (int(rng.integers(2)), int(rng.integers(2)))))
            num_patches = self._num_patches(region, effort)
            summed = self.tail > 0 and (
                num_images < FEWEST_IMAGES
                or num_patches * LARGEST_DRAWN_SHARE >= num_images * region.num_centers
            )
            draws = None
            if self.tail and not summed:
                draws = self._draw(query, region, num_patches, rng)
            regions.append(
                RegionPlan(
                    region=region, num_patches=num_patches, draws=draws, summed=summed, rng=rng
                )
            )
        return Plan.of(
            regions, ways, query.geometry, num_images, query.y.device,
            k=-(-self.k // self.parts), nprobe=self.nprobe * MORE_EFFORT**effort,
            long_lists=not self.tail,
        )  # fmt: skip

    def _piloted(self, query: Query, plan: Plan) -> Float[Tensor, "b h w"]:
        """About how many effective draws the tail will have in each pixel, by a few other draws.

        A choice by the tail's own draws would bias it.
        """
        shape, places, sizes = query.y[:, 0].shape, [], []
        for kin in plan.kin:
            first, drawn = kin.regions[0], []
            if first.draws is None:
                continue
            few = max(1, first.num_patches // PILOT_DIVISOR)
            for each in kin.regions:
                rng = deepcopy(each.rng)
                pilot = self._draw(query, each.region, few, rng, most_groups=PILOT_GROUPS)
                drawn.append((each.region, pilot.to(query.y.device)))
            sums = scan_drawn(query, drawn)
            assert sums is not None  # noqa: S101 - each region has draws
            sizes.append(effective_size(sums) * (first.num_patches / few))
            places.append(kin.places(shape))
        field = torch.full((shape.numel(),), torch.inf, dtype=torch.float64, device=query.y.device)
        return field.index_copy_(0, torch.cat(places), torch.cat(sizes)).reshape(shape)

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
        return draw_pairs(
            region,
            query.label_indices,
            self.index.images.brightness,
            num_patches,
            rng,
            most_groups=most_groups,
        )

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
    shape, device = query.y[:, 0].shape, query.y.device
    if found is None:
        return torch.full((*shape, 1), NO_PATCH, device=device)
    nearest: Int[Tensor, "b h w m"] = found.nearest.unflatten(0, shape)
    return nearest
