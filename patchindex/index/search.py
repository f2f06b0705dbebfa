"""One scale of an index as arrays: what the search reads, and how it ranks lists."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Integer, UInt8
from numpy import ndarray

from patchindex.images import ImageSet
from patchindex.index.list_checks import ListChecks
from patchindex.index.trained import TrainedScale
from patchindex.kernels import nearest_rows

ScanKind = Literal["lists", "faiss"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScaleArrays:
    """One scale of an index, whose large arrays, ids and codes, are memory maps.

    Attributes:
        checks: what to call before lists are read; None if they need no check.
    """

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
    checks: ListChecks | None = None

    def lists_of(self, signature: int) -> range:
        """Inverted lists of a border signature."""
        first, end = self.signature_lists[signature : signature + 2]
        return range(int(first), int(end))

    def check(self, lists: Int[ndarray, "*shape"]) -> None:
        """Raise StoreError if one of these lists, -1 for none, is damaged; call before a scan."""
        if self.checks is not None:
            self.checks.check(lists)

    def trained(self) -> TrainedScale:
        """What was learned."""
        names = (field.name for field in fields(TrainedScale))
        return TrainedScale(**{name: getattr(self, name) for name in names})

    def project(self, windows: Float[ndarray, "q d"]) -> Float[ndarray, "q r"]:
        """The vectors that lists and codes see, in float64, rounded to float32 values."""
        wide = windows.astype(np.float64) @ self.pca.T.astype(np.float64) + self.pca_bias
        vectors: Float[ndarray, "q r"] = wide.astype(np.float32)
        return vectors

    def rank_lists(
        self, vectors: Float[ndarray, "q r"], signature: int, nprobe: int
    ) -> Int[ndarray, "q nprobe"]:
        """The lists of the signature with the nearest centroids, nearest first; all if fewer.

        Args:
            vectors: projected windows.
        """
        lists = self.lists_of(signature)
        centroids = np.array(self.centroids[lists.start : lists.stop])
        lead = np.ascontiguousarray(vectors[:, : centroids.shape[1]])
        nearest = nearest_rows(
            torch.from_numpy(centroids), torch.from_numpy(lead), min(nprobe, len(lists))
        )
        ranked: Int[ndarray, "q nprobe"] = nearest.numpy() + lists.start
        return ranked


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScanSource:
    """What a scan of codes reads of an index.

    Attributes:
        scales: by patch size.
    """

    images: ImageSet
    scales: Mapping[int, ScaleArrays]

    def has_label(self, label: int) -> Bool[ndarray, " n"]:
        """Which images are of this class."""
        chosen = np.zeros(len(self.images), dtype=np.bool_)
        chosen[self.images.label_indices(label)] = True
        return chosen


@runtime_checkable
class CodeScan(Protocol):
    """A way to compare queries with every code of given lists."""

    def nearest(
        self,
        patch_size: int,
        vectors: Float[ndarray, "q r"],
        lists: Int[ndarray, "q nprobe"],
        k: int,
        label: int | None,
    ) -> Int[ndarray, "q k"]:
        """Ids of the k nearest codes in each query's lists, -1 where there are fewer.

        Args:
            vectors: projected windows.
            lists: -1 for none.
            label: only patches of images of this class.
        """
        ...
