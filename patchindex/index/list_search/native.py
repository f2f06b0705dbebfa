"""The list-major scan: a list is read once, where it lies on disk, for all queries of a call."""

from functools import lru_cache

from jaxtyping import Float, Int
from numpy import ndarray

from patchindex.index.search import ScanSource
from patchindex.kernels.native_backend import CodeLists, search_lists

CACHED_LABELS = 16


class ListScan:
    """Searches the memory maps with the C++ kernels; keeps nothing in memory."""

    def __init__(self, source: ScanSource) -> None:
        self._source = source
        self._members = lru_cache(CACHED_LABELS)(source.has_label)

    def nearest(
        self,
        patch_size: int,
        vectors: Float[ndarray, "q r"],
        lists: Int[ndarray, "q nprobe"],
        k: int,
        label: int | None,
    ) -> Int[ndarray, "q k"]:
        """See `CodeScan`."""
        arrays, images = self._source.scales[patch_size], self._source.images
        arrays.check(lists)
        return search_lists(
            CodeLists(
                codes=arrays.codes,
                ids=arrays.ids,
                offsets=arrays.offsets,
                code_min=arrays.code_min,
                code_span=arrays.code_span,
            ),
            vectors,
            lists,
            k,
            members=None if label is None else self._members(label),
            patches_per_image=images.height * images.width,
        )
