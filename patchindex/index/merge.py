"""Sort the patches of all blocks into inverted lists, and compute the statistics of each list.

Sums are taken over centered pixels (whole numbers, see `lists.py`) in float64, where they are exact
below 2**53: no order of adding and no interruption changes a bit of them, and a mean squared radius
as the difference $E|p|^2 - |E p|^2$ loses nothing that float64 could have kept.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import faiss
import numpy as np
import torch
import zarr
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from torch import Tensor
from torch.nn.functional import pad

from patchindex.device import CPU
from patchindex.geometry import PatchGeometry, id_dtype, patch_ids
from patchindex.images import ImageSet
from patchindex.index.assign import code_block
from patchindex.index.lists import CENTERED_RANGE, center_rectangle, centered
from patchindex.index.scale import list_checksums
from patchindex.index.store import create_array, write_array
from patchindex.index.trained import TrainedScale
from patchindex.kernels.in_threads import in_threads
from patchindex.progress import ProgressCallback
from patchindex.windows import padded


@dataclass(slots=True, kw_only=True, eq=False)
class ListSums:
    """Running sums over the patches of each list; `add` changes them in place."""

    count: Int[ndarray, " nlist"]
    sums: Float[ndarray, "c s s nlist"]
    sum_sq: Float[ndarray, " nlist"]

    @classmethod
    def zeros(cls, nlist: int, channels: int, patch_size: int) -> "ListSums":
        """Sums over no patch."""
        return cls(
            count=np.zeros(nlist, dtype=np.int64),
            sums=np.zeros((channels, patch_size, patch_size, nlist)),
            sum_sq=np.zeros(nlist),
        )

    def add(
        self,
        pixels: UInt8[ndarray, "n c h w"],
        lists: Int[ndarray, " m"],
        geometry: PatchGeometry,
        device: torch.device = CPU,
    ) -> None:
        """Add every legal patch of these images, given the list of each in the order of ids.

        Args:
            device: where they are added up, which changes no bit.
        """
        nlist = len(self.count)
        rows, cols = center_rectangle(geometry)
        shifted = centered(pixels).to(device)
        list_numbers = torch.from_numpy(lists.astype(np.int64)).to(device)
        self.count[:] += np.bincount(lists, minlength=nlist)
        squares = padded(shifted.double().square().sum(1, keepdim=True), rows, cols, geometry)
        norms_sq = _box_sums(squares, geometry.patch_size).reshape(-1)
        self.sum_sq[:] += torch.bincount(list_numbers, norms_sq, nlist).cpu().numpy()
        around = padded(shifted, rows, cols, geometry)

        def add_cell(place: tuple[int, int, int]) -> None:
            c, sy, sx = place
            values = around[:, c, sy : sy + len(rows), sx : sx + len(cols)].reshape(-1).double()
            self.sums[c, sy, sx] += torch.bincount(list_numbers, values, nlist).cpu().numpy()

        in_threads(add_cell, np.ndindex(self.sums.shape[:3]))

    def mean_patch(self) -> Float[ndarray, "nlist d"]:
        """Mean window in [-1, 1]; zero for an empty list."""
        sums = rearrange(self.sums, "c sy sx l -> l (c sy sx)")
        scale = np.maximum(self.count, 1)[:, None] * CENTERED_RANGE
        mean: Float[ndarray, "nlist d"] = sums / scale
        return mean

    def mean_radius_sq(self) -> Float[ndarray, " nlist"]:
        """Mean squared distance of a list's patches to their mean."""
        mean_sq = self.sum_sq / (np.maximum(self.count, 1) * CENTERED_RANGE**2)
        radius_sq: Float[ndarray, " nlist"] = mean_sq - np.square(self.mean_patch()).sum(axis=1)
        return radius_sq.clip(min=0)


