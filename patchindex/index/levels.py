"""Training patches as whole numbers, and cut out by patch id.

A *level* is `2 * pixel - 255`: a whole number from -255 to 255, so 255 times the value in [-1, 1],
and 0 beyond the border in the same scale. Sums of levels are exact in any order.
"""

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from torch import Tensor

from patchindex.geometry import PatchGeometry, locate

LEVELS = 255


def to_levels(pixels: UInt8[ndarray, "*shape"]) -> Float[Tensor, "*shape"]:
    """Pixels 0..255 as whole numbers -255..255: 255 times their value in [-1, 1]."""
    return torch.from_numpy(pixels.astype(np.float32)).mul_(2).sub_(LEVELS)


def cut_windows(
    pixels: UInt8[ndarray, "n c h w"], ids: Int[ndarray, " m"], geometry: PatchGeometry
) -> Float[ndarray, "m d"]:
    """The windows of these patches in [-1, 1], zero (or wrapped) beyond the border, as c, y, x."""
    height, width = geometry.height, geometry.width
    image, y, x = locate(ids, height, width)
    reach = np.arange(-geometry.radius, geometry.radius + 1)
    rows, cols = y[:, None] + reach, x[:, None] + reach
    cells = pixels[image[:, None, None], :, (rows % height)[:, :, None], (cols % width)[:, None]]
    windows = to_levels(cells).div_(LEVELS)
    if geometry.boundary == "zeros":
        seen_y, seen_x = (rows >= 0) & (rows < height), (cols >= 0) & (cols < width)
        windows *= torch.from_numpy(seen_y[:, :, None] & seen_x[:, None])[..., None]
    flat: Float[ndarray, "m d"] = rearrange(windows, "m sy sx c -> m (c sy sx)").numpy()
    return flat
