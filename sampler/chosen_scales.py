"""Which patch size a run compares at which noise level: as asked for, or by default.

By default the scales of the index are placed where the published ones of the dataset are nearest,
or evenly where none are published. Without an index the published ones of the dataset serve, or
the scales that an index has by default, evenly placed.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from patchindex import Boundary, ImageSet, IndexConfig, PatchIndex, UserError
from patchindex.geometry import check_patch_size, nearest_scale
from sampler.machines import ScoreMachine
from sampler.scales import known_scales, published_for, resolve_scales

logger = logging.getLogger(__name__)

LEVELS = 20  # noise levels of a list that is spread here, as many as the published ones have


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenScales:
    """Patch sizes from the lowest noise level to the highest, evenly spaced in t.

    Attributes:
        name: the name, file or list that was asked for; else what placed the sizes.
        asked: the patch sizes of that; by default those that are compared.
        patch_sizes: what the machine compares in their place; None where that is whole images.
    """

    name: str
    asked: tuple[int, ...]
    patch_sizes: tuple[int | None, ...]

    def account(self) -> dict[str, Any]:
        """As JSON has it; `--scales` with the patch sizes as a list repeats the choice."""
        whole = None in self.patch_sizes
        return {
            "name": self.name,
            "asked": list(self.asked),
            "patch_sizes": None if whole else list(self.patch_sizes),
        }


def choose_scales(
    machine: ScoreMachine,
    source: ImageSet | PatchIndex,
    asked: str | None,
    *,
    boundary: Boundary,
    own: str | None = None,
) -> ChosenScales:
    """The scales of a run, as text asks for them, or by default; says which in the latter case.

    Args:
        machine: says what it compares where it lacks a patch size.
        asked: a name, a file or a list.
        boundary: of the machine.
        own: name of the scales that suit better than those published for the dataset.

    Raises:
        SamplerConfigError: no such scales, or the machine refuses some.
        GeometryError: a patch size that the images do not admit.
    """
    if machine.compares_whole_images:
        sizes = () if asked is None else resolve_scales(asked)
        return ChosenScales(name=asked or "whole images", asked=sizes, patch_sizes=(None,))
    if asked is not None:
        sizes = resolve_scales(asked)
        return ChosenScales(name=asked, asked=sizes, patch_sizes=machine.compared_sizes(sizes))
    name, sizes = default_scales(source, boundary, own)
    logger.info("scales: %s: %s", name, placement(sizes))
    return ChosenScales(name=name, asked=sizes, patch_sizes=machine.compared_sizes(sizes))


def default_scales(
    source: ImageSet | PatchIndex, boundary: Boundary, own: str | None = None
) -> tuple[str, tuple[int, ...]]:
    """What a run compares that asks for no scales, and what places it, in words."""
    images = source if isinstance(source, ImageSet) else source.images
    name = own or published_for(images.name, boundary)
    if isinstance(source, PatchIndex):
        if name is None:
            return "the index's own, spread evenly over t", spread(source.scales)
        sizes = tuple(nearest_scale(source.scales, scale) for scale in known_scales()[name])
        return f"the index's own, placed where those of {name} are nearest", sizes
    if name is not None and are_admitted(known_scales()[name], images, boundary):
        return name, known_scales()[name]
    defaults = IndexConfig().scales
    admitted = [scale for scale in defaults if are_admitted([scale], images, boundary)]
    # a window of one pixel fits into any image
    return "the default ones of an index, spread evenly over t", spread(admitted or [1])


def spread(scales: Sequence[int]) -> tuple[int, ...]:
    """A list that gives each of these scales an equal share of the times, the smallest first."""
    levels = max(LEVELS, len(scales))
    return tuple(sorted(scales)[level * len(scales) // levels] for level in range(levels))


def are_admitted(scales: Sequence[int], images: ImageSet, boundary: Boundary) -> bool:
    """Whether the images have windows of all these sizes."""
    try:
        for scale in scales:
            check_patch_size(scale, images.height, images.width, boundary)
    except UserError:
        return False
    return True


def placement(scales: Sequence[int]) -> str:
    """Up to which time each scale serves, as words."""
    parts, done = [], 0
    for scale, group in groupby(scales):
        done += len(list(group))
        parts.append(f"{scale} to t = {done / len(scales):.2f}")
    return ", ".join(parts)
