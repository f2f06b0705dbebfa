"""The head of an estimate: patches found for each pixel, each summed by its exact distance.

What was found for a pixel, moved by the same step as from that pixel to its neighbor, is a
candidate for the neighbor: three neighbors make up for three quarters of the lists that a search
would have to visit to find as much. And what was near at one noise level is near at the next: a
head is carried along the trajectory, and from step to step its pixels learn from one another. A
poor candidate costs time and no bias.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from patchindex import BorderSignature, PatchGeometry
from patchindex.kernels import (
    NeighborAxis,
    PairGroups,
    PatchSums,
    propagate_neighbors,
    sum_patches,
)
from sampler.estimator.query import Query, cut
from sampler.estimator.regions import Region

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
        forward: take candidates from the pixels right and below, not left and above.
        phase: which pixels are searched again, of those of which something is known.
        known: what was found for the states before.
        groups: of pairs, that found patches may be in.
        long_lists: search those, too, for which a tail can stand: where there is no tail.
    """

    k: int
    nprobe: int
    forward: bool = True
    phase: tuple[int, int] = (0, 0)
    known: Head | None = None
    groups: PairGroups | None = None
    long_lists: bool = False


def sum_head(
    query: Query, region: Region, wanted: Bool[Tensor, "b rows cols"], searching: Searching
) -> PatchSums:
    """Find patches for the wanted pixels of a region, and sum them.

    Returns:
        Sums of all pixels of the region, empty for those that are not wanted; members by their
        position among the region's pixels; and the nearest k patches, -1 where there are fewer.
    """
    sums = PatchSums.none(wanted.numel(), query.y.shape[1], searching.k, query.y.device)
    positions = torch.arange(wanted.numel(), device=query.y.device).reshape(wanted.shape)
    for number in region.signatures:
        signature = query.geometry.signatures[number]
        pixels = region.cut(wanted, signature)
        if pixels.any():
            at = region.cut(positions, signature)[pixels]
            sums = sums.replaced(at, _sum_found(query, number, pixels, searching))
    return sums


def _sum_found(
    query: Query, number: int, pixels: Bool[Tensor, "b rows cols"], searching: Searching
) -> PatchSums:
    """Find patches for some pixels of one border signature, and sum them; more where few decide."""
    field = _search(query, number, pixels, searching)
    sums = _sum(query, number, pixels, field, searching)
    few_left = sums.record.sum_w**2 / sums.record.sum_w2 < FEW_LEFT
    if not few_left.any():
        return sums
    again = pixels.clone()
    again[pixels] = few_left
    found = _search_again(query, number, again, searching, MORE_PROBES)
    field = torch.full((*pixels.shape, sums.nearest.shape[1]), NO_PATCH, device=pixels.device)
    field[pixels] = sums.nearest  # fewer than k where fewer were met
    field = torch.cat([field, found], dim=-1)
    other_way = replace(searching, forward=not searching.forward)
    return sums.replaced(few_left.nonzero()[:, 0], _sum(query, number, again, field, other_way))


def _search(
    query: Query, number: int, pixels: Bool[Tensor, "b rows cols"], searching: Searching
) -> Int[Tensor, "b rows cols m"]:
    """Patches that are known or found for some pixels of one border signature; -1 for none."""
    if searching.known is None:
        return _search_again(query, number, pixels, searching, MORE_PROBES)
    signature = query.geometry.signatures[number]
    ids, effective, mass = (
        cut(field, signature)
        for field in (
            searching.known.ids,
            searching.known.effective_sample_size,
            searching.known.mass,
        )
    )
    unknown = (ids == NO_PATCH).all(-1) | ((effective < HEAD_HOLDS) & (mass < LEAST_MASS))
    further = pixels & unknown
    again = pixels & ~unknown & ((effective < FEW_DECIDE) | _one_in_four(pixels, searching.phase))
    found = _search_again(query, number, further, searching, MORE_PROBES)
    return torch.cat([ids, found.maximum(_search_again(query, number, again, searching))], dim=-1)


def _search_again(
    query: Query,
    number: int,
    pixels: Bool[Tensor, "b rows cols"],
    searching: Searching,
    times: int = 1,
) -> Int[Tensor, "b rows cols k"]:
    """Patches found in so many times the lists for some pixels; -1 elsewhere."""
    field = torch.full((*pixels.shape, searching.k), NO_PATCH, device=pixels.device)
    if pixels.any():
        found = search_pixels(
            query,
            number,
            pixels,
            k=searching.k,
            nprobe=times * searching.nprobe,
            long_lists=searching.long_lists,
        )
        field[pixels] = pad(found, (0, searching.k - found.shape[1]), value=NO_PATCH)
    return field


def _sum(
    query: Query,
    number: int,
    pixels: Bool[Tensor, "b rows cols"],
    field: Int[Tensor, "b rows cols m"],
    searching: Searching,
) -> PatchSums:
    """The sums of what the field has for some pixels, or for those beside them."""
    signature = query.geometry.signatures[number]
    ids = with_neighbors(field, pixels, signature, query.geometry, forward=searching.forward)
    return sum_patches(
        query.pixels,
        query.windows(number)[pixels],
        ids,
        query.geometry,
        signature,
        sigma=query.sigma,
        groups=searching.groups,
        query_pixels=query.places(number)[pixels] % query.num_pixels,
        num_nearest=searching.k,
    )


def _one_in_four(
    pixels: Bool[Tensor, "b rows cols"], phase: tuple[int, int]
) -> Bool[Tensor, "rows cols"]:
    """One of every four neighboring pixels, which are searched for all of them."""
    _, num_rows, num_cols = pixels.shape
    rows = torch.arange(num_rows, device=pixels.device)[:, None]
    cols = torch.arange(num_cols, device=pixels.device)
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
    field: Int[Tensor, "b rows cols k"],
    wanted: Bool[Tensor, "b rows cols"],
    signature: BorderSignature,
    geometry: PatchGeometry,
    *,
    forward: bool = True,
) -> Int[Tensor, "q m"]:
    """Ids found for each wanted pixel of a signature, or for one beside it, below or across.

    Args:
        field: ids found for each pixel; -1 for none.
        forward: take from the pixels right and below, not left and above.

    Returns:
        Legal ids, each once and ascending; -1 behind the last.
    """
    rows, cols = signature.rows, signature.cols
    return propagate_neighbors(
        field,
        wanted.nonzero(),
        NeighborAxis.beside(len(rows.pixels), rows.centers, field.device, forward=forward),
        NeighborAxis.beside(len(cols.pixels), cols.centers, field.device, forward=forward),
        height=geometry.height,
        width=geometry.width,
    )
