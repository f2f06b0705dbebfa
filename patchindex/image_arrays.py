"""Arrays of images and labels before they are an `ImageSet`: layouts, checks, reader results."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from einops import rearrange
from jaxtyping import Int, Integer, UInt8
from numpy import ndarray

from patchindex.choices import Crop
from patchindex.errors import DatasetError

LARGEST_LABEL = 2**63 - 1  # labels are int64
USUAL_CHANNELS = (1, 3)

Layout = Literal["nchw", "nhwc"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadedImages:
    """What a reader of files found; `ImageSet.load` makes an `ImageSet` of it.

    Attributes:
        class_names: of the files' folders, byte for byte; empty if the classes have no names.
        names: of the files, below their folder; None if images have none of their own.
        name: where the images come from, for people.
    """

    pixels: UInt8[ndarray, "n c h w"]
    labels: Int[ndarray, " n"] | None = None
    class_names: tuple[str, ...] = ()
    names: tuple[str, ...] | None = None
    name: str
    crop: Crop = "none"

    def __len__(self) -> int:
        return len(self.pixels)


def channels_first(
    pixels: UInt8[ndarray, "n _ _ _"], layout: Layout | None
) -> UInt8[ndarray, "n c h w"]:
    """A view of the images as [n, c, h, w].

    Raises:
        DatasetError: no such layout, or none was told and the last axis looks like the channels.
    """
    if layout not in (None, "nchw", "nhwc"):
        raise DatasetError(f"layout is {layout!r}. Give nchw or nhwc.")
    if layout == "nhwc":
        return rearrange(pixels, "n h w c -> n c h w")
    _, second, _, last = pixels.shape
    odd = second not in USUAL_CHANNELS and last in USUAL_CHANNELS
    if layout is None and (odd or last <= 4 < second):  # 2 and 4 are grey and color with alpha
        raise DatasetError(
            f"images have shape {pixels.shape}: as [images, channels, height, width] they have "
            f"{second} channels and {last} columns. If the channels are last, give layout='nhwc'; "
            "if they are not, give layout='nchw'."
        )
    return pixels


def checked_labels(
    labels: Integer[ndarray, " n"] | Sequence[int] | None, num_images: int
) -> Int[ndarray, " n"] | None:
    """Labels as int64, one per image."""
    if labels is None:
        return None
    array = np.asarray(labels)
    if array.shape != (num_images,) or not np.issubdtype(array.dtype, np.integer):
        raise mismatched_labels(array.shape, array.dtype, num_images)
    if array.size and not 0 <= int(array.min()) <= int(array.max()) <= LARGEST_LABEL:
        raise DatasetError(
            f"labels run from {array.min()} to {array.max()}. Give numbers of classes, from 0 to "
            f"{LARGEST_LABEL}; leave the labels out if there are no classes."
        )
    return array.astype(np.int64, copy=False)  # those of an index stay mapped


def mismatched_labels(
    shape: tuple[int, ...], dtype: np.dtype[Any], num_images: int
) -> DatasetError:
    """The error for labels that are not one whole number per image."""
    return DatasetError(
        f"labels are {dtype} with shape {shape}, but images are {num_images}. "
        "Give one whole number per image."
    )
