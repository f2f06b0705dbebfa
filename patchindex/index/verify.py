"""Reading a whole index again: every checksum, and that it holds each legal patch exactly once."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy import ndarray

from patchindex.errors import StoreError
from patchindex.geometry import PatchGeometry
from patchindex.index.lists import num_patches, signature_map
from patchindex.index.manifest import Manifest, map_array
from patchindex.index.store import chunk_path, crc32c
from patchindex.progress import ProgressCallback

BLOCK_PATCHES = 2**22


def verify_index(path: Path, manifest: Manifest, progress: ProgressCallback) -> None:
    """Raise StoreError, naming the arrays, unless every checksum and every count is right."""
    arrays, damaged = manifest["arrays"], []
    for done, (name, entry) in enumerate(arrays.items()):
        progress("verify checksums", done, len(arrays))
        if crc32c(chunk_path(path / name, len(entry["shape"]))) != entry["crc32c"]:
            damaged.append(name)
        if crc32c(path / name / "zarr.json") != entry["metadata_crc32c"]:
            damaged.append(f"{name}/zarr.json")
    progress("verify checksums", len(arrays), len(arrays))
    if damaged:
        raise StoreError(
            f"{path} is damaged: the checksum differs in {', '.join(damaged)}. "
            "Build it again with `patchindex build --overwrite`."
        )
    for patch_size in manifest["config"]["scales"]:
        check_lists(path, manifest, patch_size, progress)


def check_lists(
    path: Path, manifest: Manifest, patch_size: int, progress: ProgressCallback
) -> None:
    """Raise StoreError unless each legal patch is in exactly one list of its own signature."""
    num_images, _, height, width = manifest["arrays"]["images"]["shape"]
    geometry = PatchGeometry(
        height=height, width=width, patch_size=patch_size, boundary=manifest["config"]["boundary"]
    )
    arrays = {
        name: np.asarray(map_array(path, f"scales/{patch_size}/{name}", manifest))
        for name in ("ids", "offsets", "count", "signature_lists")
    }
    report = partial(progress, f"verify scale {patch_size}")
    fault = find_fault(geometry, num_images, arrays, report)
    if fault:
        raise StoreError(
            f"{path} is wrong at scale {patch_size}: {fault}. "
            "Build it again with `patchindex build --overwrite`."
        )


def find_fault(
    geometry: PatchGeometry,
    num_images: int,
    arrays: Mapping[str, ndarray],
    progress: Callable[[int, int], None],
) -> str | None:
    """What is wrong with the lists of a scale; None if each patch is where it belongs, once."""
    ids, offsets = arrays["ids"], arrays["offsets"]
    if fault := find_count_fault(arrays):
        return fault
    signature_of_list = np.repeat(
        np.arange(len(geometry.signatures)), np.diff(arrays["signature_lists"])
    )
    signature_at = signature_map(geometry).reshape(-1)
    seen = np.zeros(num_images * signature_at.size, dtype=np.bool_)
    for start in range(0, len(ids), BLOCK_PATCHES):
        progress(start, len(ids))
        block = ids[max(start - 1, 0) : start + BLOCK_PATCHES].astype(np.int64)
        places = np.arange(max(start - 1, 0), start + BLOCK_PATCHES)[: len(block)]
        lists = np.searchsorted(offsets, places, side="right") - 1
        if block.min() < 0 or block.max() >= seen.size:
            return "ids has patches of images that are not there"
        if (np.diff(block)[np.diff(lists) == 0] <= 0).any():
            return "ids do not ascend in every list"
        if (signature_at[block % signature_at.size] != signature_of_list[lists]).any():
            return "ids has patches in lists of another border signature"
        seen[block] = True
    progress(len(ids), len(ids))
    if not seen.sum() == len(ids) == num_patches(geometry, num_images):
        return "ids does not hold each patch exactly once"
    return None


def find_count_fault(arrays: Mapping[str, ndarray]) -> str | None:
    """What is wrong with the sizes of the lists, if anything is."""
    offsets, sizes = arrays["offsets"], np.diff(arrays["offsets"])
    if (sizes < 0).any() or (offsets[0], offsets[-1]) != (0, len(arrays["ids"])):
        return "offsets do not cover ids"
    if not np.array_equal(sizes, arrays["count"]):
        return "count does not match offsets"
    return None
