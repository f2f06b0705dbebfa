"""Searching one scale: rank the signature's lists, then let FAISS scan the codes of the best."""

from dataclasses import dataclass, field

import faiss
import numpy as np
from jaxtyping import Bool, Float, Int, Integer, UInt8
from numpy import ndarray

FAISS_ID_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScaleArrays:
    """One scale of an index as it lies on disk; the large arrays are memory maps."""

    signature_lists: Int[ndarray, " signatures_plus_1"]
    pca: Float[ndarray, "r d"]
    pca_bias: Float[ndarray, " r"]
    centroids: Float[ndarray, "nlist lead"]
    code_min: Float[ndarray, " r"]
    code_span: Float[ndarray, " r"]
    offsets: Int[ndarray, " nlist_plus_1"]
    ids: Integer[ndarray, " p"]
    codes: UInt8[ndarray, "p r"]
    count: Int[ndarray, " nlist"]
    mean_patch: Float[ndarray, "nlist d"]
    mean_radius_sq: Float[ndarray, " nlist"]

    def lists_of(self, signature: int) -> range:
        """Inverted lists of a border signature."""
        first, end = self.signature_lists[signature : signature + 2]
        return range(int(first), int(end))

    def project(self, windows: Float[ndarray, "q d"]) -> Float[ndarray, "q r"]:
        """The vectors that lists and codes see, in float64, rounded to float32 values."""
        wide = windows.astype(np.float64) @ self.pca.T.astype(np.float64) + self.pca_bias
        vectors: Float[ndarray, "q r"] = wide.astype(np.float32)
        return vectors

    def rank_lists(
        self, windows: Float[ndarray, "q d"], signature: int, nprobe: int
    ) -> Int[ndarray, "q nprobe"]:
        """The lists of the signature with the nearest centroids, nearest first; all if fewer."""
        lists = self.lists_of(signature)
        centroids = self.centroids[lists.start : lists.stop].astype(np.float64)
        vectors = self.project(windows)[:, : centroids.shape[1]].astype(np.float64)
        # float64, so that no batch size or number of threads can tip a near tie
        dist_sq = np.square(centroids).sum(axis=1) - 2 * vectors @ centroids.T
        return nearest_first(dist_sq, min(nprobe, len(lists))) + lists.start


def nearest_first(dist_sq: Float[ndarray, "q m"], count: int) -> Int[ndarray, "q count"]:
    """Positions of the smallest values, ascending."""
    if count < dist_sq.shape[1]:
        chosen = np.argpartition(dist_sq, count - 1, axis=1)[:, :count]
    else:
        chosen = np.broadcast_to(np.arange(count), dist_sq.shape)
    order = np.argsort(np.take_along_axis(dist_sq, chosen, axis=1), axis=1, kind="stable")
    return np.take_along_axis(chosen, order, axis=1)


@dataclass(slots=True, eq=False)
class ScaleSearcher:
    """A FAISS index whose lists are read from the maps when they are first visited."""

    arrays: ScaleArrays
    index: faiss.IndexIVFScalarQuantizer
    filled: Bool[ndarray, " nlist"] = field(init=False)

    def __post_init__(self) -> None:
        self.filled = np.zeros(len(self.arrays.count), dtype=np.bool_)

    def search(
        self,
        windows: Float[ndarray, "q d"],
        lists: Int[ndarray, "q nprobe"],
        k: int,
        selector: faiss.IDSelector | None,
    ) -> Int[ndarray, "q k"]:
        """Ids of the k best patches by code in these lists, -1 where there are fewer.

        Args:
            lists: -1 for none.
        """
        self.fill(lists)
        vectors = self.arrays.project(windows)
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
