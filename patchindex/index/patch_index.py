"""An index opened for reading: its images, its geometry, and the search for a query's neighbors."""

from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from patchindex.errors import IndexConfigError, StoreError
from patchindex.geometry import Boundary, PatchGeometry, nearest_scale
from patchindex.images import ImageSet
from patchindex.index.config import IndexConfig
from patchindex.index.faiss_scan import FaissScan
from patchindex.index.info import IndexInfo, describe_index
from patchindex.index.manifest import Manifest, map_array, read_manifest
from patchindex.index.search import CodeScan, ScaleArrays, ScanKind, ScanSource
from patchindex.index.store import crc32c_bytes
from patchindex.index.verify import verify_index
from patchindex.kernels.backend import BACKEND, on_device
from patchindex.progress import ProgressCallback, no_progress

if TYPE_CHECKING:
    from patchindex.index.device_search import DeviceSearch

NPROBE = 32


class PatchIndex:
    """Every patch of an image set, ready for search; holds memory maps of the files at `path`.

    Attributes:
        path: folder of the index.
        manifest: its attributes, see `patchindex.index.manifest`.
        config: how it was built.
        images: the training set, mapped from disk.
    """

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        scan: ScanKind | None = None,
        images: ImageSet | None = None,
    ) -> None:
        self.path = path
        self.manifest = manifest
        self.config = IndexConfig.from_json(manifest["config"])
        self.images = images or map_images(path, manifest)
        self._arrays: dict[int, ScaleArrays] = {}
        self._source = ScanSource(
            images=self.images, arrays=self.arrays, faiss_header=self._read_faiss_header
        )
        self._scan_kind = scan
        self._scan = code_scan(scan or ("lists" if BACKEND == "native" else "faiss"), self._source)

    @classmethod
    def open(cls, path: str | Path, *, scan: ScanKind | None = None) -> "PatchIndex":
        """Open the index at `path`; nothing large is read.

        Args:
            scan: `lists` reads each list once for all queries of a search, `faiss` lets FAISS go
                through them query by query; None takes `lists` where the C++ kernels were built,
                and on a GPU what `patchindex.index.device_search` chooses.

        Raises:
            StoreError: there is none, or it is incomplete, damaged, or of another schema.
        """
        absolute = Path(path).absolute()
        return cls(absolute, read_manifest(absolute), scan)

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
        return PatchGeometry(
            height=self.images.height,
            width=self.images.width,
            patch_size=patch_size,
            boundary=self.boundary,
        )

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
        if patch_size not in self._arrays:
            self._arrays[patch_size] = ScaleArrays(
                **{
                    field.name: map_array(
                        self.path, f"scales/{patch_size}/{field.name}", self.manifest
                    )
                    for field in fields(ScaleArrays)
                }
            )
        return self._arrays[patch_size]

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
        images = ImageSet.from_array(self.images.pixels, labels, name=self.images.name)
        other = PatchIndex(self.path, self.manifest, self._scan_kind, images)
        other._arrays = self._arrays  # so that a device keeps their lists once
        return other

    def info(self) -> IndexInfo:
        """What is in the index, in numbers."""
        return describe_index(self.path, self.manifest)

    def verify(self, progress: ProgressCallback | None = None) -> None:
        """Read every byte again, and count that each legal patch is in one list of its signature.

        Raises:
            StoreError: names every array that is damaged.
        """
        verify_index(self.path, self.manifest, progress or no_progress)

    @cached_property
    def _device_search(self) -> "DeviceSearch":
        from patchindex.index.device_search import DeviceSearch  # noqa: PLC0415 - imports Triton

        return DeviceSearch(self._source, self._scan_kind)

    def _read_faiss_header(self, patch_size: int) -> UInt8[np.ndarray, " bytes"]:
        name = f"scales/{patch_size}/faiss_header"
        header = np.asarray(map_array(self.path, name, self.manifest))
        # FAISS trusts what it deserializes, so only what we wrote may reach it
        if crc32c_bytes(header) != self.manifest["arrays"][name]["crc32c"]:
            raise StoreError(
                f"{name} of {self.path} is damaged: its checksum differs. "
                "Build the index again with `patchindex build --overwrite`."
            )
        return header


def map_images(path: Path, manifest: Manifest) -> ImageSet:
    """The training set of an index, mapped from disk."""
    labels = "labels" in manifest["arrays"]
    return ImageSet.from_array(
        map_array(path, "images", manifest),
        map_array(path, "labels", manifest) if labels else None,
        class_names=manifest["class_names"],
        name=manifest["dataset"],
    )


def code_scan(kind: ScanKind, source: ScanSource) -> CodeScan:
    """The scan of this kind."""
    if kind == "faiss":
        return FaissScan(source)
    from patchindex.index.list_scan import ListScan  # noqa: PLC0415 - needs the C++ kernels

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
