"""Parts of an index: runs of its shards, which different machines of a cluster can hold."""

from dataclasses import replace

import torch

from patchindex import ImageSet, PatchIndex
from sampler.estimator.head import NO_PATCH, Head
from sampler.estimator.query import Query

# of a worker's memory: the rest is for training images and for the work itself
LARGEST_SHARE = 0.5


def parts_for(index: ImageSet | PatchIndex) -> int:
    """Into how many parts an index is divided, so that each fits into every worker's memory.

    One, where the crew does not tell of its memory: then the system reads what is needed.
    """
    memory = index.crew.memory
    if memory is None or not isinstance(index, PatchIndex):
        return 1
    largest = max(index.arrays(size).num_bytes for size in index.scales)
    return max(1, min(most_parts(index), -(-largest // max(1, int(LARGEST_SHARE * memory)))))


def most_parts(index: PatchIndex) -> int:
    """Into how many an index can be divided: none is without a shard of any scale."""
    return min(len(index.arrays(size).shards) for size in index.scales)


def of_part(query: Query, known: Head | None, part: int, parts: int) -> tuple[Query, Head | None]:
    """The query of one part of the index, and what is known there."""
    index, patch_size = query.index, query.geometry.patch_size
    assert isinstance(index, PatchIndex)  # noqa: S101 - nothing else has parts
    of_index = index.part(part, parts)
    if known is not None:
        first, last = (of_index.arrays(patch_size).shards[at].first_id for at in (0, -1))
        behind = [s.first_id for s in index.arrays(patch_size).shards if s.first_id > last]
        inside = known.ids >= first
        if behind:
            inside &= known.ids < min(behind)
        # what there is goes first, as far as a part keeps patches at all
        own = torch.where(inside, known.ids, NO_PATCH).sort(dim=-1, descending=True).values
        most = int(inside.sum(-1).max()) if inside.numel() else 0
        known = replace(known, ids=own[..., : max(1, most)])
    return replace(query, index=of_index), known
