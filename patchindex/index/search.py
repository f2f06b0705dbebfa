"""The search of an index: rank inverted lists of patch codes, and choose who searches them."""

from functools import cache, lru_cache
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchindex.choices import ListSearchKind
from patchindex.errors import KernelError
from patchindex.index.list_search import faiss
from patchindex.index.scale import IndexLists, ScaleArrays
from patchindex.kernels.backend import BACKEND, on_device
from patchindex.kernels.by_signature import each_signature
from patchindex.loaded import faiss_obstacle

ListSearchName = Literal["native", "faiss", "triton", "faiss_gpu"]
# what `auto` takes on a GPU where FAISS can do what is asked: to be the faster one, once both were
# measured there (`python -m benchmarks.device`)
FIRST_ON_GPU: ListSearchName = "faiss_gpu"
CACHED_SCALES = 64  # some MB each, mostly centroids


@runtime_checkable
class ListSearch(Protocol):
    """A way to compare queries with every code of given inverted lists, where the queries lie."""

    def nearest(
        self,
        patch_size: int,
        vectors: Float[Tensor, "q r"],
        lists: Int[Tensor, "q nprobe"],
        k: int,
        label: int | None,
    ) -> Int[Tensor, "q k"]:
        """Ids of the k nearest codes in each query's lists, -1 where there are fewer.

        Args:
            vectors: projected windows.
            lists: -1 for none.
            label: only patches of images of this class.
        """
        ...


def choose_list_search(
    kind: ListSearchKind,
    queries: Tensor,
    *,
    k: int,
    nprobe: int,
    label: int | None,
    fits: bool,
) -> ListSearchName:
    """FAISS or our kernels, by what was asked for, the queries' device, and FAISS's limits.

    `triton` asks for our own kernels, `faiss` for FAISS. On the processor `auto` and `triton` take
    `native`, and `faiss` takes `faiss`; where the C++ kernels were not built, `auto` takes `faiss`,
    too. On a GPU `triton` takes `triton`, and `faiss` takes `faiss_gpu` where it can do what is
    asked, else `triton`; `auto` takes FIRST_ON_GPU in the same way.

    FAISS's GPU index takes no label and no k or nprobe over 2048, and must have all lists of the
    scale in the GPU's memory. `native` and `triton` read a list once for all queries, `faiss` goes
    through the lists query by query.

    Args:
        kind: what was asked for, see `PatchIndex.open`.
        nprobe: lists visited per query.
        fits: whether FAISS's copy of the lists has room on the GPU.
    """
    if not on_device(queries):
        by_kernels = kind == "triton" or (kind == "auto" and BACKEND == "native")
        return "native" if by_kernels else "faiss"
    if kind == "triton" or (kind == "auto" and FIRST_ON_GPU == "triton"):
        return "triton"
    within_limits = label is None and max(k, nprobe) <= faiss.MOST_SELECTED and len(queries) > 0
    faiss_can = within_limits and fits and faiss_obstacle(queries.device) is None
    return "faiss_gpu" if faiss_can else "triton"


class IndexSearch:
    """The search of an index for queries on any device.

    Args:
        index: its images and lists.
        kind: who searches the lists, see `choose_list_search`.
    """

    def __init__(self, index: IndexLists, kind: ListSearchKind) -> None:
        self._index, self._kind = index, kind
        self._list_search = cache(self._make_list_search)
        self._tensors = lru_cache(CACHED_SCALES)(self._load_tensors)

    def search(
        self,
        patch_size: int,
        signature: int | Int[Tensor, " q"],
        windows: Float[Tensor, "q d"],
        k: int,
        *,
        nprobe: int,
        label: int | None,
        longest_list: int | Int[Tensor, " signatures"] | None,
        skip: int,
        probes: Int[Tensor, " q"] | None = None,
    ) -> Int[Tensor, "q k"]:
        """See `PatchIndex.search`."""
        arrays = self._index.scales[patch_size]
        on_gpu = on_device(windows)
        if on_gpu:
            scale = self._tensors(patch_size, windows.device)
            vectors = scale.project(windows.detach())
            lists = scale.visited(
                vectors, signature,
                nprobe=nprobe, skip=skip, longest_list=longest_list, probes=probes,
            )  # fmt: skip
        elif isinstance(signature, Tensor):
            if probes is None:
                probes = torch.full_like(signature, nprobe)
            return self._search_each(
                patch_size, signature, probes, windows, k,
                label=label, longest_list=longest_list, skip=skip,
            )  # fmt: skip
        else:
            projected = arrays.project(windows.detach().float().numpy())
            vectors = torch.from_numpy(projected)
            ranked = arrays.rank_lists(projected, signature, skip + nprobe)
            lists = torch.from_numpy(ranked)[:, skip:]
            if longest_list is not None and len(arrays.lists_of(signature)) > 1:
                longest: int | Tensor = longest_list
                if isinstance(longest_list, Tensor):
                    longest = longest_list[signature]
                lists = lists.where(torch.as_tensor(arrays.count[lists]) <= longest, -1)
        name = choose_list_search(
            self._kind, vectors, k=k, nprobe=lists.shape[1], label=label,
            fits=on_gpu and self._fits(arrays, windows.device),
        )  # fmt: skip
        return self._list_search(name).nearest(patch_size, vectors, lists, k, label)

    def _search_each(
        self,
        patch_size: int,
        signatures: Int[Tensor, " q"],
        probes: Int[Tensor, " q"],
        windows: Float[Tensor, "q d"],
        k: int,
        **settings: Any,
    ) -> Int[Tensor, "q k"]:
        """One signature after another: no list is visited for two of them."""
        found = torch.full((len(windows), k), -1)
        num_signatures = len(self._index.scales[patch_size].signature_lists) - 1
        for number, at in each_signature(signatures, len(windows), num_signatures):
            for nprobe in probes[at].unique().tolist():
                own = at[probes[at] == nprobe]
                found[own] = self.search(
                    patch_size, number, windows[own], k, nprobe=nprobe, **settings
                )
        return found

    def _fits(self, arrays: ScaleArrays, place: torch.device) -> bool:
        """Whether FAISS's copy of the lists is, or can be, in this device's memory."""
        device = self._index.images.device.at(place)
        return device.has_room(faiss.gpu_key(arrays), faiss.list_bytes(arrays))

    def _make_list_search(self, name: ListSearchName) -> ListSearch:
        if name == "native":
            try:
                from patchindex.index.list_search.native import (  # noqa: PLC0415 - may not be built
                    NativeListSearch,
                )
            except ImportError as error:
                raise KernelError(
                    "list search triton was asked for, which on the processor takes the C++ "
                    "kernels, but they were not built. Install a C++ compiler and install "
                    "patchindex again, or give faiss or auto."
                ) from error
            return NativeListSearch(self._index)
        if name == "triton":
            from patchindex.index.list_search.triton import (  # noqa: PLC0415 - imports Triton
                TritonListSearch,
            )

            return TritonListSearch(self._index)
        return (faiss.FaissGpuListSearch if name == "faiss_gpu" else faiss.FaissListSearch)(
            self._index
        )

    def _load_tensors(self, patch_size: int, place: torch.device) -> Any:
        from patchindex.index.device_scale import (  # noqa: PLC0415 - imports Triton
            ScaleTensors,
        )

        return ScaleTensors.on(self._index.scales[patch_size], place)
