"""An open index: all arrays read or mapped at once, and what `patchindex info` tells of them.

Small arrays are read and their checksums compared, large ones are mapped, and then the manifest is
looked at again: a build that replaced the index meanwhile shows there, and reading begins again.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8
from numpy import ndarray

from patchindex.errors import StoreError
from patchindex.geometry import PatchGeometry
from patchindex.index.config import IndexConfig
from patchindex.index.job import work_of
from patchindex.index.lists import signature_lists
from patchindex.index.scale import ListChecks, ScaleArrays
from patchindex.index.schema import Manifest
from patchindex.index.store import (
    REBUILD,
    check_checksum,
    hash_json,
    map_array,
    num_bytes,
    read_array,
    read_manifest,
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
            mapped_pixels=map_array(path, "images", manifest),
            labels=_read_optional(path, "labels", manifest),
            scales={p: _read_scale(path, p, manifest, config) for p in config.scales},
        )


def _read_optional(path: Path, name: str, manifest: Manifest) -> ndarray | None:
    """A small array; None if the index has none such."""
    return read_array(path, name, manifest) if name in manifest["arrays"] else None


def _read_scale(
    path: Path, patch_size: int, manifest: Manifest, config: IndexConfig
) -> ScaleArrays:
    """The arrays of one scale, whose small ones are checked."""
    prefix = f"scales/{patch_size}"
    learned = [field.name for field in fields(TrainedScale)]
    small = {
        name: read_array(path, f"{prefix}/{name}", manifest)
        for name in (*learned, "offsets", "count")
    }
    ids, codes = (map_array(path, f"{prefix}/{name}", manifest) for name in ("ids", "codes"))
    geometry, num_images = _geometry_of(manifest, config, patch_size), _len_images(manifest)
    expected = signature_lists(geometry, num_images, config)
    fault = _find_small_fault(small, expected, len(ids))
    if fault:
        raise StoreError(f"{path} is wrong at scale {patch_size}: {fault}. {REBUILD}")
    checks = ListChecks(
        where=f"{prefix} of {path}",
        codes=codes,
        ids=ids,
        offsets=small["offsets"],
        whole={name: manifest["arrays"][f"{prefix}/{name}"]["crc32c"] for name in ("ids", "codes")},
        codes_crc32c=_read_optional(path, f"{prefix}/codes_crc32c", manifest),
        ids_crc32c=_read_optional(path, f"{prefix}/ids_crc32c", manifest),
        end_id=num_images * geometry.height * geometry.width,
    )
    return ScaleArrays(ids=ids, codes=codes, checks=checks, **small)


def _find_small_fault(
    arrays: Mapping[str, ndarray], expected_lists: Int[ndarray, " signatures_plus_1"], p: int
) -> str | None:
    """What is wrong with arrays whose checksums are right, if anything is.

    Args:
        expected_lists: what the configuration gives.
        p: patches that are stored.
    """
    offsets = arrays["offsets"]
    sizes = np.diff(offsets)
    if not np.array_equal(arrays["signature_lists"], expected_lists):
        return "signature_lists are not those of its configuration"
    if (sizes < 0).any() or (offsets[0], offsets[-1]) != (0, p):
        return "offsets do not cover ids"
    if not np.array_equal(sizes, arrays["count"]):
        return "count does not match offsets"
    for name in ("pca", "pca_bias", "centroids", "code_min", "code_span"):
        if not np.isfinite(arrays[name]).all():
            return f"{name} has values that are not finite"
    return None


def _geometry_of(manifest: Manifest, config: IndexConfig, patch_size: int) -> PatchGeometry:
    """The geometry of an index's patches of one size."""
    height, width = manifest["resolution"]
    return PatchGeometry(
        height=height, width=width, patch_size=patch_size, boundary=config.boundary
    )


def _len_images(manifest: Manifest) -> int:
    """Images of an index."""
    return int(manifest["arrays"]["images"]["shape"][0])


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleInfo:
    """One scale of an index."""

    patch_size: int
    patches: int
    nlist: int
    code_bytes: int
    bytes_per_patch: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexInfo:
    """A whole index; sizes in bytes, build times in seconds."""

    path: str
    dataset: str
    class_names: tuple[str, ...]
    images: tuple[int, ...]
    images_sha256: str
    boundary: str
    seed: int
    scales: tuple[ScaleInfo, ...]
    disk_bytes: int
    seconds: float
    created: str
    schema_version: int
    versions: dict[str, str]

    def lines(self) -> Iterator[str]:
        """The numbers for people; what cannot be shown of a name is escaped."""
        return map(_printable, self._lines())

    def _lines(self) -> Iterator[str]:
        n, c, h, w = self.images
        yield f"index     {self.path}"
        yield f"dataset   {self.dataset}: {n:,} images of {c} x {h} x {w}"
        yield f"boundary  {self.boundary}"
        yield f"size      {self.disk_bytes / 1e6:,.1f} MB"
        yield f"built     {self.created} in {self.seconds:,.0f} s, seed {self.seed}"
        yield f"schema    {self.schema_version}"
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        yield f"versions  {versions}"
        yield f"{'scale':>5} {'patches':>13} {'lists':>7} {'bytes/patch':>12} {'seconds':>8}"
        for scale in self.scales:
            yield (
                f"{scale.patch_size:>5} {scale.patches:>13,} {scale.nlist:>7,} "
                f"{scale.bytes_per_patch:>12.1f} {scale.seconds:>8.0f}"
            )


def _printable(text: str) -> str:
    """The text, where control characters and halves of characters are escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def describe_index(path: Path, manifest: Manifest) -> IndexInfo:
    """Read everything off the manifest; no array is opened."""
    config = IndexConfig.from_json(manifest["config"])
    return IndexInfo(
        path=str(path),
        dataset=manifest["dataset"],
        class_names=tuple(manifest["class_names"]),
        images=tuple(manifest["arrays"]["images"]["shape"]),
        images_sha256=manifest["images_sha256"],
        boundary=config.boundary,
        seed=config.seed,
        scales=tuple(_describe_scale(manifest, scale) for scale in config.scales),
        disk_bytes=sum(num_bytes(entry) for entry in manifest["arrays"].values()),
        seconds=manifest["seconds"]["total"],
        created=manifest["created"],
        schema_version=manifest["schema_version"],
        versions=dict(manifest["versions"]),
    )


def _describe_scale(manifest: Manifest, patch_size: int) -> ScaleInfo:
    """One scale; its bytes a patch are those of all its arrays."""
    prefix = f"scales/{patch_size}/"
    entries = {k: v for k, v in manifest["arrays"].items() if k.startswith(prefix)}
    patches, code_bytes = entries[f"{prefix}codes"]["shape"]
    return ScaleInfo(
        patch_size=patch_size,
        patches=patches,
        nlist=entries[f"{prefix}count"]["shape"][0],
        code_bytes=code_bytes,
        bytes_per_patch=sum(num_bytes(entry) for entry in entries.values()) / patches,
        seconds=manifest["seconds"][str(patch_size)],
    )
