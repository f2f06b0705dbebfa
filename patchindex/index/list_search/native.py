"""List search in C++: a list is read once, where it lies on disk, for all queries of a call."""

from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchindex.index.scale import IndexLists, ScaleArrays
from patchindex.kernels.native_backend import CodeLists, CodeShard, search_lists

CACHED_LABELS = 16


class NativeListSearch:
    """Searches the memory maps with the C++ kernels; keeps nothing in memory."""

    def __init__(self, index: IndexLists) -> None:
        self._index = index
        self._image_mask = lru_cache(CACHED_LABELS)(index.has_label)

    def nearest(
        self,
        patch_size: int,
        vectors: Float[Tensor, "q r"],
        lists: Int[Tensor, "q nprobe"],
        k: int,
        label: int | None,
    ) -> Int[Tensor, "q k"]:
        """See `ListSearch`."""
        arrays, images = self._index.scales[patch_size], self._index.images
        arrays.check(lists.numpy())
        found = search_lists(
            code_lists(arrays),
            vectors.numpy(),
            lists.numpy(),
            k,
            image_mask=None if label is None else self._image_mask(label),
            patches_per_image=images.height * images.width,
        )
        return torch.from_numpy(found)


def code_lists(arrays: ScaleArrays) -> CodeLists:
    """The lists of a scale as the kernels take them."""
    return CodeLists(
        shards=[
            CodeShard(
                codes=shard.codes, ids=shard.ids, offsets=shard.offsets, first_id=shard.first_id
            )
            for shard in arrays.shards
        ],
        offsets=arrays.offsets,
        code_min=arrays.code_min,
        code_span=arrays.code_span,
    )
