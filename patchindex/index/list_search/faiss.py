"""List search by FAISS: query by query on the processor, and on a GPU.

Everything that is asked of FAISS's GPU classes is in this file. Their search takes no filter by
label, selects at most MOST_SELECTED lists or neighbors, and is asked for MOST_QUERIES at once.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

import faiss
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor

from patchindex.environment import main_memory
from patchindex.errors import KernelInputError, StoreError
from patchindex.index.scale import IndexLists, ListShard, ScaleArrays

FAISS_ID_BYTES = 8
CACHE_BYTES = 4 * 2**30
CACHED_LABELS = 16


class FaissListSearch:
    """Copies the lists it visits into FAISS; those of scales not used for longest go first."""

    def __init__(self, index: IndexLists) -> None:
        self._index = index
        self._searchers: dict[int, ScaleSearcher] = {}
        self._selector = lru_cache(CACHED_LABELS)(self._select_label)

    def nearest(
        self,
        patch_size: int,
        vectors: Float[Tensor, "q r"],
        lists: Int[Tensor, "q nprobe"],
        k: int,
        label: int | None,
    ) -> Int[Tensor, "q k"]:
        """See `ListSearch`."""
        selector = None if label is None else self._selector(label)
        searcher = self._searcher(patch_size)
        return torch.from_numpy(searcher.search(vectors.numpy(), lists.numpy(), k, selector))

    def _searcher(self, patch_size: int) -> "ScaleSearcher":
        """The scale's FAISS index, kept while memory lasts."""
        searcher = self._searchers.pop(patch_size, None)
        if searcher is None:
            searcher = ScaleSearcher(self._index.scales[patch_size])
        others = sum(other.cached_bytes for other in self._searchers.values())
        while self._searchers and others + searcher.full_bytes > CACHE_BYTES:
            oldest = next(iter(self._searchers))
            others -= self._searchers.pop(oldest).cached_bytes
        self._searchers[patch_size] = searcher
        return searcher

    def _select_label(self, label: int) -> faiss.IDSelector:
        """FAISS's filter for the patches of a class: one bit per patch id."""
        images = self._index.images
        per_patch = np.repeat(self._index.has_label(label), images.height * images.width)
        return faiss.IDSelectorBitmap(np.packbits(per_patch, bitorder="little"))


@dataclass(slots=True, eq=False)
class ScaleSearcher:
    """A FAISS index whose lists are read from the maps when they are first visited."""

    arrays: ScaleArrays
    index: faiss.IndexIVFScalarQuantizer = field(init=False)
    filled: Bool[ndarray, " nlist"] = field(init=False)

    def __post_init__(self) -> None:
        self.index = self.arrays.trained().empty_index()
        self.filled = np.zeros(self.index.nlist, dtype=np.bool_)
        check_lists_fit(self.arrays, self.index)

    def search(
        self,
        vectors: Float[ndarray, "q r"],
        lists: Int[ndarray, "q nprobe"],
        k: int,
        selector: faiss.IDSelector | None,
    ) -> Int[ndarray, "q k"]:
        """Ids of the k nearest codes in each query's lists, -1 where there are fewer."""
        check_queries(self.index, vectors, lists, k)
        self.fill(lists)
        q, nprobe = lists.shape
        if not lists.size:  # which FAISS refuses
            return np.full((q, k), -1, dtype=np.int64)
        coarse = np.zeros((q, nprobe), dtype=np.float32)  # unused: codes are not residuals
        dist_sq, found = np.empty((q, k), dtype=np.float32), np.empty((q, k), dtype=np.int64)
        # held here until the search has ended: FAISS is given addresses
        vectors, lists = (
            np.require(array, dtype, ["C", "A"])
            for array, dtype in ((vectors, np.float32), (lists, np.int64))
        )
        self.index.nprobe = nprobe
        params = faiss.SearchParametersIVF(nprobe=nprobe, sel=selector)
        self.index.search_preassigned_c(
            q, faiss.swig_ptr(vectors), k, faiss.swig_ptr(lists), faiss.swig_ptr(coarse),
            faiss.swig_ptr(dist_sq), faiss.swig_ptr(found), False, params,
        )  # fmt: skip
        return found

    def fill(self, lists: Int[ndarray, "q nprobe"]) -> None:
        """Copy the lists that are not there yet from the maps into FAISS."""
        self.arrays.check(lists)
        wanted = np.unique(lists[lists >= 0])
        for number in wanted[~self.filled[wanted]].tolist():
            # once, so that no list grows with every shard, and has room for more than it holds
            self.index.invlists.resize(number, int(self.arrays.count[number]))
            place = 0
            for shard in self.arrays.shards:
                first, end = shard.offsets[number : number + 2].tolist()
                ids = shard.ids[first:end].astype(np.int64) + shard.first_id
                codes = np.ascontiguousarray(shard.codes[first:end])
                if end > first:
                    self.index.invlists.update_entries(
                        number, place, end - first, faiss.swig_ptr(ids), faiss.swig_ptr(codes)
                    )
                place += end - first
            self.index.ntotal += place
            self.filled[number] = True

    @property
    def cached_bytes(self) -> int:
        """Memory that the lists in FAISS take."""
        return int(self.index.ntotal) * (len(self.arrays.pca) + FAISS_ID_BYTES)

    @property
    def full_bytes(self) -> int:
        """Memory that they take once every list was visited."""
        return list_bytes(self.arrays)


