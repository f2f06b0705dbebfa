"""Image sizes: reading what the user asked for, cropping, and resizing as the paper's code does."""

import logging
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Protocol, TypeVar, cast, get_args, runtime_checkable

import numpy as np
import torch
from einops import rearrange
from jaxtyping import UInt8
from numpy import ndarray

from patchindex.choices import Crop
from patchindex.crew import tell_share
from patchindex.errors import DatasetError

logger = logging.getLogger(__name__)

BLOCK_BYTES = 2**25

Size = tuple[int, int]
"""Height and width in pixels."""

Item = TypeVar("Item")
EachItem_co = TypeVar("EachItem_co", covariant=True)


@runtime_checkable
class Counted(Protocol[EachItem_co]):
    """What has a length and can be iterated over, such as a list."""

    def __len__(self) -> int:
        """How many items there are."""
        ...

    def __iter__(self) -> Iterator[EachItem_co]:
        """The items in their order."""
        ...


def parse_resolution(resolution: int | str | None, *, default: Size | None) -> Size | None:
    """The size asked for; None means that images keep theirs.

    Args:
        resolution: 32 or "32" (a square), "48x32" (height x width), "native", or None.
        default: what a resolution of None stands for.

    Raises:
        DatasetError: anything else.
    """
    if resolution is None:
        return default
    text = str(resolution).strip().lower()
    if text == "native":
        return None
    found = re.fullmatch(r"([1-9][0-9]{0,5})(?:x([1-9][0-9]{0,5}))?", text)
    if found is None:
        raise DatasetError(
            f"resolution is {resolution!r}. Give a side in pixels such as 32, "
            "HEIGHTxWIDTH such as 48x32, or native."
        )
    height, width = found.groups()
    return int(height), int(width or height)


def parse_crop(crop: str | None, size: Size | None) -> Crop:
    """The crop asked for; None means none.

    Raises:
        DatasetError: there is no such crop, or images are to keep their size.
    """
    if crop not in (None, *get_args(Crop)):
        raise DatasetError(f"crop is {crop!r}. Give {' or '.join(get_args(Crop))}.")
    if crop == "center" and size is None:
        raise DatasetError(
            "crop center cuts images to the aspect ratio of a resolution, but none was given. "
            "Give --resolution too, as a side in pixels or as HEIGHTxWIDTH."
        )
    return cast(Crop, crop or "none")


def centered_size(old: Size, new: Size) -> Size:
    """Height and width of the largest rectangle in `old` with the aspect ratio of `new`, rounded.

    In whole numbers, so that it is the same on every machine.
    """
    (height, width), (new_height, new_width) = old, new
    fitting_height = (2 * width * new_height + new_width) // (2 * new_width)
    fitting_width = (2 * height * new_width + new_height) // (2 * new_height)
    return min(height, max(1, fitting_height)), min(width, max(1, fitting_width))


def report_shapes(name: str, sizes: Mapping[Size, int], size: Size | None, crop: Crop) -> None:
    """Log how many images are cut or stretched on their way to `size`, and from what shapes.

    Args:
        sizes: how many images have each height and width.
    """
    unlike = {old: n for old, n in sizes.items() if size and centered_size(old, size) != old}
    if size is None or not unlike:
        return
    ratios = sorted(width / height for height, width in unlike)
    shapes = f"{ratios[0]:.3g}" if len(ratios) == 1 else f"{ratios[0]:.3g} to {ratios[-1]:.3g}"
    told = (name, sum(unlike.values()), sum(sizes.values()), shapes, f"{size[1] / size[0]:.3g}")
    if crop == "center":
        logger.info(
            "%s: %d of %d images are cut from width / height %s to %s around their center", *told
        )
    else:
        logger.warning(
            "%s: %d of %d images are stretched from width / height %s to %s; "
            "--crop center cuts them instead", *told,
        )  # fmt: skip


