"""Inverted lists: how many a border signature gets, and the patches that go into them.

A *centered* pixel is `2 * pixel - 255`: a whole number from -255 to 255, so 255 times the value in
[-1, 1], and 0 beyond the border in the same scale. Sums of these are exact in any order.

Lists are numbered signature by signature, in the order of `PatchGeometry.signatures`: those of
signature i are `offsets[i] .. offsets[i+1]-1`. A query probes lists of its own signature only, so
borders need no code in the search.
"""

from math import sqrt

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from torch import Tensor

from patchindex.geometry import PatchGeometry, locate
from patchindex.index.config import IndexConfig

CENTERED_RANGE = 255
MOST_IDS = 2**32  # of a shard, whose ids have 32 bits


def centered(pixels: UInt8[ndarray, "*shape"]) -> Float[Tensor, "*shape"]:
    """Pixels 0..255 as whole numbers -255..255: 255 times their value in [-1, 1]."""
    return torch.from_numpy(pixels.astype(np.float32)).mul_(2).sub_(CENTERED_RANGE)


def cut_windows(
    pixels: UInt8[ndarray, "n c h w"], ids: Int[ndarray, " m"], geometry: PatchGeometry
) -> Float[ndarray, "m d"]:
    """The windows of these patches in [-1, 1], zero (or wrapped) beyond the border, as c, y, x."""
    height, width = geometry.height, geometry.width
    image, y, x = locate(ids, height, width)
    reach = np.arange(-geometry.radius, geometry.radius + 1)
    rows, cols = y[:, None] + reach, x[:, None] + reach
    cells = pixels[image[:, None, None], :, (rows % height)[:, :, None], (cols % width)[:, None]]
    windows = centered(cells).div_(CENTERED_RANGE)
    if not geometry.query_wraps:
        seen_y, seen_x = (rows >= 0) & (rows < height), (cols >= 0) & (cols < width)
        windows *= torch.from_numpy(seen_y[:, :, None] & seen_x[:, None])[..., None]
    flat: Float[ndarray, "m d"] = rearrange(windows, "m sy sx c -> m (c sy sx)").numpy()
    return flat


def num_lists(num_patches: int, config: IndexConfig) -> int:
    """Inverted lists for a dictionary of so many patches."""
    if num_patches <= config.single_list_patches:
        return 1
    return max(1, round(config.lists_per_sqrt * sqrt(num_patches)))


def list_counts(geometry: PatchGeometry, num_images: int, config: IndexConfig) -> list[int]:
    """Inverted lists of each signature.

    One where each image has one patch: estimators sum all of those, and search none.
    """
    return [
        1 if s.num_centers == 1 else num_lists(num_images * s.num_centers, config)
        for s in geometry.signatures
    ]


def signature_lists(
    geometry: PatchGeometry, num_images: int, config: IndexConfig
) -> Int[ndarray, " signatures_plus_1"]:
    """First list of each signature, and the number of all lists at the end."""
    counts = list_counts(geometry, num_images, config)
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def center_rectangle(geometry: PatchGeometry) -> tuple[range, range]:
    """The rows and columns of all legal centers.

    Signatures' centers tile this rectangle: an index has each of its positions exactly once.
    """
    rows = [s.rows.centers for s in geometry.signatures]
    cols = [s.cols.centers for s in geometry.signatures]
    return (
        range(min(r.start for r in rows), max(r.stop for r in rows)),
        range(min(c.start for c in cols), max(c.stop for c in cols)),
    )


def num_patches(geometry: PatchGeometry, num_images: int) -> int:
    """Patches that `num_images` images put into the index."""
    rows, cols = center_rectangle(geometry)
    return num_images * len(rows) * len(cols)


def signature_map(geometry: PatchGeometry) -> Int[ndarray, "h w"]:
    """Signature whose dictionary each center belongs to; -1 where no window may have its center."""
    found = np.full((geometry.height, geometry.width), -1, dtype=np.int64)
    for index, signature in enumerate(geometry.signatures):
        rows, cols = signature.rows.centers, signature.cols.centers
        found[rows.start : rows.stop, cols.start : cols.stop] = index
    return found


def shard_ranges(geometry: PatchGeometry, num_images: int, config: IndexConfig) -> list[range]:
    """Images of each shard: whole blocks, but for the last image."""
    step = shard_images(geometry, config)
    return [range(first, min(first + step, num_images)) for first in range(0, num_images, step)]


def shard_images(geometry: PatchGeometry, config: IndexConfig) -> int:
    """Images of a whole shard."""
    return max(_power_of_two(config.shard_patches, geometry), block_images(geometry, config))


def block_images(geometry: PatchGeometry, config: IndexConfig) -> int:
    """Images that are assigned together: sums are in one order, however the images are divided."""
    return _power_of_two(config.block_patches, geometry)


def _power_of_two(most_patches: int, geometry: PatchGeometry) -> int:
    """The largest power of two of images with no more patches than that; at least 1.

    And with ids below 2^32, where few of the places in an image are legal centers.
    """
    most_ids = MOST_IDS // (geometry.height * geometry.width)
    images = max(1, min(most_patches // num_patches(geometry, 1), most_ids))
    return 1 << (images.bit_length() - 1)
