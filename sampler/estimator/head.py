"""The head of an estimate: patches found for each pixel, each summed by its exact distance.

What was found for a pixel, moved by the same step as from that pixel to its neighbor, is a
candidate for the neighbor: three neighbors make up for three quarters of the lists that a search
would have to visit to find as much. And what was near at one noise level is near at the next: a
head is carried along the trajectory, and from step to step its pixels learn from one another. A
poor candidate costs time and no bias.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from patchindex import BorderSignature, PatchGeometry
from patchindex.kernels import (
    GroupSets,
    NeighborAxis,
    PatchSums,
    propagate_neighbors,
    sum_patches,
)
from sampler.estimator.query import CACHED_GEOMETRIES, AskedPixels, Query

NO_PATCH = -1
# Where fewer patches than this decide at one noise level, one that was missed may be all at the
# next, and no draw will meet it: every pixel is searched again.
FEW_DECIDE = 300
# A head holds this much of a pixel where fewer patches than that share its mass, or it is poor.
HEAD_HOLDS, LEAST_MASS = 1000, 0.5
FEW_LEFT = 10  # of fewer than these, more lists are searched at once
MORE_PROBES = 4  # times the lists, for a pixel of which nothing is known


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Head:
    """What is known of the pixels of some states, for the next states of the same trajectories.

    Attributes:
        patch_size: of the patches.
        ids: the nearest patches that were found for each pixel; -1 for none.
        effective_sample_size: of each pixel's dictionary.
        mass: the share of the pixel's mass that these and other found patches had.
    """

    patch_size: int
    ids: Int[Tensor, "b h w k"]
    effective_sample_size: Float[Tensor, "b h w"]
    mass: Float[Tensor, "b h w"]

    @classmethod
    def joined(cls, parts: Sequence["Head"]) -> "Head":
        """Those of several batches of states as one; of the same patch size."""
        names = [field.name for field in fields(cls) if field.name != "patch_size"]
        joined = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
        return cls(patch_size=parts[0].patch_size, **joined)

    def __getitem__(self, states: slice) -> "Head":
        return Head(
            patch_size=self.patch_size,
            ids=self.ids[states],
            effective_sample_size=self.effective_sample_size[states],
            mass=self.mass[states],
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FoundPatches:
    """The patches that were found for pixels of one border signature.

    Attributes:
        signature: its position in `PatchGeometry.signatures`.
        pixels: for which of its pixels, in each state.
        ids: distinct patches of each of these pixels, in their order; -1 for none.
    """

    signature: int
    pixels: Bool[Tensor, "b rows cols"]
    ids: Int[Tensor, "q k"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Searching:
    """How patches are found.

    Attributes:
        k: patches found for a pixel, and kept of all that it met.
        nprobe: lists visited for pixels of which something is known; four times as many otherwise.
        forward: pixels that take candidates from those right and below, not left and above.
        again: pixels that are searched again, of those of which something is known.
        known: what was found for the states before.
        groups: of pairs, that found patches may be in.
        long_lists: search those, too, for which a tail can stand: where there is no tail.
    """

    k: int
    nprobe: int
    forward: Bool[Tensor, "h w"]
    again: Bool[Tensor, "h w"]
    known: Head | None = None
    groups: GroupSets | None = None
    long_lists: bool = False


def sum_head(query: Query, wanted: Bool[Tensor, "b h w"], searching: Searching) -> PatchSums:
    """Find patches for the wanted pixels, and sum them; more where few decide.

    Returns:
        Sums of all pixels of the states, empty for those that are not wanted; members by their
        position in the flattened states, and behind it for patches that were summed again; and
        the nearest k patches, -1 where there are fewer.
    """
    num, channels = wanted.numel(), query.y.shape[1]
    none = PatchSums.none(num, channels, searching.k, query.y.device)
    at = wanted.flatten().nonzero()[:, 0]
    if not len(at):
        return none
    asked = query.at(at)
    sums = none.with_queries(at, _sum(query, asked, _search(query, asked, searching), searching))
    effective = sums.record.sum_w**2 / sums.record.sum_w2
    again = (effective[at] < FEW_LEFT).nonzero()[:, 0]
    if not len(again):
        return sums
    asked = asked[again]
    found = _search_again(query, asked, searching, MORE_PROBES * searching.nprobe)
    field = torch.cat([sums.nearest, found], dim=-1)
    other_way = replace(searching, forward=~searching.forward)
    return sums.with_queries(asked.places, _sum(query, asked, field, other_way))


def _search(query: Query, asked: AskedPixels, searching: Searching) -> Int[Tensor, "pixels m"]:
    """Patches that are known of all pixels, and found for those that are asked; -1 for none."""
    known, most = searching.known, MORE_PROBES * searching.nprobe
    if known is None:
        return _search_again(query, asked, searching, most)
    unknown = (known.ids == NO_PATCH).all(-1)
    unknown |= (known.effective_sample_size < HEAD_HOLDS) & (known.mass < LEAST_MASS)
    again = (known.effective_sample_size < FEW_DECIDE) | searching.again
    probes = (unknown * most).maximum(again * searching.nprobe).flatten()[asked.places]
    which = probes.nonzero()[:, 0]
    found = _search_again(query, asked[which], searching, most, probes[which])
    return torch.cat([known.ids.flatten(0, 2), found], dim=-1)


def _search_again(
    query: Query,
    asked: AskedPixels,
    searching: Searching,
    nprobe: int,
    probes: Int[Tensor, " q"] | None = None,
) -> Int[Tensor, "pixels k"]:
    """Patches found in so many lists, or fewer, for the asked pixels; -1 elsewhere."""
    num = query.y[:, 0].numel()
    field = torch.full((num, searching.k), NO_PATCH, device=query.y.device)
    if not len(asked.places):
        return field
    found = query.search_at(
        asked, k=searching.k, nprobe=nprobe, probes=probes, long_lists=searching.long_lists
    )
    room = searching.k - found.shape[1]
    found = pad(found, (0, room), value=NO_PATCH) if room else found
    return field.index_copy_(0, asked.places, found)


def _sum(
    query: Query, asked: AskedPixels, field: Int[Tensor, "pixels m"], searching: Searching
) -> PatchSums:
    """The sums of what the field has for the asked pixels, or for those beside them."""
    geometry = query.geometry
    ids = with_neighbors(
        field.unflatten(0, query.y[:, 0].shape), asked.places, geometry, forward=searching.forward
    )
    return sum_patches(
        query.pixels,
        asked.windows,
        ids,
        geometry,
        asked.signatures,
        sigma=query.sigma,
        groups=searching.groups,
        query_pixels=asked.pixels,
        num_nearest=searching.k,
    )


def one_in_four(signature: BorderSignature, phase: tuple[int, int]) -> Bool[Tensor, "rows cols"]:
    """One of every four neighboring pixels, which are searched for all of them."""
    num_rows, num_cols = len(signature.rows.pixels), len(signature.cols.pixels)
    rows, cols = torch.arange(num_rows)[:, None], torch.arange(num_cols)
    if min(num_rows, num_cols) == 1:
        return (rows + cols + 2 * phase[0] + phase[1]) % 4 == 0
    return ((rows + phase[0]) % 2 == 0) & ((cols + phase[1]) % 2 == 0)


def search_pixels(
    query: Query,
    number: int,
    pixels: Bool[Tensor, "b rows cols"],
    *,
    k: int,
    nprobe: int,
    long_lists: bool = False,
) -> Int[Tensor, "q k"]:
    """Ids of patches found for some pixels of one border signature; -1 where there are fewer.

    Args:
        long_lists: search those, too, for which a tail can stand.
    """
    windows = query.windows(number)[pixels]
    return query.search(number, windows, k=k, nprobe=nprobe, long_lists=long_lists)


def with_neighbors(
    field: Int[Tensor, "b h w k"],
    at: Int[Tensor, " q"],
    geometry: PatchGeometry,
    *,
    forward: Bool[Tensor, "h w"],
) -> Int[Tensor, "q m"]:
    """Ids found for each wanted pixel, or for one beside it, below or across, of its signature.

    Args:
        field: ids found for each pixel; -1 for none.
        at: positions of the wanted pixels in the flattened states.
        forward: pixels that take from those right and below, not left and above.

    Returns:
        Legal ids, each once and ascending; -1 behind the last.
    """
    height, width = geometry.height, geometry.width
    rows, cols = _both_ways(geometry, field.device)
    state, pixel = at // (height * width), at % (height * width)
    place = _places_of_ways(height, width, field.device)[forward.flatten().long()[pixel], pixel]
    return propagate_neighbors(
        field, torch.cat([state[:, None], place], dim=1), rows, cols, height=height, width=width
    )


@lru_cache(maxsize=CACHED_GEOMETRIES)
def _places_of_ways(height: int, width: int, device: torch.device) -> Int[Tensor, "2 hw 2"]:
    """Places of the pixels of an image in `_both_ways`, as they look back, and forward."""
    cells = torch.cartesian_prod(torch.arange(height), torch.arange(width))
    return torch.stack([cells + torch.tensor([height, width]), cells]).to(device)


@lru_cache(maxsize=CACHED_GEOMETRIES)
def _both_ways(geometry: PatchGeometry, device: torch.device) -> tuple[NeighborAxis, NeighborAxis]:
    """Rows and columns, each first of pixels that look forward, then of those that look back."""
    axes = (
        list(dict.fromkeys(signature.rows for signature in geometry.signatures)),
        list(dict.fromkeys(signature.cols for signature in geometry.signatures)),
    )
    rows, cols = (
        NeighborAxis.beside(axis, device).followed_by(
            NeighborAxis.beside(axis, device, forward=False)
        )
        for axis in axes
    )
    return rows, cols
