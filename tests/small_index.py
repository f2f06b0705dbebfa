"""Small indices of real image crops, built in a second, for the tests that need one on disk."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from patchindex.geometry import PatchGeometry
from patchindex.images import ImageSet
from patchindex.index.build import build_index
from patchindex.index.config import IndexConfig
from patchindex.index.lists import cut_windows
from patchindex.index.patch_index import PatchIndex
from patchindex.index.store import with_own_hash
from patchindex.paths import data_file
from patchindex.progress import ProgressCallback

# several lists in the larger signatures, several shards per scale
SMALL = {
    "single_list_patches": 500,
    "lists_per_sqrt": 0.5,
    "block_patches": 3000,
    "shard_patches": 5000,
    "train_patches": 4096,
}


def small_images(num: int = 40, side: int = 16, channels: int = 1) -> ImageSet:
    """The middle of the first bundled images; other channels are shifted copies."""
    with np.load(data_file("sample", "fashion_mnist_2000.npz")) as sample:
        whole, labels = sample["images"][:num], sample["labels"][:num]
    first = (28 - side) // 2
    shifts = [np.roll(whole, shift, axis=3) for shift in range(channels)]
    pixels = np.concatenate(shifts, axis=1)[:, :, first : first + side, first : first + side]
    return ImageSet.from_array(np.ascontiguousarray(pixels), labels, name="small")


def small_config(scales: tuple[int, ...] = (3, 7), **settings: Any) -> IndexConfig:
    return IndexConfig(scales=scales, **(SMALL | settings))


def build_small(
    path: Path,
    images: ImageSet | None = None,
    *,
    progress: ProgressCallback | None = None,
    **settings: Any,
) -> PatchIndex:
    config = small_config(**settings)
    return build_index(images or small_images(), config, path, progress=progress)


def array_checksums(index: PatchIndex) -> dict[str, str]:
    """CRC of every array: equal means bit for bit the same."""
    return {name: entry["crc32c"] for name, entry in index.manifest["arrays"].items()}


def merged_lists(index: PatchIndex, patch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids [p] and codes [p, r] of all lists, list after list as one shard would have them."""
    arrays = index.arrays(patch_size)
    return arrays.read_lists(np.arange(len(arrays.count)))


def all_windows(
    index: PatchIndex, patch_size: int, signature: int
) -> tuple[np.ndarray, np.ndarray]:
    """Ids [p], ascending, and float64 windows [p, d] of a signature's dictionary."""
    geometry: PatchGeometry = index.geometry(patch_size)
    border = geometry.signatures[signature]
    image, y, x = np.meshgrid(
        np.arange(len(index.images)), border.rows.centers, border.cols.centers, indexing="ij"
    )
    ids = ((image * geometry.height + y) * geometry.width + x).reshape(-1)
    return ids, cut_windows(index.images.pixels, ids, geometry).astype(np.float64)


def reseal(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest of an index and make its own checksum right again."""
    group = json.loads((path / "zarr.json").read_text())
    attributes = group["attributes"]
    del attributes["manifest_sha256"]
    change(attributes)
    group["attributes"] = with_own_hash(attributes)
    (path / "zarr.json").write_text(json.dumps(group))
