"""Samples as a picture: a grid of images, enlarged without smoothing so that pixels show."""

from math import ceil, sqrt
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from PIL import Image
from torch import Tensor

from patchindex.images import to_uint8

GAP = 2
BACKGROUND = 255
SMALLEST_SIDE = 96


def image_grid(
    images: Float[Tensor, "b c h w"], columns: int | None = None
) -> UInt8[ndarray, "H W c"]:
    """Images in [-1, 1] side by side, near to a square unless `columns` says otherwise."""
    pixels = to_uint8(images).transpose(0, 2, 3, 1)
    zoom = max(1, ceil(SMALLEST_SIDE / max(pixels.shape[1:3])))
    pixels = pixels.repeat(zoom, axis=1).repeat(zoom, axis=2)
    num, height, width, channels = pixels.shape
    columns = columns or ceil(sqrt(num))
    gap = GAP * zoom
    rows = ceil(num / columns)
    shape = (rows * (height + gap) + gap, columns * (width + gap) + gap, channels)
    canvas = np.full(shape, BACKGROUND, dtype=np.uint8)
    for i, image in enumerate(pixels):
        top, left = (
            place * (side + gap) + gap
            for place, side in zip(divmod(i, columns), (height, width), strict=True)
        )
        canvas[top : top + height, left : left + width] = image
    return canvas


def save_png(picture: UInt8[ndarray, "H W c"], path: Path) -> None:
    """Write a picture with 1 or 3 channels as a PNG."""
    Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).save(path, "PNG")
