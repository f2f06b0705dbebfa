"""Sort the patches of a shard into inverted lists, and write them: a unit that any crew can do."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import zarr
from jaxtyping import Int, UInt8, UInt32
from numpy import ndarray

from patchindex.geometry import PatchGeometry, patch_ids
from patchindex.index.assign import Assigner
from patchindex.index.config import IndexConfig
from patchindex.index.job import ARRAYS, IMAGES, WorkDir, finish_unit, unit_folder
from patchindex.index.lists import block_images, center_rectangle, shard_ranges
from patchindex.index.scale import list_checksums
from patchindex.index.store import create_array, map_array, write_array
from patchindex.kernels.in_threads import in_threads
from patchindex.progress import LocalProgress, ProgressCallback

SORTED = 2**20  # patches that a thread sorts at a time


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScaleWork:
    """What all shards of a scale need; on whose device the assigner is, they are assigned.

    Attributes:
        work: folder of the build, with the images in its store.
        units: where units write, see `WorkDir.units`.
        progress: told how many of all images are done.
    """

    work: WorkDir
    units: Path
    config: IndexConfig
    assigner: Assigner
    progress: LocalProgress


def build_shard(number: int, scale: ScaleWork) -> None:
    """Put a shard into the store and note it, if that is not done.

    This may be done twice, even at once, and may end at any moment.
    """
    work, geometry = scale.work, scale.assigner.geometry
    name = f"{geometry.patch_size}-{number}"
    if work.read_json(name):
        return
    start = time.perf_counter()
    pixels = map_array(work.store, "images", work.read_json(IMAGES)["arrays"]["images"])
    with unit_folder(scale.units) as folder:
        _write_shard(
            zarr.create_group(folder / ARRAYS), pixels,
            shard_ranges(geometry, len(pixels), scale.config)[number], scale.assigner,
            block=block_images(geometry, scale.config), progress=scale.progress,
        )  # fmt: skip
        group = f"scales/{geometry.patch_size}/shards/{number}"
        finish_unit(work, folder, group, name, time.perf_counter() - start)


def _write_shard(
    group: zarr.Group,
    pixels: UInt8[ndarray, "n c h w"],
    which: range,
    assigner: Assigner,
    *,
    block: int,
    progress: ProgressCallback,
) -> None:
    """Write the lists that the patches of some images make.

    Args:
        group: empty; gets `ids`, `codes`, `offsets`, and the checksums of each list.
        which: its images, of which the first is a multiple of `block`.
        block: see `Assigner.assign`.
        progress: told how many of all images are done.
    """
    stage = f"scale {assigner.geometry.patch_size}: assign"
    progress(stage, which.start, len(pixels))
    lists, unsorted = assigner.assign(
        pixels[which.start : which.stop], block,
        lambda done: progress(stage, which.start + done, len(pixels)),
    )  # fmt: skip
    blocks = [slice(first, first + SORTED) for first in range(0, len(lists), SORTED)]
    nlist = int(assigner.signature_lists[-1])
    counts = np.stack([np.bincount(lists[rows], minlength=nlist) for rows in blocks])
    offsets = np.concatenate([[0], counts.sum(0).cumsum()]).astype(np.int64)
    filled = offsets[:-1] + counts.cumsum(0) - counts  # of each list, by the blocks before
    ids = create_array(group, "ids", (len(lists),), np.uint32)
    codes = create_array(group, "codes", unsorted.shape, np.uint8)
    legal = _legal_ids(assigner.geometry, len(which))

    def sort(number: int) -> None:
        rows = blocks[number]
        order, slots = _counting_sort(lists[rows], counts[number], filled[number])
        ids[slots] = legal[rows][order]
        codes[slots] = np.take(unsorted[rows], order, axis=0)  # indexing takes 4 times as long

    in_threads(sort, range(len(blocks)))
    write_array(group, "offsets", offsets)
    for name, values in (("ids", ids), ("codes", codes)):
        write_array(group, f"{name}_crc32c", list_checksums(values, offsets))
    progress(stage, which.stop, len(pixels))


def _legal_ids(geometry: PatchGeometry, num_images: int) -> UInt32[ndarray, " m"]:
    """Ids of every legal patch of so many images from the first on, ascending."""
    rows, cols = center_rectangle(geometry)
    image = np.arange(num_images)[:, None, None]
    y, x = np.asarray(rows)[:, None], np.asarray(cols)
    ids = patch_ids(image, y, x, geometry.height, geometry.width)
    flat: UInt32[ndarray, " m"] = ids.reshape(-1).astype(np.uint32)
    return flat


def _counting_sort(
    lists: Int[ndarray, " m"], counts: Int[ndarray, " nlist"], filled: Int[ndarray, " nlist"]
) -> tuple[Int[ndarray, " m"], Int[ndarray, " m"]]:
    """Patches in list order, in a list by id, and the slot of each behind those that are filled."""
    order = torch.argsort(torch.from_numpy(lists), stable=True).numpy()
    before = np.cumsum(counts) - counts
    slots = np.repeat(filled - before, counts) + np.arange(len(lists))
    return order, slots
