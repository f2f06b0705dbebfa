"""An index opened for reading: its images, its geometry, and the search for a query's neighbors."""

from dataclasses import fields
from functools import lru_cache
from pathlib import Path

import faiss
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchindex.errors import IndexConfigError, StoreError
from patchindex.geometry import Boundary, PatchGeometry
from patchindex.images import ImageSet
from patchindex.index.config import IndexConfig
from patchindex.index.info import IndexInfo, describe_index
from patchindex.index.manifest import Manifest, map_array, read_manifest
from patchindex.index.search import ScaleArrays, ScaleSearcher
from patchindex.index.store import crc32c_bytes
from patchindex.index.verify import verify_index
from patchindex.progress import ProgressCallback, no_progress

NPROBE = 32
CACHE_BYTES = 4 * 2**30
CACHED_LABELS = 16


class PatchIndex:
    """Every patch of an image set, ready for search; holds memory maps of the files at `path`.

    Attributes:
        path: folder of the index.
        manifest: its attributes, see `patchindex.index.manifest`.
        config: how it was built.
        images: the training set, mapped from disk.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self.config = IndexConfig.from_json(manifest["config"])
        labels = "labels" in manifest["arrays"]
        self.images = ImageSet.from_array(
            map_array(path, "images", manifest),
            map_array(path, "labels", manifest) if labels else None,
            class_names=manifest["class_names"],
            name=manifest["dataset"],
        )
        self._arrays: dict[int, ScaleArrays] = {}
        self._searchers: dict[int, ScaleSearcher] = {}
        self._members = lru_cache(CACHED_LABELS)(self._select_label)

    @classmethod
    def open(cls, path: str | Path) -> "PatchIndex":
        """Open the index at `path`; nothing large is read.

        Raises:
            StoreError: there is none, or it is incomplete, damaged, or of another schema.
        """
        absolute = Path(path).absolute()
        return cls(absolute, read_manifest(absolute))

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
        return min(self.scales, key=lambda scale: (abs(scale - patch_size), scale))

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

        A query's result does not depend on the others in the call.

        Args:
            signature: position in `geometry(patch_size).signatures` of the queries' border
                signature; only its patches are searched.
            windows: in [-1, 1] data units, zero beyond the border; channel, row, column.
            nprobe: lists visited per query; more than the signature has visits them all.
            label: only patches of images of this class.
            longest_list: leave out lists of more patches than this, such as those of plain patches,
                which take long to scan and are well sampled; they count as visited.

        Raises:
            IndexConfigError: no such scale or signature, or k or nprobe is not positive.
            DatasetError: no image has the label.
        """
        arrays = self.arrays(patch_size)
        check_query(arrays, signature, windows, k, nprobe)
        selector = None if label is None else self._members(label)
        queries = windows.detach().cpu().float().numpy()
        lists = arrays.rank_lists(queries, signature, nprobe)
        if longest_list is not None:
            lists[arrays.count[lists] > longest_list] = -1
        found = self._searcher(patch_size).search(queries, lists, k, selector)
        return torch.from_numpy(found).to(windows.device)

    def info(self) -> IndexInfo:
        """What is in the index, in numbers."""
        return describe_index(self.path, self.manifest)

    def verify(self, progress: ProgressCallback | None = None) -> None:
        """Read every byte again, and count that each legal patch is in one list of its signature.

        Raises:
            StoreError: names every array that is damaged.
        """
        verify_index(self.path, self.manifest, progress or no_progress)

    def _searcher(self, patch_size: int) -> ScaleSearcher:
        """The scale's FAISS index, kept; those not used for longest go when memory is short."""
        searcher = self._searchers.pop(patch_size, None) or self._load_searcher(patch_size)
        others = sum(other.cached_bytes for other in self._searchers.values())
        while self._searchers and others + searcher.full_bytes > CACHE_BYTES:
            oldest = next(iter(self._searchers))
            others -= self._searchers.pop(oldest).cached_bytes
        self._searchers[patch_size] = searcher
        return searcher

    def _load_searcher(self, patch_size: int) -> ScaleSearcher:
        name = f"scales/{patch_size}/faiss_header"
        header = np.asarray(map_array(self.path, name, self.manifest))
        # FAISS trusts what it deserializes, so only what we wrote may reach it
        if crc32c_bytes(header) != self.manifest["arrays"][name]["crc32c"]:
            raise StoreError(
                f"{name} of {self.path} is damaged: its checksum differs. "
                "Build the index again with `patchindex build --overwrite`."
            )
        return ScaleSearcher(self.arrays(patch_size), faiss.deserialize_index(header))

    def _select_label(self, label: int) -> faiss.IDSelector:
        """FAISS's filter for the patches of a class: one bit per patch id."""
        chosen = np.zeros(len(self.images), dtype=np.bool_)
        chosen[self.images.members(label)] = True
        per_image = self.images.height * self.images.width
        return faiss.IDSelectorBitmap(np.packbits(np.repeat(chosen, per_image), bitorder="little"))


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
