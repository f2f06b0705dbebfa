"""Reading a whole index again: every checksum, and that it holds each legal patch exactly once."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from patchindex.errors import StoreError
from patchindex.geometry import PatchGeometry
from patchindex.index.lists import num_patches, shard_ranges, signature_map
from patchindex.index.scale import ListShard
from patchindex.index.schema import Manifest
from patchindex.index.snapshot import Snapshot
from patchindex.index.store import (
    REBUILD,
    chunk_path,
    crc32c,
    hash_json,
    read_manifest,
    translate_read_errors,
)
from patchindex.progress import ProgressCallback

BLOCK_PATCHES = 2**22


def verify_index(snapshot: Snapshot, progress: ProgressCallback) -> None:
    """Raise StoreError, naming the arrays, unless every checksum and every count is right."""
    _check_unreplaced(snapshot)
    try:
        with translate_read_errors(snapshot.path):
            _check_files(snapshot.path, snapshot.manifest, progress)
        for patch_size in snapshot.config.scales:
            _check_lists(snapshot, patch_size, progress)
    except StoreError:
        _check_unreplaced(snapshot)
        raise


def _check_unreplaced(snapshot: Snapshot) -> None:
    """Raise StoreError if another index lies where this one was."""
    if hash_json(read_manifest(snapshot.path)) != snapshot.digest:
        raise StoreError(f"{snapshot.path} was replaced since it was opened. Open it again.")


def _check_files(path: Path, manifest: Manifest, progress: ProgressCallback) -> None:
    """Raise StoreError, naming the arrays, unless every file has the checksum that was noted."""
    arrays, damaged = manifest["arrays"], []
    for done, (name, entry) in enumerate(arrays.items()):
        progress("verify checksums", done, len(arrays))
        if crc32c(chunk_path(path / name, len(entry["shape"]))) != entry["crc32c"]:
            damaged.append(name)
        if crc32c(path / name / "zarr.json") != entry["metadata_crc32c"]:
            damaged.append(f"{name}/zarr.json")
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


def _check_lists(snapshot: Snapshot, patch_size: int, progress: ProgressCallback) -> None:
    """Raise StoreError unless each legal patch is in exactly one list of its own signature."""
    arrays, geometry = snapshot.scales[patch_size], snapshot.geometry(patch_size)
    shards = shard_ranges(geometry, len(snapshot.mapped_pixels), snapshot.config)
    total = int(arrays.offsets[-1])
    done = np.cumsum([0, *(len(shard.ids) for shard in arrays.shards)]).tolist()

    def report(before: int, checked: int) -> None:
        progress(f"verify scale {patch_size}", before + checked, total)

    for shard, images, before in zip(arrays.shards, shards, done[:-1], strict=True):
        fault = _find_fault(
            geometry, images, shard, arrays.signature_lists, partial(report, before)
        )
        if fault:
            raise StoreError(f"{snapshot.path} is wrong at scale {patch_size}: {fault}. {REBUILD}")
    arrays.check(np.arange(len(arrays.count)))


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
