"""An open index: all arrays read or mapped at once.

Small arrays are read and their checksums compared, large ones are mapped, and then the manifest is
looked at again: a build that replaced the index meanwhile shows there, and reading begins again.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np
from jaxtyping import Int, UInt8
from numpy import ndarray

from patchindex.errors import StoreError
from patchindex.geometry import PatchGeometry
from patchindex.index.config import IndexConfig
from patchindex.index.job import work_of
from patchindex.index.lists import shard_ranges, signature_lists
from patchindex.index.scale import ListChecks, ListShard, ScaleArrays
from patchindex.index.schema import Manifest
from patchindex.index.store import (
    REBUILD,
    check_checksum,
    hash_json,
    map_array,
    read_array,
    read_manifest,
    split_names,
    translate_read_errors,
)
from patchindex.index.trained import TrainedScale

SWAP_SECONDS, SWAP_PAUSE = 2.0, 0.02  # how long a swap of two folders is waited for


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """What was read and mapped of an index.

    Attributes:
        scales: by patch size.
    """

    path: Path
    manifest: Manifest
    config: IndexConfig
    mapped_pixels: UInt8[ndarray, "n c h w"]
    labels: Int[ndarray, " n"] | None
    names: "StoredNames | None"
    scales: Mapping[int, ScaleArrays]

    @cached_property
    def pixels(self) -> UInt8[ndarray, "n c h w"]:
        """The images, mapped from disk; their checksum is compared when they are first used."""
        check_checksum(self.path, "images", self.manifest, self.mapped_pixels)
        return self.mapped_pixels

    @cached_property
    def digest(self) -> str:
        """Hash of the manifest: two builds never have the same."""
        return hash_json(self.manifest)

    def geometry(self, patch_size: int) -> PatchGeometry:
        """The geometry of its patches of this size."""
        return _geometry_of(self.manifest, self.config, patch_size)


def open_snapshot(path: Path) -> Snapshot:
    """The index at `path`; a build that replaces it meanwhile is waited for.

    Raises:
        StoreError: there is none, or it is incomplete, damaged, or of another schema.
    """
    deadline = time.monotonic() + SWAP_SECONDS
    while True:
        late, before = time.monotonic() > deadline, root_metadata(path)
        try:
            snapshot = _read_snapshot(path)
        except StoreError:
            swapping = _is_being_swapped(path)
            if swapping and late:
                raise StoreError(
                    f"the build that was replacing {path} was interrupted. "
                    "Run the same `patchindex build` command again: it finishes at once."
                ) from None
            if late or not (swapping or root_metadata(path) != before):
                raise
        else:
            if root_metadata(path) == before:
                return snapshot
            if late:
                raise StoreError(
                    f"{path} was replaced again and again while it was opened. "
                    "Wait until no build writes there."
                )
        time.sleep(SWAP_PAUSE)


def root_metadata(path: Path) -> bytes | None:
    """What the manifest is read from; None if it cannot be read."""
    try:
        return (path / "zarr.json").read_bytes()
    except OSError:
        return None  # why not is told by whoever reads the manifest


def _is_being_swapped(path: Path) -> bool:
    """Whether a build has moved the old index away, and not yet the new one to its place."""
    try:
        return not path.exists() and work_of(path).replaced.exists()
    except OSError:
        return False  # as above


def _read_snapshot(path: Path) -> Snapshot:
    """The index at `path`, if it is not replaced meanwhile."""
    manifest = read_manifest(path)
    config = IndexConfig.from_json(manifest["config"])
    with translate_read_errors(path):
        return Snapshot(
            path=path,
            manifest=manifest,
            config=config,
            mapped_pixels=map_array(path, "images", manifest["arrays"]["images"]),
            labels=_map_labels(path, manifest),
            names=StoredNames(path, manifest) if "names" in manifest["arrays"] else None,
            scales={p: _read_scale(path, p, manifest, config) for p in config.scales},
        )


def _map_labels(path: Path, manifest: Manifest) -> Int[ndarray, " n"] | None:
    """The labels, mapped from disk; None if the index has none."""
    entry = manifest["arrays"].get("labels")
    if entry is None:
        return None
    labels = map_array(path, "labels", entry)
    check_checksum(path, "labels", manifest, labels)
    return labels


class StoredNames(Sequence[str]):
    """Names of the images' files: mapped, and taken apart when one is first asked for."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self._path, self._manifest = path, manifest
        self._joined = map_array(path, "names", manifest["arrays"]["names"])

    def __len__(self) -> int:
        return _len_images(self._manifest)

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[str, ...]: ...

    def __getitem__(self, place: int | slice) -> str | tuple[str, ...]:
        """A name, or some.

        Raises:
            StoreError: they are damaged.
        """
        return self._all[place]

    @cached_property
    def _all(self) -> tuple[str, ...]:
        check_checksum(self._path, "names", self._manifest, self._joined)
        names = split_names(self._joined)
        if len(names) != len(self):
            raise StoreError(f"{self._path} has {len(names)} names for its images. {REBUILD}")
        return names


