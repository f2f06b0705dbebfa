"""Pictures with regions that were copied from training images, and where these are.

Each kind plants into a held-out image. Rectangles are drawn again until they have detail: a copied
piece of plain background is the same in every image, and no copy.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8
from numpy import ndarray
from PIL import Image

Array = UInt8[ndarray, "c h w"]
LEAST_DETAIL = 0.15  # standard deviation of a planted rectangle, in [-1, 1] units
TRIES = 200
HALF_RANGE = 127.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Planted:
    """A region copied from one image.

    Attributes:
        image: number of the training image.
        displacement: pixel (y, x) of the region is pixel (y + dy, x + dx) of the image.
        region: the planted pixels.
    """

    image: int
    displacement: tuple[int, int]
    region: Bool[ndarray, "h w"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """A picture and what was planted into it: nothing, one region, or two."""

    kind: str
    pixels: Array
    planted: tuple[Planted, ...]


def jpeg(pixels: Array, quality: int) -> Array:
    """Compressed and read again."""
    held = io.BytesIO()
    grey = len(pixels) == 1
    Image.fromarray(pixels[0] if grey else np.moveaxis(pixels, 0, -1)).save(
        held, "JPEG", quality=quality
    )
    array = np.asarray(Image.open(held))
    return array[None] if grey else np.ascontiguousarray(np.moveaxis(array, -1, 0))


def noisy(pixels: Array, sigma: float, rng: np.random.Generator) -> Array:
    """With normal noise of this standard deviation in [-1, 1] units."""
    levels = pixels + rng.normal(0, sigma * HALF_RANGE, pixels.shape)
    return levels.round().clip(0, 255).astype(np.uint8)


def brighter(pixels: Array, offset: float) -> Array:
    """With this added, in [-1, 1] units."""
    return (pixels + offset * HALF_RANGE).round().clip(0, 255).astype(np.uint8)


def paste(
    host: Array,
    source: Array,
    image: int,
    rng: np.random.Generator,
    sides: tuple[int, int],
    *,
    most_shift: int | None = None,
) -> tuple[Array, Planted] | None:
    """A rectangle of the source at another place of the host; None where none has detail.

    Args:
        sides: smallest and largest side.
        most_shift: of the rectangle along either axis; None for any.
    """
    _, height, width = host.shape
    for _ in range(TRIES):
        rows, cols = rng.integers(sides[0], sides[1] + 1, 2)
        sy, sx = rng.integers(0, height - rows + 1), rng.integers(0, width - cols + 1)
        ty, tx = rng.integers(0, height - rows + 1), rng.integers(0, width - cols + 1)
        piece = source[:, sy : sy + rows, sx : sx + cols]
        shift = max(abs(int(sy - ty)), abs(int(sx - tx)))
        if piece.std() / HALF_RANGE < LEAST_DETAIL or not 0 < shift <= (most_shift or height):
            continue
        pixels, region = host.copy(), np.zeros((height, width), dtype=np.bool_)
        pixels[:, ty : ty + rows, tx : tx + cols] = piece
        region[ty : ty + rows, tx : tx + cols] = True
        displacement = (int(sy - ty), int(sx - tx))
        return pixels, Planted(image=image, displacement=displacement, region=region)
    return None


def shifted(host: Array, source: Array, image: int, rng: np.random.Generator) -> Picture | None:
    """A whole training image, moved by 1 to 6 pixels along either axis, over the host."""
    _, height, width = host.shape
    dy, dx = (int(each) for each in rng.integers(1, 7, 2) * rng.choice([-1, 1], 2))
    rows, cols = np.arange(height) + dy, np.arange(width) + dx
    inside = ((rows >= 0) & (rows < height))[:, None] & ((cols >= 0) & (cols < width))
    moved = source[:, rows.clip(0, height - 1)][:, :, cols.clip(0, width - 1)]
    pixels = np.where(inside, moved, host)
    return Picture(
        kind="shift", pixels=pixels,
        planted=(Planted(image=image, displacement=(dy, dx), region=inside),),
    )  # fmt: skip


def mosaic(
    host: Array, sources: tuple[Array, Array], images: tuple[int, int], rng: np.random.Generator
) -> Picture | None:
    """Two training images side by side, or one above the other, each moved by up to 4 pixels."""
    _, height, width = host.shape
    across = bool(rng.integers(2))
    cut = int(rng.integers(12, (width if across else height) - 11))
    pixels, planted = host.copy(), []
    for second, (source, image) in enumerate(zip(sources, images, strict=True)):
        half = np.zeros((height, width), dtype=np.bool_)
        side = slice(cut, None) if second else slice(0, cut)
        half[(slice(None), side) if across else (side, slice(None))] = True
        dy, dx = (int(each) for each in rng.integers(-4, 5, 2))
        rows, cols = np.arange(height) + dy, np.arange(width) + dx
        inside = ((rows >= 0) & (rows < height))[:, None] & ((cols >= 0) & (cols < width))
        region = half & inside
        moved = source[:, rows.clip(0, height - 1)][:, :, cols.clip(0, width - 1)]
        if moved[:, region].std() / HALF_RANGE < LEAST_DETAIL:
            return None
        pixels = np.where(region, moved, pixels)
        planted.append(Planted(image=image, displacement=(dy, dx), region=region))
    return Picture(kind="mosaic", pixels=pixels, planted=tuple(planted))


def plant(
    kind: str, host: Array, training: UInt8[ndarray, "n c h w"], rng: np.random.Generator
) -> Picture:
    """A picture of this kind; sources are drawn again until they have enough detail."""
    while True:
        first, second = (int(i) for i in rng.choice(len(training), 2, replace=False))
        source = np.asarray(training[first])
        if kind == "shift":
            picture = shifted(host, source, first, rng)
        elif kind == "mosaic":
            picture = mosaic(host, (source, np.asarray(training[second])), (first, second), rng)
        else:
            picture = _changed(kind, host, source, first, rng)
        if picture is not None:
            return picture


def _changed(
    kind: str, host: Array, source: Array, image: int, rng: np.random.Generator
) -> Picture | None:
    """A rectangle planted, and what was done to it."""
    if kind == "brightness":
        offset = float(rng.uniform(0.04, 0.12) * rng.choice([-1, 1]))
        source = brighter(source, offset)
    pasted = paste(host, source, image, rng, (12, 20) if kind == "crop" else (16, 24))
    if pasted is None:
        return None
    pixels, planted = pasted
    return Picture(kind=kind, pixels=DEGRADED[kind](pixels, rng), planted=(planted,))


DEGRADED: dict[str, Callable[[Array, np.random.Generator], Array]] = {
    "crop": lambda pixels, _: pixels,
    "brightness": lambda pixels, _: pixels,
    "jpeg": lambda pixels, _: jpeg(pixels, 75),
    "noise": lambda pixels, rng: noisy(pixels, 0.05, rng),
}
KINDS = ("shift", "crop", "mosaic", "jpeg", "noise", "brightness")
