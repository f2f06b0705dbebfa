"""Images of any source, one after another: decoded, resized and stacked, with labels and names."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, UInt8
from numpy import ndarray

from patchindex.choices import Crop
from patchindex.datasets.decode import ImageSource, decode_image, mixed_sizes
from patchindex.datasets.resize import Size, report_shapes, stack_resized
from patchindex.errors import DatasetError
from patchindex.image_arrays import LoadedImages

logger = logging.getLogger(__name__)

UNLABELED = -1  # how Hugging Face's test sets say that there is no label


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """An image as its source has it.

    Attributes:
        image: a file, its bytes, an image that Pillow holds, or grey or RGB pixels.
        place: what errors call it, such as `row 7 of train.parquet`.
        label: number or name of its class; None if it has none.
        file: name of its file; None if it has none.
    """

    image: ImageSource | UInt8[ndarray, "c h w"]
    place: str
    label: int | str | None = None
    file: str | None = None


@runtime_checkable
class Examples(Protocol):
    """Examples in their order, as often as they are asked for."""

    def __len__(self) -> int:
        """How many there are; a source that ends earlier has fewer."""
        ...

    def __iter__(self) -> Iterator[Example]:
        """From the first to the last."""
        ...


def load_examples(
    examples: Examples,
    *,
    name: str,
    size: Size | None = None,
    crop: Crop = "none",
    class_names: Sequence[str] = (),
) -> LoadedImages:
    """The images of a source in its order: grey if all are, else RGB.

    They are decoded once, and resized in small blocks, so that memory is needed for the result.

    Args:
        name: of the source, for people.
        size, crop: as for `load_image_folder`.
        class_names: name of class i at position i. Without any, labels that are texts become
            classes in the order of their bytes.

    Raises:
        DatasetError: no image, one that cannot be read, images of several sizes and no `size`, or
            labels that not all have, or that are no numbers or names of classes.
    """
    first = next(iter(examples), None)
    if first is None:
        raise DatasetError(f"there is no image in {name}. Give a source with at least one.")
    reader = _Reader(size=size)
    height, width = size or _pixels_of(first).shape[1:]
    logger.info("%s: reading %d images", name, len(examples))
    pixels = stack_resized(examples, reader, shape=(3, height, width), crop=crop)
    report_shapes(name, reader.sizes, size, crop)
    labels, names = reader.classes(class_names)
    return LoadedImages(
        pixels=pixels if reader.has_color else np.ascontiguousarray(pixels[:, :1]),
        labels=labels,
        class_names=names,
        names=below_common_folder(reader.files) if len(reader.files) == len(pixels) else None,
        name=name,
        crop=crop,
    )


def _pixels_of(example: Example) -> UInt8[ndarray, "c h w"]:
    """The pixels of an image, decoded if need be."""
    image = example.image
    return image if isinstance(image, ndarray) else decode_image(image, name=example.place)


@dataclass(slots=True, kw_only=True)
class _Reader:
    """Decodes examples, and notes what it meets.

    Attributes:
        size: that images get; None if all must have one.
        has_color: whether any image was not grey.
        sizes: how many images have each height and width.
        first: place and size of the first image.
        labels, files: of the images that have any.
        labeled, bare: places of the first image with a label, and without one.
    """

    size: Size | None
    has_color: bool = False
    sizes: Counter[Size] = field(default_factory=Counter)
    first: tuple[str, Size] | None = None
    labels: list[int | str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    labeled: str | None = None
    bare: str | None = None

    def __call__(self, example: Example) -> UInt8[ndarray, "3 h w"]:
        """The pixels of the next image; all channels of a grey one are equal.

        Raises:
            DatasetError: it cannot be read, or has another size than the first if all must have
                one.
        """
        pixels = _pixels_of(example)
        channels, height, width = pixels.shape
        own = (height, width)
        self.first = self.first or (example.place, own)
        if self.size is None and own != self.first[1]:
            raise mixed_sizes(self.first, (example.place, own))
        self.has_color |= channels != 1
        self.sizes[own] += 1
        if example.file is not None:
            self.files.append(example.file)
        if example.label is None or example.label == UNLABELED:
            self.bare = self.bare or example.place
        else:
            self.labels.append(example.label)
            self.labeled = self.labeled or example.place
        return np.broadcast_to(pixels, (3, height, width))

    def classes(
        self, class_names: Sequence[str]
    ) -> tuple[Int[ndarray, " n"] | None, tuple[str, ...]]:
        """The labels as numbers, and the names of the classes; nothing without labels.

        Raises:
            DatasetError: some images have none, or some have numbers and others texts.
        """
        if not self.labels:
            return None, ()
        if self.bare is not None:
            raise DatasetError(
                f"{self.labeled} has a label, but {self.bare} has none. Give each image one, or "
                "none of them."
            )
        texts = {label for label in self.labels if isinstance(label, str)}
        if not texts:
            return np.asarray(self.labels), tuple(class_names)
        if any(not isinstance(label, str) for label in self.labels):
            raise DatasetError(
                f"labels are numbers and texts, such as {sorted(texts)[0]!r}. Give numbers of "
                "classes or their names, not both."
            )
        order = tuple(class_names) or tuple(sorted(texts, key=_name_bytes))
        numbers = {text: number for number, text in enumerate(order)}
        return np.asarray([numbers[str(label)] for label in self.labels]), order


def _name_bytes(name: str) -> bytes:
    """What decides on the order of names, whatever the language; lone surrogates, too."""
    return name.encode("utf-8", "surrogatepass")


def below_common_folder(files: Sequence[str]) -> tuple[str, ...]:
    """The names without the folder that all of them lie in.

    Example:
        >>> below_common_folder(["/photos/cats/tom.png", "/photos/rex.png"])
        ('cats/tom.png', 'rex.png')
    """
    folders = [file.split("/")[:-1] for file in files]
    first, last = min(folders), max(folders)
    shared = 0
    while shared < min(len(first), len(last)) and first[shared] == last[shared]:
        shared += 1
    start = sum(len(part) + 1 for part in first[:shared])
    return tuple(file[start:] for file in files)