def _crop_images(pixels: UInt8[ndarray, "n c h w"], size: Size) -> UInt8[ndarray, "n c h2 w2"]:
    """A view of the largest centered rectangle with the aspect ratio of `size`."""
    old_height, old_width = pixels.shape[2:]
    height, width = centered_size((old_height, old_width), size)
    top, left = (old_height - height) // 2, (old_width - width) // 2
    return pixels[:, :, top : top + height, left : left + width]


def resize_images(
    pixels: UInt8[ndarray, "n c h w"], size: Size, crop: Crop = "none"
) -> UInt8[ndarray, "n c h2 w2"]:
    """Images resized bilinearly with antialiasing, as torchvision's `Resize` does PIL images.

    Values differ from PIL's by one grey level at most. Images that already have this size come back
    as they are, not copied.
    """
    if crop == "center":
        pixels = _crop_images(pixels, size)
    n, c, *old_size = pixels.shape
    if (*old_size,) == size:
        return pixels
    # torchvision takes seconds to import, which no command should wait for that resizes nothing
    from torchvision.transforms import InterpolationMode  # noqa: PLC0415
    from torchvision.transforms.v2.functional import resize  # noqa: PLC0415

    resized = allocate((n, c, *size))
    step = max(1, BLOCK_BYTES // (c * max(size[0] * size[1], old_size[0] * old_size[1])))
    for start in range(0, n, step):
        # writable: torch warns of arrays that it must not write to
        block = np.require(pixels[start : start + step], requirements=["C", "W"])
        # one channel at a time: torch 2.15 fails on three when the result is a single pixel
        planes = rearrange(torch.from_numpy(block), "n c h w -> (n c) 1 h w")
        small = resize(planes, [*size], interpolation=InterpolationMode.BILINEAR, antialias=True)
        resized[start : start + step] = rearrange(small.numpy(), "(n c) 1 h w -> n c h w", c=c)
    return resized


def stack_resized(
    items: Counted[Item],
    decode: Callable[[Item], UInt8[ndarray, "c h w"]],
    *,
    shape: tuple[int, int, int],
    crop: Crop = "none",
) -> UInt8[ndarray, "n c2 h2 w2"]:
    """All images, decoded and resized in small blocks: memory for the result and one block.

    Args:
        items: what `decode` takes, such as paths. If there are fewer than their length says, fewer
            images come back.
        decode: gives an image with as many channels as `shape` has.
        shape: channels, height and width of the images that come back.
    """
    _, height, width = shape
    pixels = allocate((len(items), *shape))
    start = 0
    for block in _blocks_of_one_size(decode(item) for item in islice(items, len(items))):
        pixels[start : start + len(block)] = resize_images(block, (height, width), crop)
        start += len(block)
        tell_share(start / len(items))
    return pixels if start == len(items) else pixels[:start].copy()


def _blocks_of_one_size(
    images: Iterable[UInt8[ndarray, "c _h _w"]],
) -> Iterator[UInt8[ndarray, "m c h w"]]:
    """The images in their order, neighbors of one size together, about 2**25 bytes at a time."""
    block: list[UInt8[ndarray, "c h w"]] = []
    for image in images:
        full = len(block) * image.size >= BLOCK_BYTES
        if block and (full or image.shape != block[0].shape):
            yield np.stack(block)
            block = []
        block.append(image)
    if block:
        yield np.stack(block)


def allocate(shape: tuple[int, int, int, int]) -> UInt8[ndarray, "n c h w"]:
    """Room for images.

    Raises:
        DatasetError: there is not enough memory.
    """
    try:
        return np.empty(shape, dtype=np.uint8)
    except (MemoryError, ValueError) as error:  # the latter past the largest index
        n, _, height, width = shape
        raise DatasetError(
            f"{n} images of {height}x{width} pixels need {math.prod(shape) / 2**30:.0f} GiB of "
            "memory, which is not there. Give a smaller resolution or a limit."
        ) from error
