"""How an estimate is made, region by region: what of it depends on the noise, and not on states.

Draws of the tail take tens of milliseconds where there are 200,000 images. They are the same for
all states of a call, and a plan is kept for those that are worked on later.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from patchindex import PatchGeometry
from patchindex.kernels import GroupSets
from sampler.estimator.head import Searching, one_in_four
from sampler.estimator.regions import Region
from sampler.estimator.tail import PairDraws, num_met


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RegionPlan:
    """How a region is estimated.

    Attributes:
        num_patches: that each pixel meets in the tail.
        draws: of the tail; None where there is none.
        summed: whether all patches are summed.
        rng: for a pilot, which draws by a copy of it.
    """

    region: Region
    num_patches: int
    draws: PairDraws | None
    summed: bool
    rng: np.random.Generator


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kin:
    """Regions with as many pixels and draws: all is computed for them together.

    Attributes:
        numbers: of the regions in the plan.
        pixels: of each region, row after row.
        num_met: patches that each of them meets in the tail.
    """

    numbers: tuple[int, ...]
    regions: tuple[RegionPlan, ...]
    pixels: Int[Tensor, "regions m"]
    num_met: Int[Tensor, "regions m"]

    def places(self, shape: torch.Size) -> Int[Tensor, " q"]:
        """Positions in the flattened states [b, h, w] of its pixels, region after region."""
        per_state = shape[1] * shape[2]
        states = torch.arange(0, shape.numel(), per_state, device=self.pixels.device)
        return (self.pixels[:, None] + states[:, None]).flatten()

    def num_scored(self, num_states: int) -> Int[Tensor, " q"]:
        """Patches that each of these pixels of so many states meets in the tail."""
        return self.num_met[:, None].expand(-1, num_states, -1).flatten()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """How all regions are estimated.

    Attributes:
        kin: the regions, those that are alike together.
        searching: how heads are found.
        drawn_share: the share of its dictionary that a pixel meets in the tail; infinite for
            pixels of which all patches are summed, 0 where there is no tail.
    """

    kin: tuple[Kin, ...]
    searching: Searching
    drawn_share: Float[Tensor, "h w"]

    @property
    def drawn(self) -> bool:
        """Whether any region has a tail."""
        return any(kin.regions[0].draws is not None for kin in self.kin)

    @property
    def searched(self) -> bool:
        """Whether any region may need a head."""
        return any(not kin.regions[0].summed for kin in self.kin)

    @classmethod
    def of(
        cls,
        regions: Sequence[RegionPlan],
        ways: Sequence[tuple[bool, tuple[int, int]]],
        geometry: PatchGeometry,
        num_images: int,
        device: torch.device,
        *,
        k: int,
        nprobe: int,
        long_lists: bool,
    ) -> "Plan":
        """The plan of these regions, on a device.

        Args:
            ways: of each region, whether pixels take from those right and below, and which of them
                are searched again.
            num_images: that the label admits.
        """
        maps = torch.full((3, geometry.height, geometry.width), torch.inf, dtype=torch.float64)
        for plan, (forward, phase) in zip(regions, ways, strict=True):
            region = plan.region
            share = plan.num_patches / (num_images * region.num_centers) if plan.draws else 0.0
            region.own_of(maps[:1])[...] = torch.inf if plan.summed else share
            region.own_of(maps[1:2])[...] = forward
            for number in region.signatures:
                signature = geometry.signatures[number]
                again = one_in_four(signature, phase).double()
                region.cut(region.own_of(maps[2:]), signature)[...] = again
        drawn_share, forward_at, again_at = maps.to(device)
        met = [num_met(plan.region, plan.draws) if plan.draws else None for plan in regions]
        sets, placed = _with_sets(regions, len(geometry.signatures), device)
        return cls(
            kin=tuple(_kin(placed, met, geometry, device)),
            searching=Searching(
                k=k, nprobe=nprobe, forward=forward_at == 1, again=again_at == 1, groups=sets,
                long_lists=long_lists,
            ),
            drawn_share=drawn_share,
        )  # fmt: skip


def _with_sets(
    regions: Sequence[RegionPlan], num_signatures: int, device: torch.device
) -> tuple[GroupSets | None, list[RegionPlan]]:
    """The draws of all regions, on a device, and the regions with their parts of these."""
    draws = [plan.draws for plan in regions if plan.draws is not None]
    if not draws:
        return None, list(regions)
    set_of, placed, number = [-1] * num_signatures, [], 0
    sets = GroupSets.of([each.groups for each in draws], [-1] * num_signatures).to(device)
    for plan in regions:
        if plan.draws is None:
            placed.append(plan)
            continue
        for signature in plan.region.signatures:
            set_of[signature] = number
        own = replace(plan.draws, groups=sets[number])
        placed.append(replace(plan, draws=own))
        number += 1
    return replace(sets, set_of=torch.tensor(set_of).to(device)), placed


def _kin(
    regions: Sequence[RegionPlan],
    met: Sequence[Int[ndarray, " _"] | None],
    geometry: PatchGeometry,
    device: torch.device,
) -> Iterator[Kin]:
    """The regions in the order of the first of each kind."""
    kinds: dict[tuple[int | float, ...], list[int]] = {}
    for number, plan in enumerate(regions):
        # a processor gains nothing by it, and would add in another order
        kind = (number,) if device.type == "cpu" else _kind_of(plan, number)
        kinds.setdefault(kind, []).append(number)
    every = torch.arange(geometry.height * geometry.width)
    every = every.reshape(1, geometry.height, geometry.width)
    for numbers in kinds.values():
        own = tuple(regions[number] for number in numbers)
        pixels = torch.stack([plan.region.own_of(every).flatten() for plan in own])
        counts = [met[number] for number in numbers]
        met_here = torch.zeros_like(pixels)
        for row, count in zip(met_here, counts, strict=True):
            if count is not None:
                row.copy_(torch.from_numpy(count))
        both = torch.stack([pixels, met_here]).to(device)
        yield Kin(numbers=tuple(numbers), regions=own, pixels=both[0], num_met=both[1])


def _kind_of(plan: RegionPlan, number: int) -> tuple[int | float, ...]:
    """The same for regions that are alike: drawn, with as many pixels, groups and images."""
    if plan.draws is None:
        return (number,)
    region, images = plan.region, plan.draws.groups.images
    num_pixels = len(region.pixel_rows) * len(region.pixel_cols)
    return (num_pixels, *images.shape, plan.draws.inverse_probability)
