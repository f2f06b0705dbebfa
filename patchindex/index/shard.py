"""Sort the patches of a shard into inverted lists, and write them."""

import numpy as np
import torch
import zarr
from jaxtyping import Int, UInt32
from numpy import ndarray

from patchindex.geometry import PatchGeometry, patch_ids
from patchindex.images import ImageSet
from patchindex.index.assign import Assigner
from patchindex.index.lists import center_rectangle
from patchindex.index.scale import list_checksums
from patchindex.index.store import create_array, write_array
from patchindex.kernels.in_threads import in_threads
from patchindex.progress import ProgressCallback

SORTED = 2**20  # patches that a thread sorts at a time


def write_shard(
    group: zarr.Group,
    images: ImageSet,
    which: range,
    assigner: Assigner,
    *,
    block: int,
    progress: ProgressCallback,
) -> None:
    """Write the lists that the patches of some images make.

    Args:
        group: empty; gets `ids`, `codes`, `offsets`, and the checksums of each list.
        which: the images, of which the first is a multiple of `block`.
        block: see `Assigner.assign`.
        progress: told how many of all images are done.
    """
    stage = f"scale {assigner.geometry.patch_size}: assign"
    progress(stage, which.start, len(images))
    pixels = images.pixels[which.start : which.stop]
    lists, unsorted = assigner.assign(
        pixels, block, lambda done: progress(stage, which.start + done, len(images))
    )
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
    progress(stage, which.stop, len(images))


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