def _read_scale(
    path: Path, patch_size: int, manifest: Manifest, config: IndexConfig
) -> ScaleArrays:
    """The arrays of one scale, whose small ones are checked."""
    prefix = f"scales/{patch_size}"
    learned = [field.name for field in fields(TrainedScale)]
    small = {name: read_array(path, f"{prefix}/{name}", manifest) for name in learned}
    geometry, num_images = _geometry_of(manifest, config, patch_size), _len_images(manifest)
    fault = _find_small_fault(small, signature_lists(geometry, num_images, config))
    if fault:
        raise StoreError(f"{path} is wrong at scale {patch_size}: {fault}. {REBUILD}")
    shards = [
        read_shard(path, f"{prefix}/shards/{number}", manifest, images, geometry)
        for number, images in enumerate(shard_ranges(geometry, num_images, config))
    ]
    return ScaleArrays(shards=shards, **small)


def _find_small_fault(
    arrays: Mapping[str, ndarray], expected_lists: Int[ndarray, " signatures_plus_1"]
) -> str | None:
    """What is wrong with arrays whose checksums are right, if anything is.

    Args:
        expected_lists: what the configuration gives.
    """
    if not np.array_equal(arrays["signature_lists"], expected_lists):
        return "signature_lists are not those of its configuration"
    for name in ("pca", "pca_bias", "centroids", "code_min", "code_span", "explained_variance"):
        if not np.isfinite(arrays[name]).all():
            return f"{name} has values that are not finite"
    return None


def read_shard(
    path: Path, prefix: str, manifest: Manifest, images: range, geometry: PatchGeometry
) -> ListShard:
    """The lists of a shard, whose offsets are checked."""
    ids, codes = (
        map_array(path, name, manifest["arrays"][name])
        for name in (f"{prefix}/ids", f"{prefix}/codes")
    )
    offsets, codes_crc32c, ids_crc32c = (
        read_array(path, f"{prefix}/{name}", manifest)
        for name in ("offsets", "codes_crc32c", "ids_crc32c")
    )
    if (np.diff(offsets) < 0).any() or (offsets[0], offsets[-1]) != (0, len(ids)):
        raise StoreError(f"{path} is wrong: {prefix}/offsets do not cover ids. {REBUILD}")
    area = geometry.height * geometry.width
    checks = ListChecks(
        where=f"{prefix} of {path}", codes_crc32c=codes_crc32c, ids_crc32c=ids_crc32c,
        end_id=len(images) * area,
    )  # fmt: skip
    return ListShard(
        ids=ids, codes=codes, offsets=offsets, first_id=images.start * area, checks=checks
    )


def _geometry_of(manifest: Manifest, config: IndexConfig, patch_size: int) -> PatchGeometry:
    """The geometry of an index's patches of one size."""
    height, width = manifest["resolution"]
    return PatchGeometry(
        height=height, width=width, patch_size=patch_size, boundary=config.boundary
    )


def _len_images(manifest: Manifest) -> int:
    """Images of an index."""
    return int(manifest["arrays"]["images"]["shape"][0])