def _box_sums(
    values: Float[Tensor, "n 1 padded_rows padded_cols"], s: int
) -> Float[Tensor, "n 1 rows cols"]:
    """Sum of every s x s window; exact for whole numbers."""
    below = pad(values.cumsum(2).cumsum(3), (1, 0, 1, 0))
    return below[:, :, s:, s:] - below[:, :, :-s, s:] - below[:, :, s:, :-s] + below[:, :, :-s, :-s]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Lists of every legal patch of some images.

    Attributes:
        first: number of the first image.
        read_lists: gives the list of each patch, in the order of ids.
    """

    first: int
    num_images: int
    read_lists: Callable[[], Int[ndarray, " m"]]


def merge_scale(
    group: zarr.Group,
    images: ImageSet,
    geometry: PatchGeometry,
    trained: TrainedScale,
    *,
    parts: Sequence[Part],
    progress: ProgressCallback,
    device: torch.device = CPU,
) -> None:
    """Write all arrays of one scale; ids ascend in a list because `parts` are in image order.

    Args:
        device: where sums and codes are computed.
    """
    stage, total = f"scale {geometry.patch_size}: merge", 2 * len(parts)
    sums = ListSums.zeros(trained.nlist, images.channels, geometry.patch_size)
    for done, part in enumerate(parts):
        progress(stage, done, total)
        sums.add(_pixels_of(images, part), part.read_lists(), geometry, device)
    offsets = np.concatenate([[0], np.cumsum(sums.count)])
    dtype = id_dtype(len(images), geometry.height, geometry.width)
    ids = create_array(group, "ids", (int(offsets[-1]),), dtype)
    codes = create_array(group, "codes", (int(offsets[-1]), len(trained.pca)), np.uint8)
    filled = offsets[:-1].copy()
    for done, part in enumerate(parts, len(parts)):
        progress(stage, done, total)
        lists = part.read_lists()
        order, slots = _counting_sort(lists, filled)
        ids[slots] = _legal_ids(geometry, part.first, part.num_images)[order]
        block = code_block(_pixels_of(images, part), geometry, trained, device)
        codes[slots] = np.take(block, order, axis=0)  # short rows: indexing takes 4 times as long
        filled += np.bincount(lists, minlength=trained.nlist)
    _write_small_arrays(group, trained, sums, offsets)
    for name, rows in (("ids", ids), ("codes", codes)):
        write_array(group, f"{name}_crc32c", list_checksums(rows, offsets))
    progress(stage, total, total)


def _pixels_of(images: ImageSet, part: Part) -> UInt8[ndarray, "n c h w"]:
    """The images of a part."""
    return np.asarray(images.pixels[part.first : part.first + part.num_images])


def _legal_ids(geometry: PatchGeometry, first: int, num_images: int) -> Int[ndarray, " m"]:
    """Ids of every legal patch of so many images from `first` on, ascending."""
    rows, cols = center_rectangle(geometry)
    image = np.arange(first, first + num_images)[:, None, None]
    y, x = np.asarray(rows)[:, None], np.asarray(cols)
    return patch_ids(image, y, x, geometry.height, geometry.width).reshape(-1)


def _counting_sort(
    lists: Int[ndarray, " m"], filled: Int[ndarray, " nlist"]
) -> tuple[Int[ndarray, " m"], Int[ndarray, " m"]]:
    """Patches in list order, in a list by id, and the slot of each behind those that are filled."""
    order = torch.argsort(torch.from_numpy(lists), stable=True).numpy()
    counts = np.bincount(lists, minlength=len(filled))
    before = np.cumsum(counts) - counts
    slots = np.repeat(filled - before, counts) + np.arange(len(lists))
    return order, slots


def _write_small_arrays(
    group: zarr.Group, trained: TrainedScale, sums: ListSums, offsets: Int[ndarray, " nlist_plus_1"]
) -> None:
    """Everything but ids, codes and their checksums."""
    header = faiss.serialize_index(trained.empty_index())
    arrays = {
        "signature_lists": trained.signature_lists,
        "pca": trained.pca,
        "pca_bias": trained.pca_bias,
        "centroids": trained.centroids,
        "code_min": trained.code_min,
        "code_span": trained.code_span,
        "offsets": offsets,
        "count": sums.count,
        "mean_patch": sums.mean_patch().astype(np.float32),
        "mean_radius_sq": sums.mean_radius_sq(),
        "faiss_header": header,
    }
    for name, values in arrays.items():
        write_array(group, name, values)
