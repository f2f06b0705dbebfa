"""The query-major scan: FAISS goes through the lists of one query after another."""

from dataclasses import dataclass, field
from functools import lru_cache

import faiss
import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from patchindex.index.search import ScaleArrays, ScanSource

FAISS_ID_BYTES = 8
CACHE_BYTES = 4 * 2**30
CACHED_LABELS = 16


class FaissScan:
    """Copies the lists it visits into FAISS; those of scales not used for longest go first."""

    def __init__(self, source: ScanSource) -> None:
        self._source = source
        self._searchers: dict[int, ScaleSearcher] = {}
        self._members = lru_cache(CACHED_LABELS)(self._select_label)

    def nearest(
        self,
        patch_size: int,
        vectors: Float[ndarray, "q r"],
        lists: Int[ndarray, "q nprobe"],
        k: int,
        label: int | None,
    ) -> Int[ndarray, "q k"]:
        """See `CodeScan`."""
        selector = None if label is None else self._members(label)
        return self._searcher(patch_size).search(vectors, lists, k, selector)

    def _searcher(self, patch_size: int) -> "ScaleSearcher":
        """The scale's FAISS index, kept while memory lasts."""
        searcher = self._searchers.pop(patch_size, None)
        if searcher is None:
            searcher = ScaleSearcher(self._source.scales[patch_size])
        others = sum(other.cached_bytes for other in self._searchers.values())
        while self._searchers and others + searcher.full_bytes > CACHE_BYTES:
            oldest = next(iter(self._searchers))
            others -= self._searchers.pop(oldest).cached_bytes
        self._searchers[patch_size] = searcher
        return searcher

    def _select_label(self, label: int) -> faiss.IDSelector:
        """FAISS's filter for the patches of a class: one bit per patch id."""
        images = self._source.images
        per_patch = np.repeat(self._source.has_label(label), images.height * images.width)
        return faiss.IDSelectorBitmap(np.packbits(per_patch, bitorder="little"))


@dataclass(slots=True, eq=False)
class ScaleSearcher:
    """A FAISS index whose lists are read from the maps when they are first visited."""

    arrays: ScaleArrays
    index: faiss.IndexIVFScalarQuantizer = field(init=False)
    filled: Bool[ndarray, " nlist"] = field(init=False)

    def __post_init__(self) -> None:
        self.index = self.arrays.trained().empty_index()
        self.filled = np.zeros(len(self.arrays.count), dtype=np.bool_)

    def search(
        self,
        vectors: Float[ndarray, "q r"],
        lists: Int[ndarray, "q nprobe"],
        k: int,
        selector: faiss.IDSelector | None,
    ) -> Int[ndarray, "q k"]:
        """See `CodeScan`."""
        self.fill(lists)
        q, nprobe = lists.shape
        coarse = np.zeros((q, nprobe), dtype=np.float32)  # unused: codes are not residuals
        dist_sq, found = np.empty((q, k), dtype=np.float32), np.empty((q, k), dtype=np.int64)
        self.index.nprobe = nprobe
        params = faiss.SearchParametersIVF(nprobe=nprobe, sel=selector)
        self.index.search_preassigned_c(
            q, faiss.swig_ptr(vectors), k, faiss.swig_ptr(np.ascontiguousarray(lists)),
            faiss.swig_ptr(coarse), faiss.swig_ptr(dist_sq), faiss.swig_ptr(found), False, params,
        )  # fmt: skip
        return found

    def fill(self, lists: Int[ndarray, "q nprobe"]) -> None:
        """Copy the lists that are not there yet from the maps into FAISS."""
        self.arrays.check(lists)
        wanted = np.unique(lists[lists >= 0])
        for number in wanted[~self.filled[wanted]]:
            first, end = self.arrays.offsets[number : number + 2]
            if end > first:
                ids = self.arrays.ids[first:end].astype(np.int64)
                codes = np.ascontiguousarray(self.arrays.codes[first:end])
                self.index.invlists.add_entries(
                    int(number), int(end - first), faiss.swig_ptr(ids), faiss.swig_ptr(codes)
                )
                self.index.ntotal += int(end - first)
            self.filled[number] = True

    @property
    def cached_bytes(self) -> int:
        """Memory that the lists in FAISS take."""
        return int(self.index.ntotal) * (int(self.arrays.codes.shape[1]) + FAISS_ID_BYTES)

    @property
    def full_bytes(self) -> int:
        """Memory that they take once every list was visited."""
        return len(self.arrays.ids) * (int(self.arrays.codes.shape[1]) + FAISS_ID_BYTES)
