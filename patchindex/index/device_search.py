"""A search that stays where its queries are: project, rank lists and scan codes on one device."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchindex.environment import faiss_obstacle
from patchindex.index.device_scan import DeviceListScan
from patchindex.index.faiss_gpu import lists_on_gpu, within_limits
from patchindex.index.search import ScaleArrays, ScanKind, ScanSource
from patchindex.kernels.torch_search import nearest_rows

CACHED_SCALES = 64  # each takes as much as some images


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScaleTensors:
    """The small arrays of a scale on a device, see `ScaleArrays`."""

    pca: Float[Tensor, "r d"]
    pca_bias: Float[Tensor, " r"]
    centroids: Float[Tensor, "nlist lead"]
    count: Int[Tensor, " nlist"]

    @classmethod
    def on(cls, arrays: ScaleArrays, device: torch.device) -> "ScaleTensors":
        """They on the device; what projects is float64 there."""
        return cls(
            pca=torch.from_numpy(np.array(arrays.pca, np.float64)).to(device),
            pca_bias=torch.from_numpy(np.array(arrays.pca_bias, np.float64)).to(device),
            centroids=torch.from_numpy(np.array(arrays.centroids)).to(device),
            count=torch.from_numpy(np.array(arrays.count)).to(device),
        )

    def project(self, windows: Float[Tensor, "q d"]) -> Float[Tensor, "q r"]:
        """The vectors that lists and codes see, in float64, rounded to float32."""
        return (windows.float().double() @ self.pca.T + self.pca_bias).float()

    def rank_lists(
        self, vectors: Float[Tensor, "q r"], lists: range, nprobe: int
    ) -> Int[Tensor, "q nprobe"]:
        """Those of these lists with the nearest centroids, nearest first; all if fewer."""
        centroids = self.centroids[lists.start : lists.stop]
        lead = vectors[:, : centroids.shape[1]]
        return nearest_rows(centroids, lead, min(nprobe, len(lists))) + lists.start


class DeviceSearch:
    """Searches an index for queries on a device; this is where FAISS or Triton is chosen."""

    def __init__(self, source: ScanSource, scan: ScanKind | None) -> None:
        self._source, self._kind = source, scan
        self._list_scan = DeviceListScan(source)
        self._tensors = lru_cache(CACHED_SCALES)(self._load_tensors)

    def search(
        self,
        patch_size: int,
        signature: int,
        windows: Float[Tensor, "q d"],
        k: int,
        *,
        nprobe: int,
        label: int | None,
        longest_list: int | None,
    ) -> Int[Tensor, "q k"]:
        """See `PatchIndex.search`."""
        scale = self._tensors(patch_size, windows.device)
        own_lists = self._source.scales[patch_size].lists_of(signature)
        vectors = scale.project(windows.detach())
        lists = scale.rank_lists(vectors, own_lists, nprobe)
        if longest_list is not None and len(own_lists) > 1:
            lists = lists.where(scale.count[lists] <= longest_list, -1)
        return self._nearest(patch_size, vectors, lists, k, label)

    def _nearest(
        self,
        patch_size: int,
        vectors: Float[Tensor, "q r"],
        lists: Int[Tensor, "q nprobe"],
        k: int,
        label: int | None,
    ) -> Int[Tensor, "q k"]:
        """By FAISS where it can and may, else by the list scan; see `CodeScan`."""
        device = vectors.device
        may = self._kind != "lists" and len(vectors) and within_limits(k, lists.shape[1], label)
        if may and faiss_obstacle(device) is None:
            gpu_lists = lists_on_gpu(self._source, patch_size, device)
            if gpu_lists is not None:
                return gpu_lists.nearest(vectors, lists, k)
        return self._list_scan.nearest(patch_size, vectors, lists, k, label)

    def _load_tensors(self, patch_size: int, device: torch.device) -> ScaleTensors:
        return ScaleTensors.on(self._source.scales[patch_size], device)
