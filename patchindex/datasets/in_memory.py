"""Images that a program has: arrays and tensors, lists, and map datasets such as torchvision's."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Shaped, UInt8
from numpy import ndarray
from PIL import Image
from torch import Tensor

from patchindex.choices import Crop
from patchindex.datasets.examples import Example, load_examples
from patchindex.datasets.resize import Size, report_shapes, resize_images
from patchindex.errors import DatasetError
from patchindex.image_arrays import (
    USUAL_CHANNELS,
    Layout,
    LoadedImages,
    channels_first,
    checked_labels,
)

logger = logging.getLogger(__name__)

ValueRange = tuple[float | int, float | int]
"""The values that stand for black and white."""

SLACK = 1e-3  # of the range, by which values may lie outside: rounding, and no other range
BLOCK_IMAGES = 4096
SEVERAL = 4  # axes of an array of images
OF_FLOATS = "value_range=(0, 1) or value_range=(-1, 1), what black and white are"


def uint8_levels(
    values: Shaped[Tensor, "*shape"] | Shaped[ndarray, "*shape"],
    value_range: ValueRange | None,
    what: str = "images",
) -> UInt8[ndarray, "*shape"]:
    """Values as 0..255, rounded to the nearest; uint8 stays as it is, without a copy.

    Args:
        value_range: what floating point values stand for black and for white.
        what: errors call them.

    Raises:
        DatasetError: another type, no range where one is needed or one where none is, or values
            beyond it.
    """
    array = _as_array(values)
    if array.dtype == np.uint8:
        if value_range is not None:
            raise DatasetError(
                f"{what} are uint8, whose range is 0..255, but value_range is {value_range}. "
                "Leave value_range out."
            )
        return array
    if not np.issubdtype(array.dtype, np.floating):
        raise DatasetError(
            f"{what} are {array.dtype}. Give uint8 values 0..255, or floating point with "
            f"{OF_FLOATS}."
        )
    low, high = _checked_range(value_range, what)
    levels = np.empty(array.shape, dtype=np.uint8)
    step = BLOCK_IMAGES if array.ndim == SEVERAL else max(1, len(array) if array.ndim else 1)
    for start in range(0, len(array), step):
        shares = (array[start : start + step].astype(np.float64) - low) / (high - low)
        if shares.size and not (shares.min() >= -SLACK and shares.max() <= 1 + SLACK):  # or nan
            raise DatasetError(
                f"{what} have values from {array.min():g} to {array.max():g}, but value_range is "
                f"({low:g}, {high:g}). Give finite values in the range that you name."
            )
        levels[start : start + step] = np.rint(shares.clip(0, 1) * 255)
    return levels


def _as_array(values: Tensor | ndarray) -> ndarray:
    """The values in memory that NumPy can read."""
    if not isinstance(values, Tensor):
        return np.asanyarray(values)
    held = values.detach().cpu()
    return (held.float() if held.dtype in (torch.bfloat16, torch.float16) else held).numpy()


def _checked_range(value_range: ValueRange | None, what: str) -> tuple[float, float]:
    """Two finite numbers, the lower first."""
    if value_range is None:
        raise DatasetError(f"{what} are floating point. Give {OF_FLOATS}.")
    low, high = value_range
    if not (isfinite(low) and isfinite(high) and low < high):
        raise DatasetError(f"value_range is {value_range}. Give {OF_FLOATS}.")
    return float(low), float(high)


@runtime_checkable
class MapDataset(Protocol):
    """What has a length and items by number, such as torchvision's datasets."""

    def __len__(self) -> int:
        """How many items there are."""
        ...

    def __getitem__(self, index: int, /) -> Any:
        """An item: an image, or an image and its label."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """Items by number as examples.

    Attributes:
        parts: image, label and file of an item, by its number.
        count: how many are taken.
        value_range, layout: of arrays and tensors among the images.
    """

    parts: Callable[[int], tuple[Any, int | str | None, str | None]]
    count: int
    value_range: ValueRange | None = None
    layout: Layout | None = None

    def __len__(self) -> int:
        """How many there are."""
        return self.count

    def __iter__(self) -> Iterator[Example]:
        """One after another."""
        for number in range(self.count):
            image, label, file = self.parts(number)
            place = f"image {number}"
            yield Example(
                image=image if isinstance(image, Image.Image) else self._pixels(image, place),
                place=place,
                label=label,
                file=file,
            )

    def _pixels(self, image: Any, place: str) -> UInt8[ndarray, "c h w"]:
        """The pixels of an array or a tensor."""
        if not isinstance(image, Tensor | ndarray):
            raise DatasetError(
                f"{place} is a {type(image).__name__}. Give images of Pillow, NumPy arrays or "
                "torch tensors."
            )
        levels = uint8_levels(image, self.value_range, place)
        return _channels_first(levels, isinstance(image, Tensor), self.layout, place)


def _channels_first(
    levels: UInt8[ndarray, "..."], is_tensor: bool, layout: Layout | None, place: str
) -> UInt8[ndarray, "c h w"]:
    """One image as [c, h, w]: tensors are so unless told otherwise; of arrays, shapes tell."""
    if levels.ndim == 2:
        return levels[None]
    likely = [axis for axis in (0, -1) if levels.ndim == 3 and levels.shape[axis] in USUAL_CHANNELS]
    if layout is None and len(likely) > 1 and is_tensor:
        likely = [0]
    if layout is not None:
        likely = [axis for axis in likely if axis == {"nchw": 0, "nhwc": -1}[layout]]
    if len(likely) != 1 or 0 in levels.shape:
        raise DatasetError(
            f"{place} has shape {levels.shape}. Give [h, w], or [c, h, w] or [h, w, c] with 1 or 3 "
            "channels; where both can be meant, say layout='nchw' or layout='nhwc'."
        )
    return levels if likely[0] == 0 else rearrange(levels, "h w c -> c h w")


def load_given(
    images: Any,
    labels: Any = None,
    *,
    size: Size | None = None,
    crop: Crop = "none",
    value_range: ValueRange | None = None,
    layout: Layout | None = None,
) -> LoadedImages:
    """Images of a program: one array or tensor of several, or a list; see `ImageSet.from_images`.

    Raises:
        DatasetError: none, or what are no images; see `uint8_levels` and `load_examples`.
    """
    if not isinstance(images, Tensor | ndarray):
        count = len(images)
        numbers = None if labels is None else list(labels)
        if numbers is not None and len(numbers) != count:
            raise DatasetError(
                f"there are {len(numbers)} labels for {count} images. Give one for each."
            )
        items = Items(
            parts=lambda i: (images[i], plain_label(numbers[i]) if numbers else None, None),
            count=count, value_range=value_range, layout=layout,
        )  # fmt: skip
        return load_examples(items, name="images", size=size, crop=crop)
    levels = uint8_levels(images, value_range)
    if levels.ndim == SEVERAL - 1:
        levels = levels[:, None]
    if levels.ndim != SEVERAL or 0 in levels.shape:
        raise DatasetError(
            f"images have shape {levels.shape}. Give at least one, as [n, c, h, w], [n, h, w, c] "
            "or [n, h, w]."
        )
    pixels = channels_first(levels, layout)
    report_shapes("images", {pixels.shape[2:]: len(pixels)}, size, crop)
    return LoadedImages(
        pixels=pixels if size is None else resize_images(pixels, size, crop),
        labels=None if labels is None else checked_labels(np.asarray(labels), len(pixels)),
        name="images",
    )


def load_map(
    dataset: MapDataset,
    *,
    name: str,
    size: Size | None = None,
    crop: Crop = "none",
    limit: int | None = None,
    image: str | int | None = None,
    label: str | int | None = None,
    value_range: ValueRange | None = None,
) -> LoadedImages:
    """The images of a map dataset in its order; see `load_examples`.

    Class names are those of its `classes`, files those of its `samples`, as torchvision has them.

    Args:
        limit: keep the first so many.
        image, label: keys or positions in an item; None for the first and second of a tuple, and
            `image` and `label` of a mapping.

    Raises:
        DatasetError: an item is no image, or has no such part.
    """
    files = _files_of(dataset)
    is_class = _label_is_class(dataset, label) if len(dataset) else False
    if not is_class and label is None:
        logger.info("%s: its items have no number or name of a class", name)

    def parts(number: int) -> tuple[Any, int | str | None, str | None]:
        item = dataset[number]
        value = plain_label(_part(item, label, 1, "label", number)) if is_class else None
        file = None if files is None else files[number]
        return _part(item, image, 0, "image", number), value, file

    count = len(dataset) if limit is None else min(limit, len(dataset))
    items = Items(parts=parts, count=count, value_range=value_range)
    names = getattr(dataset, "classes", None)
    plain = isinstance(names, list | tuple) and all(isinstance(each, str) for each in names)
    return load_examples(
        items, name=name, size=size, crop=crop, class_names=tuple(names or ()) if plain else ()
    )


def _part(item: Any, key: str | int | None, position: int, usual: str, number: int) -> Any:
    """A part of an item, by its key or position.

    Raises:
        DatasetError: there is none.
    """
    if isinstance(item, Mapping):
        key = usual if key is None else key
    elif isinstance(item, tuple | list):
        key = position if key is None else key
    elif position == 0 and key is None:
        return item
    try:
        return item[key]
    except (LookupError, TypeError) as error:
        known = f"keys {', '.join(map(str, item))}" if isinstance(item, Mapping) else "no such part"
        raise DatasetError(
            f"item {number} has no {usual} at {key!r}, but {known}. Say where it is: "
            f"{usual}=KEY or {usual}=POSITION."
        ) from error


def _label_is_class(dataset: MapDataset, label: str | int | None) -> bool:
    """Whether the first item has a number or name of a class.

    Raises:
        DatasetError: it has none where one was asked for.
    """
    first = dataset[0]
    asked = label is not None
    try:
        found = plain_label(_part(first, label, 1, "label", 0))
    except DatasetError:
        if asked:
            raise
        return False
    if found is None and asked:
        raise DatasetError(
            f"the label at {label!r} of item 0 is no number or name of a class. Give another "
            "label=, or leave it out."
        )
    return found is not None


def plain_label(label: Any) -> int | str | None:
    """A label as a number or a text; None for what is neither."""
    if isinstance(label, Tensor | ndarray | np.generic) and label.ndim == 0:
        label = label.item()
    return label if isinstance(label, int | str) else None


def _files_of(dataset: object) -> list[str] | None:
    """The files of a dataset that lists (file, class), as torchvision's folders do."""
    listed = getattr(dataset, "samples", None)
    if not isinstance(listed, list) or not hasattr(dataset, "loader"):
        return None
    return [str(file) for file, *_ in listed]