def check_lists_fit(arrays: ScaleArrays, index: faiss.IndexIVFScalarQuantizer) -> None:
    """Refuse lists that are not inside the codes: FAISS reads what it is told to, there or not.

    Raises:
        StoreError: offsets, ids and codes do not belong together, or not to the FAISS index.
    """
    problems = (find_misfit(shard, index) for shard in arrays.shards)
    problem = next(filter(None, problems), None)
    if problem is not None:
        raise StoreError(f"the index is damaged: {problem}. Build it again with --overwrite.")


def find_misfit(shard: ListShard, index: faiss.IndexIVFScalarQuantizer) -> str | None:
    """What of a shard does not belong together, or not to the FAISS index."""
    offsets, (num_codes, width) = np.asarray(shard.offsets), shard.codes.shape
    if shard.codes.dtype != np.uint8 or width != index.code_size:
        return f"codes are {shard.codes.dtype} of {width}, but FAISS reads {index.code_size}"
    if shard.ids.dtype.kind not in "iu" or len(shard.ids) != num_codes:
        return f"there are {len(shard.ids)} ids as {shard.ids.dtype} for {num_codes} codes"
    if len(offsets) != index.nlist + 1:
        return f"there are {len(offsets)} offsets for {index.nlist} lists and their end"
    if offsets.dtype.kind not in "iu" or offsets[0] < 0 or (offsets[1:] < offsets[:-1]).any():
        return "offsets do not ascend from 0"
    if offsets[-1] > num_codes:
        return f"lists end at {offsets[-1]}, behind the last of {num_codes} codes"
    return None


def check_queries(
    index: faiss.IndexIVFScalarQuantizer,
    vectors: Float[ndarray, "q r"],
    lists: Int[ndarray, "q nprobe"],
    k: int,
) -> None:
    """Refuse what would have FAISS read or write beyond these arrays, or search other lists.

    Raises:
        KernelInputError: shapes or numbers that are not those of the index.
    """
    q = len(lists)
    if vectors.shape != (q, index.d):
        raise KernelInputError(
            f"vectors are {vectors.shape}. Give {q} of {index.d}, as there are {q} rows of lists."
        )
    if k < 1:
        raise KernelInputError(f"k is {k}. Give at least 1.")
    if not np.isfinite(vectors).all():
        raise KernelInputError("vectors hold values that are not finite. Give finite queries.")
    beyond = lists[(lists < -1) | (lists >= index.nlist)]
    if beyond.size:
        raise KernelInputError(f"there is no list {beyond[0]}. Give -1..{index.nlist - 1}.")


MOST_SELECTED = 2048  # GPU_MAX_SELECTION_K of FAISS
# Where a list is -1, its scan of interleaved codes leaves the results of later queries unwritten.
MOST_QUERIES = 65_535
# FAISS copies lists to a GPU from an index in main memory, whose lists it reads to the last before
# it lets go of one. A scale that takes more than this share there is copied part by part.
HOST_SHARE = 1 / 4
LEAST_HOST_BYTES = 2**30


class FaissGpuListSearch:
    """Keeps the lists of whole scales on the GPU: ask it only for those that fit, and no label."""

    def __init__(self, index: IndexLists) -> None:
        self._index = index

    def nearest(
        self,
        patch_size: int,
        vectors: Float[Tensor, "q r"],
        lists: Int[Tensor, "q nprobe"],
        k: int,
        label: int | None,
    ) -> Int[Tensor, "q k"]:
        """See `ListSearch`."""
        arrays, place = self._index.scales[patch_size], vectors.device
        kept = self._index.images.device.at(place).keep(
            gpu_key(arrays), list_bytes(arrays), lambda: load_lists(arrays, place)
        )
        assert kept is not None, "the lists do not fit on the GPU"  # noqa: S101
        assert label is None, "FAISS's GPU index takes no label"  # noqa: S101
        return kept.nearest(vectors, lists, k)


@dataclass(frozen=True, slots=True, eq=False)
class GpuPart:
    """A run of a scale's lists in a FAISS index on a GPU."""

    index: Any
    lists: range


