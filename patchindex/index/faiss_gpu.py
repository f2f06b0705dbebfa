"""FAISS on a GPU: what it can search, its index of a scale, its search on torch's tensors.

Everything that is asked of FAISS's GPU classes is in this file. Their search takes no filter by
label, and selects at most MOST_SELECTED lists or neighbors.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import faiss
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchindex.device_memory import memory_of
from patchindex.errors import KernelInputError
from patchindex.index.faiss_scan import FAISS_ID_BYTES, ScaleSearcher
from patchindex.index.search import ScanSource

MOST_SELECTED = 2048  # GPU_MAX_SELECTION_K of FAISS


def within_limits(k: int, nprobe: int, label: int | None) -> bool:
    """Whether FAISS's GPU index can search so."""
    return label is None and max(k, nprobe) <= MOST_SELECTED


@dataclass(frozen=True, slots=True, eq=False)
class GpuLists:
    """The lists of a scale in a FAISS index on a GPU."""

    index: Any
    resources: Any
    device: torch.device

    def nearest(
        self, vectors: Float[Tensor, "q r"], lists: Int[Tensor, "q nprobe"], k: int
    ) -> Int[Tensor, "q k"]:
        """Ids of the k nearest codes in each query's lists, -1 where there are fewer."""
        q, nprobe = lists.shape
        if vectors.shape != (q, self.index.d) or k < 1:
            raise KernelInputError(
                f"vectors are {tuple(vectors.shape)} and k is {k}. Give {q} of {self.index.d}, as "
                f"there are {q} rows of lists, and a k of at least 1."
            )
        # FAISS takes addresses, and knows neither types nor devices
        vectors = vectors.to(self.device, torch.float32).contiguous()
        lists = lists.to(self.device, torch.int64).contiguous()
        coarse = torch.zeros(q, nprobe, device=self.device)  # unused: codes are not residuals
        dist_sq = torch.empty(q, k, device=self.device)
        found = torch.empty(q, k, dtype=torch.int64, device=self.device)
        stream = torch.cuda.current_stream(self.device).cuda_stream
        self.resources.setDefaultStream(
            self.device.index or 0, faiss.cast_integer_to_cudastream_t(stream)
        )
        self.index.nprobe = nprobe
        self.index.search_preassigned_c(
            q, faiss.cast_integer_to_float_ptr(vectors.data_ptr()), k,
            faiss.cast_integer_to_idx_t_ptr(lists.data_ptr()),
            faiss.cast_integer_to_float_ptr(coarse.data_ptr()),
            faiss.cast_integer_to_float_ptr(dist_sq.data_ptr()),
            faiss.cast_integer_to_idx_t_ptr(found.data_ptr()), False,
        )  # fmt: skip
        return found


def lists_on_gpu(source: ScanSource, patch_size: int, device: torch.device) -> GpuLists | None:
    """A scale's index on the device, which stays there; None if it is over the budget."""
    arrays = source.scales[patch_size]
    num_bytes = arrays.codes.nbytes + FAISS_ID_BYTES * len(arrays.ids)

    def load() -> GpuLists:
        searcher = ScaleSearcher(arrays)
        searcher.fill(np.arange(len(arrays.count))[None])
        torch.cuda.empty_cache()  # FAISS allocates by itself, and cannot have what torch keeps
        index, resources = index_on_gpu(searcher.index, device)
        return GpuLists(index, resources, device)

    return memory_of(device).keep((arrays, "faiss"), num_bytes, load)


def index_on_gpu(index: faiss.Index, device: torch.device) -> tuple[Any, Any]:
    """A copy of the index on the device, and the FAISS resources that it computes with."""
    resources = shared_resources()
    return faiss.index_cpu_to_gpu(resources, device.index or 0, index), resources


@cache
def shared_resources() -> Any:
    """What all FAISS indices compute with: one workspace takes up to 1.5 GiB of a GPU."""
    return faiss.StandardGpuResources()
