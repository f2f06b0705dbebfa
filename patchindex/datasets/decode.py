"""Pixels of an image file, of its bytes, or of an image that Pillow holds."""

import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from einops import rearrange
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image, ImageOps, UnidentifiedImageError

from patchindex.datasets.resize import Size
from patchindex.errors import DatasetError

ImageSource = Path | io.BytesIO | Image.Image
# as torchvision's ImageFolder has them
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N")
# what Pillow raises on damaged files, by format and place of the damage
DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
_NOISE = re.compile(r" \(\d+ bytes not processed\)")  # which tells nobody anything
MOST_NAMED = 10  # of broken images, in one message


class UnreadableImageError(DatasetError):
    """An image that cannot be decoded.

    Attributes:
        reason: what is wrong with it, in words without its name.
    """

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"cannot read the image {place}: {reason}. Mend the file or take it away.")
        self.place, self.reason = place, reason

    def __reduce__(self) -> tuple[type["UnreadableImageError"], tuple[str, str]]:
        """What it is made of, for another process."""
        return UnreadableImageError, (self.place, self.reason)


def several_broken(
    root: Path, broken: Mapping[Path, UnreadableImageError], total: int
) -> DatasetError:
    """The error for the images of a folder that cannot be read: all of them, or the first ten."""
    if len(broken) == 1:
        return next(iter(broken.values()))
    named = [
        f"{path.relative_to(root)} ({error.reason})"
        for path, error in islice(broken.items(), MOST_NAMED)
    ]
    more = f", and {len(broken) - MOST_NAMED:,} more" if len(broken) > MOST_NAMED else ""
    return DatasetError(
        f"{len(broken):,} of {total:,} images in {root} cannot be read: {', '.join(named)}{more}. "
        "Mend the files or take them away."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageHeader:
    """What an image file says of itself before its pixels are decoded.

    Attributes:
        is_animated: it holds several pictures, as animations and stacks of pages do.
    """

    path: Path
    channels: int
    height: int
    width: int
    is_animated: bool = False


def read_header(path: Path) -> ImageHeader:
    """Channels (1 for grey, 3 for everything else) and size, seen upright.

    Raises:
        DatasetError: the file is not an image that we can read.
    """
    with _opened(path) as image:
        channels = _own_channels(image)
        width, height = image.size
        if _is_lying(image):
            width, height = height, width
        is_animated = getattr(image, "is_animated", False)  # some formats never are
        return ImageHeader(
            path=path, channels=channels, height=height, width=width, is_animated=is_animated
        )


def decode_image(
    source: ImageSource, *, channels: int | None = None, name: str | None = None
) -> UInt8[ndarray, "c h w"]:
    """Pixels of an image file, upright, as grey (1) or RGB (3) values.

    16-bit grey is scaled to 8 bits, transparency is laid over white, palettes are looked up. Of an
    animation the first picture is taken.

    Args:
        source: the file, its bytes, or an image that Pillow holds, which stays open.
        channels: 1 or 3; None for the image's own.
        name: what errors call it, if not by its path.

    Raises:
        DatasetError: there is no such file, it is not an image, or it is damaged.
    """
    with _opened(source, name) as image:
        wanted = channels or _own_channels(image)
        upright = ImageOps.exif_transpose(image) if "exif" in image.info else image
        opaque = _over_white(_eight_bit(upright))
        values = np.array(opaque.convert("L" if wanted == 1 else "RGB"))
    return rearrange(values.reshape(*values.shape[:2], wanted), "h w c -> c h w")


def _own_channels(image: Image.Image) -> int:
    """1 for grey, 3 for everything else."""
    return 1 if image.mode in GREY_MODES else 3


def mixed_sizes(one: tuple[str, Size], other: tuple[str, Size]) -> DatasetError:
    """The error for images that should be of one size, with the names of two that are not."""
    (name, (height, width)), (second, (high, wide)) = one, other
    return DatasetError(
        f"the images have different sizes: {name} is {height}x{width}, {second} is {high}x{wide} "
        "(height x width). `native` needs images of one size; give --resolution 64, say, to resize "
        "all of them (in Python: resolution=64)."
    )


@contextmanager
def _opened(source: ImageSource, name: str | None = None) -> Iterator[Image.Image]:
    """The image file, closed afterwards; whatever is wrong with it is a DatasetError."""
    try:
        # Pillow warns of metadata that it skips and of sizes below those that it refuses, neither
        # of which harms the pixels, and before it raises
        with warnings.catch_warnings(action="ignore"), _held(source) as image:
            if 0 in image.size:
                raise ValueError("it has no pixels")
            yield image
    except DAMAGE as error:
        raise UnreadableImageError(f"{name or source}", _reason(error)) from error


def _reason(error: Exception) -> str:
    """What is wrong with an image, without what its name or nobody tells."""
    if isinstance(error, UnidentifiedImageError):
        return "it is not an image, or of no known kind"
    return _NOISE.sub("", str(error)) or type(error).__name__


def _held(source: ImageSource) -> AbstractContextManager[Image.Image]:
    """The image, which is closed afterwards if it is opened here."""
    return nullcontext(source) if isinstance(source, Image.Image) else Image.open(source)


def _is_lying(image: Image.Image) -> bool:
    """Whether the camera's orientation tag says that rows are to become columns."""
    if image.format == "TIFF":  # which Pillow turns by itself; older versions tell another size
        tags = image.getexif()
        return tags.get(274) in (5, 6, 7, 8) and image.size == (tags.get(256), tags.get(257))
    # getexif alone would decode a whole PNG file to look for one
    return "exif" in image.info and image.getexif().get(274) in (5, 6, 7, 8)


def _eight_bit(image: Image.Image) -> Image.Image:
    """The image with 8 bits per value; Pillow's own conversion of 16-bit grey clips at 255."""
    if image.mode == "F":
        raise ValueError("its pixels are floating point numbers, not 8 or 16 bit integers")
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("its pixels are 32 bit integers outside 0..65535")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _over_white(image: Image.Image) -> Image.Image:
    """The image as a viewer with a white background shows it."""
    if not image.has_transparency_data:
        return image
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
