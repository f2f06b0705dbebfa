"""Queries of several border signatures in one call, for kernels that take one signature each."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from patchindex.errors import KernelInputError
from patchindex.geometry import PatchGeometry
from patchindex.kernels.groups import GroupSets, PairGroups, PatchSums


def each_signature(
    numbers: Int[Tensor, " q"], num_queries: int, num_signatures: int
) -> Iterator[tuple[int, Int[Tensor, " m"]]]:
    """Every signature that occurs, and which queries have it.

    Raises:
        KernelInputError: numbers of signatures that are not there, or not one for each query.
    """
    if len(numbers) != num_queries:
        raise KernelInputError(
            f"there are {num_queries} windows and signatures for {len(numbers)}. Give one for each."
        )
    order = numbers.argsort(stable=True)
    found, counts = numbers.unique(return_counts=True)
    if len(found) and not (int(found[0]) >= 0 and int(found[-1]) < num_signatures):
        raise KernelInputError(
            f"signatures are {int(found[0])}..{int(found[-1])}. Give positions in the geometry's "
            f"list: 0..{num_signatures - 1}."
        )
    yield from zip(found.tolist(), order.split(counts.tolist()), strict=True)


def distances_by_signature(  # noqa: PLR0917 - those of `patch_distances` behind what computes
    distances: Callable[..., Float[Tensor, "q k"]],
    pixels: UInt8[Tensor, "n c h w"],
    windows: Float[Tensor, "q c s s"],
    ids: Int[Tensor, "q k"],
    geometry: PatchGeometry,
    numbers: Int[Tensor, " q"],
) -> Float[Tensor, "q k"]:
    """What `patch_distances` of one signature gives, signature after signature."""
    dist_sq = torch.full(ids.shape, torch.inf)
    for number, at in each_signature(numbers, len(windows), len(geometry.signatures)):
        own = shortened(ids[at])
        dist_sq[at, : own.shape[1]] = distances(
            pixels, windows[at], own, geometry, geometry.signatures[number]
        )
    return dist_sq


def sums_by_signature(  # noqa: PLR0917 - those of `sum_patches` behind what computes
    sums: Callable[..., PatchSums],
    pixels: UInt8[Tensor, "n c h w"],
    windows: Float[Tensor, "q c s s"],
    ids: Int[Tensor, "q k"],
    geometry: PatchGeometry,
    numbers: Int[Tensor, " q"],
    *,
    groups: PairGroups | GroupSets | None,
    query_pixels: Int[Tensor, " q"] | None,
    num_nearest: int,
    **options: Any,
) -> PatchSums:
    """What `sum_patches` of one signature gives, signature after signature."""
    places, parts = [], []
    for number, at in each_signature(numbers, len(windows), len(geometry.signatures)):
        of_signature = groups.of_signature(number) if isinstance(groups, GroupSets) else groups
        part = sums(
            pixels, windows[at], shortened(ids[at]), geometry, geometry.signatures[number],
            groups=of_signature, query_pixels=None if query_pixels is None else query_pixels[at],
            num_nearest=num_nearest, **options,
        )  # fmt: skip
        places.append(at)
        parts.append(part)
    if not parts:
        return PatchSums.none(0, pixels.shape[1], min(num_nearest, ids.shape[1]))
    return PatchSums.of_queries(places, parts, min(num_nearest, ids.shape[1]))


def shortened(ids: Int[Tensor, "q k"]) -> Int[Tensor, "q m"]:
    """Without the last columns in which no query has a patch."""
    used = (ids >= 0).any(0).nonzero()
    return ids[:, : int(used[-1]) + 1 if len(used) else 0]