@dataclass(frozen=True, slots=True, eq=False)
class GpuLists:
    """The lists of a scale in FAISS indices on a GPU: in one, unless main memory is small."""

    parts: Sequence[GpuPart]
    resources: Any
    device: torch.device

    def nearest(
        self, vectors: Float[Tensor, "q r"], lists: Int[Tensor, "q nprobe"], k: int
    ) -> Int[Tensor, "q k"]:
        """Ids of the k nearest codes in each query's lists, -1 where there are fewer."""
        q, dims = len(lists), self.parts[0].index.d
        if vectors.shape != (q, dims) or k < 1:
            raise KernelInputError(
                f"vectors are {tuple(vectors.shape)} and k is {k}. Give {q} of {dims}, as "
                f"there are {q} rows of lists, and a k of at least 1."
            )
        # FAISS takes addresses, and knows neither types nor devices
        vectors = vectors.to(self.device, torch.float32).contiguous()
        lists = lists.to(self.device, torch.int64)
        stream = torch.cuda.current_stream(self.device).cuda_stream
        self.resources.setDefaultStream(
            self.device.index or 0, faiss.cast_integer_to_cudastream_t(stream)
        )
        found = torch.full((q, k), -1, device=self.device)
        for start in range(0, q, MOST_QUERIES):
            rows = slice(start, start + MOST_QUERIES)
            found[rows] = self._nearest_of(vectors[rows], lists[rows], k)
        return found

    def _nearest_of(
        self, vectors: Float[Tensor, "q r"], lists: Int[Tensor, "q nprobe"], k: int
    ) -> Int[Tensor, "q k"]:
        """The nearest of no more queries than FAISS takes; of equal ones those of earlier parts."""
        dist_sq, found = zip(
            *(_nearest_in_part(part, vectors, lists, k) for part in self.parts), strict=True
        )
        nearest: Tensor = torch.cat(found, dim=1)
        if len(found) == 1:
            return nearest
        order = torch.cat(dist_sq, dim=1).sort(dim=1, stable=True).indices[:, :k]
        return nearest.gather(1, order)


def _nearest_in_part(
    part: GpuPart, vectors: Float[Tensor, "q r"], lists: Int[Tensor, "q nprobe"], k: int
) -> tuple[Float[Tensor, "q k"], Int[Tensor, "q k"]]:
    """Squared distances to the k nearest codes in these lists of a part, and their ids."""
    q, nprobe = lists.shape
    first, end = part.lists.start, part.lists.stop
    own = lists.masked_fill((lists < first) | (lists >= end), -1).contiguous()
    coarse = torch.zeros(q, nprobe, device=lists.device)  # unused: codes are not residuals
    dist_sq = torch.empty(q, k, device=lists.device)
    found = torch.empty(q, k, dtype=torch.int64, device=lists.device)
    part.index.nprobe = nprobe
    part.index.search_preassigned_c(
        q, faiss.cast_integer_to_float_ptr(vectors.data_ptr()), k,
        faiss.cast_integer_to_idx_t_ptr(own.data_ptr()),
        faiss.cast_integer_to_float_ptr(coarse.data_ptr()),
        faiss.cast_integer_to_float_ptr(dist_sq.data_ptr()),
        faiss.cast_integer_to_idx_t_ptr(found.data_ptr()), False,
    )  # fmt: skip
    return dist_sq, found


def gpu_key(arrays: ScaleArrays) -> Hashable:
    """Under which `Device.keep` has a scale's lists as FAISS's."""
    return arrays, "faiss"


def list_bytes(arrays: ScaleArrays) -> int:
    """What all lists of a scale take in FAISS."""
    return int(arrays.offsets[-1]) * (len(arrays.pca) + FAISS_ID_BYTES)


def load_lists(arrays: ScaleArrays, place: torch.device) -> GpuLists:
    """All lists of a scale on a GPU, of which no more than HOST_SHARE is in main memory at once."""
    torch.cuda.empty_cache()  # FAISS allocates by itself, and cannot have what torch keeps
    parts = []
    for lists in host_parts(arrays, host_bytes()):
        searcher = ScaleSearcher(arrays)  # of all lists: FAISS visits no more than it has
        searcher.fill(np.asarray(lists)[None])
        parts.append(GpuPart(index_on_gpu(searcher.index, place)[0], lists))
    return GpuLists(parts, shared_resources(), place)


def host_bytes() -> int:
    """Bytes of main memory for lists on their way to a GPU."""
    return max(LEAST_HOST_BYTES, int(HOST_SHARE * (main_memory() or 0)))


def host_parts(arrays: ScaleArrays, most_bytes: int) -> list[range]:
    """Runs of lists that take no more than so many bytes in FAISS, or are a single list."""
    bytes_each = arrays.count * (len(arrays.pca) + FAISS_ID_BYTES)
    starts, taken = [0], 0
    for number, num_bytes in enumerate(bytes_each.tolist()):
        if taken and taken + num_bytes > most_bytes:
            starts.append(number)
            taken = 0
        taken += num_bytes
    return [range(*ends) for ends in pairwise([*starts, len(bytes_each)])]


def index_on_gpu(index: faiss.Index, device: torch.device) -> tuple[Any, Any]:
    """A copy of the index on the device, and the FAISS resources that it computes with."""
    resources = shared_resources()
    return faiss.index_cpu_to_gpu(resources, device.index or 0, index), resources


@cache
def shared_resources() -> Any:
    """What all FAISS indices compute with: one workspace takes up to 1.5 GiB of a GPU."""
    return faiss.StandardGpuResources()
