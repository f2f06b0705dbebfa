"""An index opened for reading: its images, its geometry, and the search for a query's neighbors."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, get_args

import faiss
import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from patchindex.choices import DEFAULT_NPROBE, Boundary, ListSearchKind, Precision
from patchindex.crew import LOCAL, Crew
from patchindex.device import Device, default_device
from patchindex.errors import IndexConfigError, StoreError
from patchindex.geometry import PatchGeometry, nearest_scale
from patchindex.image_arrays import checked_labels
from patchindex.images import ImageSet
from patchindex.index.as_faiss import as_faiss
from patchindex.index.audit import verify_index
from patchindex.index.info import IndexInfo, describe_index
from patchindex.index.scale import IndexLists, ScaleArrays
from patchindex.index.search import IndexSearch
from patchindex.index.snapshot import Snapshot, open_snapshot
from patchindex.progress import Progress, telling


class PatchIndex:
    """Every patch of an image set, ready for search: a snapshot of the index at `path`.

    Whatever happens to the folder afterwards, an open index stays what it was.

    Attributes:
        path: folder of the index.
        manifest: its attributes, see `patchindex.index.store`.
        config: how it was built.
        device: where states are computed, and copies of its images and lists are kept.
        crew: who does the work of machines over it.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        list_search: ListSearchKind = "auto",
        labels: Int[np.ndarray, " n"] | None = None,
        device: Device | None = None,
        crew: Crew = LOCAL,
    ) -> None:
        self.path = snapshot.path
        self.manifest = snapshot.manifest
        self.config = snapshot.config
        self._snapshot = snapshot
        self._list_search = list_search
        self._labels = labels
        self.device = device or default_device()
        self.crew = crew

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        list_search: ListSearchKind = "auto",
        device: Device | None = None,
        crew: Crew = LOCAL,
    ) -> "PatchIndex":
        """Open the index at `path`; nothing large is read.

        Lists, codes and images are compared with their checksums when they are first used.

        Args:
            list_search: `triton` takes our own kernels, which read each list once for all queries
                of a search: in Triton on a GPU, in C++ on the processor; `faiss` takes FAISS where
                it can; `auto` takes what is faster, as
                `patchindex.index.search.choose_list_search` says.
            device: where copies of images and lists may stay; None keeps as many as there is room
                for by default wherever states lie.
            crew: who does the work of machines over it, see `patchindex.cluster`.

        Raises:
            IndexConfigError: nothing searches lists by this name.
            StoreError: there is none, or it is incomplete, damaged, or of another schema.
        """
        if list_search not in get_args(ListSearchKind):
            known = ", ".join(get_args(ListSearchKind))
            raise IndexConfigError(
                f"list search is {list_search!r:.99}. Give one of these: {known}."
            )
        return cls(open_snapshot(Path(path).absolute()), list_search, device=device, crew=crew)

    def __repr__(self) -> str:
        n, c, h, w = self._snapshot.mapped_pixels.shape
        scales = ", ".join(map(str, self.scales))
        return (
            f"PatchIndex({str(self.path)!r}: {self.manifest['dataset']}, "
            f"{n:,} images of {c} x {h} x {w}, {self.boundary}, scales {scales})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle where it lies and which it is, not what is in it, nor its crew."""
        return reopen, (self.pickled(), self.device)

    @property
    def digest(self) -> str:
        """Hash of the manifest, which holds a checksum of every array: it names the index."""
        return self._snapshot.digest

    @property
    def has_own_labels(self) -> bool:
        """Whether its images are of other classes than the stored ones."""
        return self._labels is not None

    def pickled(self) -> "Pickled":
        """All that another process needs to open it."""
        return Pickled(
            path=str(self.path),
            digest=self.digest,
            list_search=self._list_search,
            precision=self.device.precision,
            labels=self._labels,
        )

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
            names=self._snapshot.names,
            crop=self.manifest["crop"],
            device=self.device,
            crew=self.crew,
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
        """The stored arrays of a scale: what was learned, and the lists.

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
        signature: int | Int[Tensor, " q"],
        windows: Float[Tensor, "q d"],
        k: int,
        *,
        nprobe: int = DEFAULT_NPROBE,
        label: int | None = None,
        longest_list: int | Int[Tensor, " signatures"] | None = None,
        skip: int = 0,
        probes: Int[Tensor, " q"] | None = None,
    ) -> Int[Tensor, "q k"]:
        """Ids of the k patches nearest by code, nearest first; -1 where fewer were found.

        The search runs where the windows are. A query's result does not depend on the others in
        the call.

        Args:
            signature: position in `geometry(patch_size).signatures` of the queries' border
                signature, or of each query; only its patches are searched.
            windows: in [-1, 1] data units, zero beyond the border; channel, row, column.
            nprobe: lists visited per query; more than the signature has visits them all.
            label: only patches of images of this class.
            longest_list: leave out lists of more patches than this, such as those of plain patches,
                which take long to scan and are well sampled; they count as visited. The only list
                of a signature is never left out. One number, or one for each signature.
            skip: the nearest so many lists are left out, and the `nprobe` behind them visited: what
                searches before have not seen. Behind the last list nothing is found.
            probes: of each query, the lists that it visits; at most `nprobe`, at least one. With
                a signature for each query.

        Raises:
            IndexConfigError: no such scale or signature, k or nprobe is not positive, or skip
                negative.
            DatasetError: no image has the label.
        """
        arrays = self.arrays(patch_size)
        check_query(arrays, signature, windows, k=k, nprobe=nprobe, skip=skip)
        if probes is not None and not (
            isinstance(signature, Tensor) and probes.shape == signature.shape
        ):
            raise IndexConfigError(
                f"there are {len(windows)} windows and probes for {probes.numel()}. Give a "
                "signature and a number of lists for each, or one for all."
            )
        return self._search.search(
            patch_size, signature, windows, k,
            nprobe=nprobe, label=label, longest_list=longest_list, skip=skip, probes=probes,
        )  # fmt: skip

    def to_faiss(self, patch_size: int, signature: int | None = None) -> faiss.Index:
        """A copy of a scale's lists as a FAISS index in memory, for searches without this package.

        Its vectors are windows as `search` takes them, its ids are patch ids. Like `search` it
        ranks by codes, so distances are those of principal components. It is an `IndexPreTransform`
        of an `IndexIVFScalarQuantizer`.

            found = index.to_faiss(9, signature)
            faiss.extract_index_ivf(found).nprobe = 16
            distances_sq, ids = found.search(windows.numpy(), k)

        Args:
            signature: hold only the patches of this border signature, and then find what `search`
                finds for it. None for all, so that windows find patches that cross the border
                otherwise.

        Raises:
            IndexConfigError: no such scale or signature.
            StoreError: a list is damaged.
        """
        arrays = self.arrays(patch_size)
        if signature is not None:
            check_signature(arrays, signature)
            arrays = arrays.of_signature(signature)
        return as_faiss(arrays)

    def relabelled(self, labels: Int[np.ndarray, " n"]) -> "PatchIndex":
        """The same index, whose images are of other classes: to search some of them alone."""
        return PatchIndex(self._snapshot, self._list_search, labels, self.device, self.crew)

    def part(self, number: int, parts: int) -> "PatchIndex":
        """One of so many parts: the same images, and of each scale a run of its shards.

        Args:
            parts: no more than any scale has shards.
        """
        return self._part(number, parts)

    @cached_property
    def _part(self) -> Callable[[int, int], "PatchIndex"]:
        return cache(self._make_part)

    def _make_part(self, number: int, parts: int) -> "PatchIndex":
        scales = {size: each.part(number, parts) for size, each in self._snapshot.scales.items()}
        snapshot = replace(self._snapshot, scales=scales)
        part = PatchIndex(snapshot, self._list_search, self._labels, self.device)
        part.__dict__["images"] = self.images  # whose checksums are compared once
        return part

    def info(self) -> IndexInfo:
        """What is in the index, in numbers."""
        return describe_index(self._snapshot)

    def verify(self, progress: Progress | None = None) -> None:
        """Read every byte again, and count that each legal patch is in one list of its signature.

        The work is shared by its crew.

        Raises:
            StoreError: names every array that is damaged.
        """
        with telling(progress) as tell:
            verify_index(self._snapshot, tell, self.crew)

    @cached_property
    def _search(self) -> IndexSearch:
        lists = IndexLists(images=self.images, scales=self._snapshot.scales)
        return IndexSearch(lists, self._list_search)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class IndexImages(ImageSet):
    """The training set of an index; pickled as that, so that copies share the index's map."""

    index: PatchIndex

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (self.index, "images")

    @cached_property
    def sha256(self) -> str:
        """As the index has it, whose checksums hold it to its images."""
        if self.index.has_own_labels:
            return super().sha256
        return str(self.index.manifest["images_sha256"])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pickled:
    """Where an index lies and which it is.

    Attributes:
        precision: of exact scans where it is opened.
        labels: of its images, where they are others than the stored ones.
    """

    path: str
    digest: str
    list_search: ListSearchKind
    precision: Precision
    labels: Int[np.ndarray, " n"] | None


def reopen(pickled: Pickled, device: Device | None = None) -> PatchIndex:
    """An index that was pickled.

    Raises:
        StoreError: it is not there any more, or another is.
    """
    snapshot = open_snapshot(Path(pickled.path))
    if snapshot.digest != pickled.digest:
        raise StoreError(
            f"{pickled.path} is not the index that was pickled: it was replaced since. "
            "Open the new one, and make anew what searches it."
        )
    return PatchIndex(snapshot, pickled.list_search, pickled.labels, device)


def check_query(
    arrays: ScaleArrays,
    signature: int | Int[Tensor, " q"],
    windows: Float[Tensor, "q d"],
    *,
    k: int,
    nprobe: int,
    skip: int,
) -> None:
    """Raise IndexConfigError unless the scale can be searched so."""
    if not isinstance(signature, Tensor):
        check_signature(arrays, signature)
    elif signature.shape != windows.shape[:1]:
        raise IndexConfigError(
            f"there are {len(windows)} windows and signatures for {signature.numel()}. "
            "Give one for each, or one for all."
        )
    d = arrays.pca.shape[1]
    if windows.shape[1] != d:
        raise IndexConfigError(
            f"windows have {windows.shape[1]} values, but patches of this scale have {d}. "
            "Give whole windows, zero beyond the border."
        )
    for name, value in (("k", k), ("nprobe", nprobe)):
        if value < 1:
            raise IndexConfigError(f"{name} is {value}. Give at least 1.")
    if skip < 0:
        raise IndexConfigError(f"skip is {skip}. Give 0, to leave out no list, or more.")


def check_signature(arrays: ScaleArrays, signature: int) -> None:
    """Raise IndexConfigError unless the scale has such a border signature."""
    signatures = len(arrays.signature_lists) - 1
    if not 0 <= signature < signatures:
        raise IndexConfigError(
            f"signature is {signature}. "
            f"Give 0..{signatures - 1}, a position in the geometry's list."
        )
