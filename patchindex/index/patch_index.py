"""An index opened for reading: its images, its geometry, and the search for a query's neighbors."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchindex.errors import IndexConfigError, StoreError
from patchindex.geometry import Boundary, PatchGeometry, nearest_scale
from patchindex.image_arrays import checked_labels
from patchindex.images import ImageSet
from patchindex.index.audit import verify_index
from patchindex.index.list_search.faiss import FaissScan
from patchindex.index.search import CodeScan, ScaleArrays, ScanKind, ScanSource
from patchindex.index.snapshot import IndexInfo, Snapshot, describe_index, open_snapshot
from patchindex.kernels.backend import BACKEND, on_device
from patchindex.progress import ProgressCallback, no_progress

if TYPE_CHECKING:
    from patchindex.index.list_search.triton import DeviceSearch

NPROBE = 32


class PatchIndex:
    """Every patch of an image set, ready for search: a snapshot of the index at `path`.

    Whatever happens to the folder afterwards, an open index stays what it was.

    Attributes:
        path: folder of the index.
        manifest: its attributes, see `patchindex.index.store`.
        config: how it was built.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        scan: ScanKind | None = None,
        labels: Int[np.ndarray, " n"] | None = None,
    ) -> None:
        self.path = snapshot.path
        self.manifest = snapshot.manifest
        self.config = snapshot.config
        self._snapshot = snapshot
        self._scan_kind = scan
        self._labels = labels

    @classmethod
    def open(cls, path: str | Path, *, scan: ScanKind | None = None) -> "PatchIndex":
        """Open the index at `path`; nothing large is read.

        Lists, codes and images are compared with their checksums when they are first used.

        Args:
            scan: `lists` reads each list once for all queries of a search, `faiss` lets FAISS go
                through them query by query; None takes `lists` where the C++ kernels were built,
                and on a GPU what `patchindex.index.list_search.triton` chooses.

        Raises:
            StoreError: there is none, or it is incomplete, damaged, or of another schema.
        """
        return cls(open_snapshot(Path(path).absolute()), scan)

    def __repr__(self) -> str:
        n, c, h, w = self._snapshot.mapped_pixels.shape
        scales = ", ".join(map(str, self.scales))
        return (
            f"PatchIndex({str(self.path)!r}: {self.manifest['dataset']}, "
            f"{n:,} images of {c} x {h} x {w}, {self.boundary}, scales {scales})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle where it lies and which it is, not what is in it."""
        state = (str(self.path), self._snapshot.digest, self._scan_kind, self._labels)
        return reopen, state

    @cached_property
    def images(self) -> ImageSet:
        """The training set, mapped from disk.

        Raises:
            StoreError: it is damaged.
        """
        labels = self._snapshot.labels if self._labels is None else self._labels
        return IndexImages(
            pixels=self._snapshot.pixels,
            labels=checked_labels(labels, len(self._snapshot.pixels)),
            class_names=tuple(self.manifest["class_names"]) if self._labels is None else (),
            name=self.manifest["dataset"],
            crop=self.manifest.get("crop", "none"),  # which earlier versions did not note
            index=self,
        )

    @property
    def boundary(self) -> Boundary:
        """What its patches do at the border."""
        return self.config.boundary

    @property
    def scales(self) -> tuple[int, ...]:
        """Patch sizes it holds, ascending."""
        return self.config.scales

    def nearest_scale(self, patch_size: int) -> int:
        """The scale it holds that is nearest to this one, of two the smaller."""
        return nearest_scale(self.scales, patch_size)

    def geometry(self, patch_size: int) -> PatchGeometry:
        """The geometry of its patches of this size."""
        return self._snapshot.geometry(patch_size)

    def arrays(self, patch_size: int) -> ScaleArrays:
        """The stored arrays of a scale: lists, ids, codes, list statistics.

        Raises:
            IndexConfigError: the index has no such scale.
        """
        if patch_size not in self.scales:
            known = ", ".join(map(str, self.scales))
            raise IndexConfigError(
                f"the index has no scale {patch_size}. Give one of these: {known}."
            )
        return self._snapshot.scales[patch_size]

    def search(
        self,
        patch_size: int,
        signature: int,
        windows: Float[Tensor, "q d"],
        k: int,
        *,
        nprobe: int = NPROBE,
        label: int | None = None,
        longest_list: int | None = None,
    ) -> Int[Tensor, "q k"]:
        """Ids of the k patches nearest by code, nearest first; -1 where fewer were found.

        The search runs where the windows are. A query's result does not depend on the others in
        the call.

        Args:
            signature: position in `geometry(patch_size).signatures` of the queries' border
                signature; only its patches are searched.
            windows: in [-1, 1] data units, zero beyond the border; channel, row, column.
            nprobe: lists visited per query; more than the signature has visits them all.
            label: only patches of images of this class.
            longest_list: leave out lists of more patches than this, such as those of plain patches,
                which take long to scan and are well sampled; they count as visited. The only list
                of a signature is never left out.

        Raises:
            IndexConfigError: no such scale or signature, or k or nprobe is not positive.
            DatasetError: no image has the label.
        """
        arrays = self.arrays(patch_size)
        check_query(arrays, signature, windows, k, nprobe)
        if on_device(windows):
            return self._device_search.search(
                patch_size, signature, windows, k,
                nprobe=nprobe, label=label, longest_list=longest_list,
            )  # fmt: skip
        vectors = arrays.project(windows.detach().float().numpy())
        lists = arrays.rank_lists(vectors, signature, nprobe)
        if longest_list is not None and len(arrays.lists_of(signature)) > 1:
            lists[arrays.count[lists] > longest_list] = -1
        found = self._scan.nearest(patch_size, vectors, lists, k, label)
        return torch.from_numpy(found)

    def relabelled(self, labels: Int[np.ndarray, " n"]) -> "PatchIndex":
        """The same index, whose images are of other classes: to search some of them alone."""
        return PatchIndex(self._snapshot, self._scan_kind, labels)

    def info(self) -> IndexInfo:
        """What is in the index, in numbers."""
        return describe_index(self.path, self.manifest)

    def verify(self, progress: ProgressCallback | None = None) -> None:
        """Read every byte again, and count that each legal patch is in one list of its signature.

        Raises:
            StoreError: names every array that is damaged.
        """
        verify_index(self._snapshot, progress or no_progress)

    @property
    def _source(self) -> ScanSource:
        return ScanSource(images=self.images, scales=self._snapshot.scales)

    @cached_property
    def _scan(self) -> CodeScan:
        kind = self._scan_kind or ("lists" if BACKEND == "native" else "faiss")
        return code_scan(kind, self._source)

    @cached_property
    def _device_search(self) -> "DeviceSearch":
        from patchindex.index.list_search.triton import DeviceSearch  # noqa: PLC0415 - imports Triton

        return DeviceSearch(self._source, self._scan_kind)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class IndexImages(ImageSet):
    """The training set of an index; pickled as that, so that copies share the index's map."""

    index: PatchIndex

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (self.index, "images")


def reopen(
    path: str, digest: str, scan: ScanKind | None, labels: Int[np.ndarray, " n"] | None
) -> PatchIndex:
    """An index that was pickled.

    Raises:
        StoreError: it is not there any more, or another is.
    """
    snapshot = open_snapshot(Path(path))
    if snapshot.digest != digest:
        raise StoreError(
            f"{path} is not the index that was pickled: it was replaced since. "
            "Open the new one, and make anew what searches it."
        )
    return PatchIndex(snapshot, scan, labels)


def code_scan(kind: ScanKind, source: ScanSource) -> CodeScan:
    """The scan of this kind."""
    if kind == "faiss":
        return FaissScan(source)
    from patchindex.index.list_search.native import ListScan  # noqa: PLC0415 - needs the C++ kernels

    return ListScan(source)


def check_query(
    arrays: ScaleArrays, signature: int, windows: Float[Tensor, "q d"], k: int, nprobe: int
) -> None:
    """Raise IndexConfigError unless the scale can be searched so."""
    signatures, d = len(arrays.signature_lists) - 1, arrays.pca.shape[1]
    if not 0 <= signature < signatures:
        raise IndexConfigError(
            f"signature is {signature}. "
            f"Give 0..{signatures - 1}, a position in the geometry's list."
        )
    if windows.shape[1] != d:
        raise IndexConfigError(
            f"windows have {windows.shape[1]} values, but patches of this scale have {d}. "
            "Give whole windows, zero beyond the border."
        )
    for name, value in (("k", k), ("nprobe", nprobe)):
        if value < 1:
            raise IndexConfigError(f"{name} is {value}. Give at least 1.")
