"""The nearest codes of each query's lists, without a matrix of all distances.

Every so many-th code tells a threshold, behind which few more codes than are wanted should lie.
Those up to it are appended to a buffer, and the nearest of these are taken. Where the threshold was
no good, the buffer is too small, or less than is wanted is in it: then the query is asked again.
Whatever the thresholds were, the same codes are found.
"""

from dataclasses import dataclass, replace
from math import ceil, sqrt

import torch
from jaxtyping import Int
from torch import Tensor

from patchindex.kernels.triton_lists import (
    EVERY_CODE,
    MOST_ELEMENTS,
    NONE,
    TILE_QUERIES,
    DeviceLists,
    ListQueries,
    append_near,
    rank_some,
)

RANK_BYTES = 8
LEAST_EVERY, MOST_SAMPLED = 16, 2**13  # of a query's codes: one in so many, and how many at most
LEAST_CAPACITY = 1024
DEVIATIONS = 4  # the sample may tell too few, and the buffer be too small, by so much luck
GROWTH = 4  # of the buffer, for queries that are asked again


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """How the k nearest of at most `width` codes are selected.

    Attributes:
        every: one code in so many is sampled; 0 for none, as all fit into the buffer.
        sampled: of a query, at most.
        rank: the threshold is the so many-th of the sample.
        capacity: ranks in a query's buffer.
        memory: bytes of all buffers.
    """

    k: int
    width: int
    every: int
    sampled: int
    rank: int
    capacity: int
    memory: int

    @classmethod
    def of(cls, k: int, width: int, nprobe: int, memory: int) -> "Selection":
        """For queries that visit so many lists, and in them at most `width` codes."""
        every = max(LEAST_EVERY, 1 << (max(1, width // MOST_SAMPLED) - 1).bit_length())
        likely = k / every  # of the k nearest in the sample
        rank = ceil(likely + DEVIATIONS * sqrt(likely)) + DEVIATIONS
        most = every * ceil(rank + DEVIATIONS * sqrt(rank))
        capacity = max(LEAST_CAPACITY, 1 << (max(most, 2 * k) - 1).bit_length())
        sampled = max(rank, width // every + nprobe)  # a list that is cut has one more
        if capacity >= width:
            every, sampled, capacity = 0, 0, max(1, width)
        return cls(k=k, width=width, every=every, sampled=sampled, rank=rank, capacity=capacity,
                   memory=memory)  # fmt: skip

    def blocks(self, num_queries: int) -> list[slice]:
        """The queries in blocks whose buffers fit; at least one query in each."""
        columns = max(self.sampled, self.capacity)  # the sample goes before the buffer comes
        step = min(self.memory // (RANK_BYTES * columns), (MOST_ELEMENTS - 1) // columns)
        # whole tiles: what is read of a block's first query is aligned, as it was compiled
        step -= step % TILE_QUERIES if step > TILE_QUERIES else 0
        starts = range(0, num_queries, max(1, step))
        return [slice(start, start + starts.step) for start in starts]


def nearest_ranks(
    lists: DeviceLists, asked: ListQueries, k: int, *, width: int, memory: int
) -> Int[Tensor, "q k"]:
    """The k first ranks of the codes in each query's lists, ascending; NONE where there are fewer.

    Queries are asked in blocks: buffers take `memory` bytes and 2^31 elements at most, but for
    one query. A query's ranks do not depend on the others, nor on `memory`.

    Args:
        width: no less than the codes that any of these queries visits.
        memory: bytes.
    """
    plan = Selection.of(k, width, asked.visits.shape[1], memory)
    ranks = torch.full((len(asked), k), NONE, device=asked.visits.device)
    for rows in plan.blocks(len(asked)):
        ranks[rows] = _selected(lists, asked[rows], plan)
    return ranks


def _selected(lists: DeviceLists, asked: ListQueries, plan: Selection) -> Int[Tensor, "q k"]:
    """The k first ranks of some queries, in buffers that fit."""
    if not plan.every:
        return _smallest(rank_some(lists, asked, plan.capacity, every=1), plan.k)
    first = _smallest(rank_some(lists, asked, plan.sampled, every=plan.every), plan.rank)
    thresholds = first[:, -1].clamp(max=EVERY_CODE)
    return _up_to(lists, asked, thresholds, plan)


def _up_to(
    lists: DeviceLists, asked: ListQueries, thresholds: Int[Tensor, " q"], plan: Selection
) -> Int[Tensor, "q k"]:
    """The k first ranks, by thresholds that may be no good."""
    found, counts = append_near(lists, asked, thresholds, plan.capacity)
    nearest = _smallest(found, plan.k)
    del found  # else there would be one more buffer each time that queries are asked again
    too_many = counts > plan.capacity
    too_few = (counts < plan.k) & (thresholds < EVERY_CODE)
    again = (too_many | too_few).nonzero()[:, 0]
    # the k-th of any k codes leaves out none of the k nearest
    better = nearest[:, -1].where(too_many, EVERY_CODE)
    larger = replace(plan, sampled=0, capacity=min(GROWTH * plan.capacity, plan.width))
    for rows in larger.blocks(len(again)):
        those = again[rows]
        nearest[those] = _up_to(lists, asked[those], better[those], larger)
    return nearest


def _smallest(ranks: Int[Tensor, "q columns"], k: int) -> Int[Tensor, "q k"]:
    """The k smallest of each row, ascending, NONE behind the last; ranks are distinct."""
    first = ranks.topk(min(k, ranks.shape[1]), largest=False).values
    behind = first.new_full((len(first), k - first.shape[1]), NONE)
    return torch.cat([first, behind], dim=1)
