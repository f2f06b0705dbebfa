"""Reading a whole index again: every checksum, and that it holds each legal patch exactly once."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from patchindex.crew import LOCAL, Crew
from patchindex.errors import StoreError
from patchindex.geometry import PatchGeometry
from patchindex.index.lists import num_patches, shard_ranges, signature_map
from patchindex.index.scale import ListShard
from patchindex.index.schema import ArrayEntry, Manifest
from patchindex.index.snapshot import Snapshot, read_shard
from patchindex.index.store import (
    REBUILD,
    chunk_path,
    crc32c,
    hash_json,
    read_manifest,
    translate_read_errors,
)
from patchindex.progress import LocalProgress, ProgressCallback

BLOCK_PATCHES = 2**22


def verify_index(snapshot: Snapshot, progress: ProgressCallback, crew: Crew = LOCAL) -> None:
    """Raise StoreError, naming the arrays, unless every checksum and every count is right.

    Args:
        crew: who reads; all of it must see the index where it lies.
    """
    _check_unreplaced(snapshot)
    try:
        with translate_read_errors(snapshot.path):
            _check_files(snapshot.path, snapshot.manifest, progress, crew)
        for patch_size in snapshot.config.scales:
            _check_lists(snapshot, patch_size, progress, crew)
    except StoreError:
        _check_unreplaced(snapshot)
        raise


def _check_unreplaced(snapshot: Snapshot) -> None:
    """Raise StoreError if another index lies where this one was."""
    if hash_json(read_manifest(snapshot.path)) != snapshot.digest:
        raise StoreError(f"{snapshot.path} was replaced since it was opened. Open it again.")


def _check_files(path: Path, manifest: Manifest, progress: ProgressCallback, crew: Crew) -> None:
    """Raise StoreError, naming the arrays, unless every file has the checksum that was noted."""
    arrays = manifest["arrays"]
    crew.begin("verify checksums")
    units = list(enumerate(arrays.items()))
    found = crew.run(_damaged_files, units, path, len(arrays), LocalProgress(progress))
    damaged = list(chain.from_iterable(found))
    progress("verify checksums", len(arrays), len(arrays))
    members = {name.rpartition("/")[0] for name in arrays if name.startswith("scales/")}
    groups = sorted(
        {str(parent) for name in members for parent in (Path(name), *Path(name).parents)} - {"."}
    )
    damaged += [f"{name}/zarr.json" for name in groups if not _is_group(path / name)]
    if damaged:
        raise StoreError(
            f"{path} is damaged: the checksum differs in {', '.join(damaged)}. {REBUILD}"
        )


def _damaged_files(
    numbered: tuple[int, tuple[str, ArrayEntry]], path: Path, total: int, progress: LocalProgress
) -> list[str]:
    """Which files of an array have another checksum."""
    number, (name, entry) = numbered
    progress("verify checksums", number, total)
    with translate_read_errors(path):
        of_files = {
            name: (chunk_path(path / name, len(entry["shape"])), entry["crc32c"]),
            f"{name}/zarr.json": (path / name / "zarr.json", entry["metadata_crc32c"]),
        }
        return [told for told, (file, noted) in of_files.items() if crc32c(file) != noted]


def _is_group(path: Path) -> bool:
    """Whether the folder says of itself that it is a Zarr group, and nothing else."""
    try:
        found = json.loads((path / "zarr.json").read_bytes())
    except (ValueError, RecursionError):
        return False
    if not isinstance(found, dict):
        return False
    # some versions of Zarr add what they know of the members, or no attributes
    said = {k: v for k, v in found.items() if v and k != "consolidated_metadata"}
    return said == {"zarr_format": 3, "node_type": "group"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _ScaleToCheck:
    """What all shards of a scale need to be checked."""

    path: Path
    manifest: Manifest
    geometry: PatchGeometry
    shards: list[range]
    signature_lists: Int[ndarray, " signatures_plus_1"]
    progress: LocalProgress


def _check_lists(
    snapshot: Snapshot, patch_size: int, progress: ProgressCallback, crew: Crew
) -> None:
    """Raise StoreError unless each legal patch is in exactly one list of its own signature."""
    geometry = snapshot.geometry(patch_size)
    shards = shard_ranges(geometry, len(snapshot.mapped_pixels), snapshot.config)
    scale = _ScaleToCheck(
        path=snapshot.path,
        manifest=snapshot.manifest,
        geometry=geometry,
        shards=shards,
        signature_lists=snapshot.scales[patch_size].signature_lists,
        progress=LocalProgress(progress),
    )
    crew.begin(f"verify scale {patch_size}")
    crew.run(_check_shard, range(len(shards)), scale)


def _check_shard(number: int, scale: _ScaleToCheck) -> None:
    """Raise StoreError unless the lists of a shard hold each of its patches once, undamaged."""
    geometry, patch_size = scale.geometry, scale.geometry.patch_size
    images = scale.shards[number]
    shard = read_shard(
        scale.path, f"scales/{patch_size}/shards/{number}", scale.manifest, images, geometry
    )
    per_image = num_patches(geometry, 1)
    before, total = (per_image * end for end in (images.start, scale.shards[-1].stop))

    def report(checked: int) -> None:
        scale.progress(f"verify scale {patch_size}", before + checked, total)

    fault = _find_fault(geometry, images, shard, scale.signature_lists, report)
    if fault:
        raise StoreError(f"{scale.path} is wrong at scale {patch_size}: {fault}. {REBUILD}")
    if shard.checks is not None:
        shard.checks.check(shard, np.arange(int(scale.signature_lists[-1])))


def _find_fault(
    geometry: PatchGeometry,
    images: range,
    shard: ListShard,
    signature_lists: Int[ndarray, " signatures_plus_1"],
    progress: Callable[[int], None],
) -> str | None:
    """What is wrong with the lists of a shard; None if each patch is where it belongs, once."""
    ids, offsets = shard.ids, shard.offsets
    signature_of_list = np.repeat(np.arange(len(geometry.signatures)), np.diff(signature_lists))
    signature_at = signature_map(geometry).reshape(-1)
    seen = np.zeros(len(images) * signature_at.size, dtype=np.bool_)
    for start in range(0, len(ids), BLOCK_PATCHES):
        progress(start)
        block = ids[max(start - 1, 0) : start + BLOCK_PATCHES].astype(np.int64)
        places = np.arange(max(start - 1, 0), start + BLOCK_PATCHES)[: len(block)]
        lists = np.searchsorted(offsets, places, side="right") - 1
        if block.max() >= seen.size:
            return "ids has patches of images that are not there"
        if (np.diff(block)[np.diff(lists) == 0] <= 0).any():
            return "ids do not ascend in every list"
        if (signature_at[block % signature_at.size] != signature_of_list[lists]).any():
            return "ids has patches in lists of another border signature"
        seen[block] = True
    progress(len(ids))
    if not seen.sum() == len(ids) == num_patches(geometry, len(images)):
        return "ids does not hold each patch exactly once"
    return None
