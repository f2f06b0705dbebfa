"""A set of training images: uint8 pixels, labels, class names, and the hash that names them."""

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Integer, Shaped, UInt8
from numpy import ndarray
from torch import Tensor

from patchindex.choices import Crop
from patchindex.crew import LOCAL, Crew
from patchindex.datasets import (
    ValueRange,
    checked_limit,
    is_hugging_face,
    load_given,
    load_hugging_face,
    load_images,
    load_map,
    parse_crop,
    parse_resolution,
)
from patchindex.device import Device, default_device
from patchindex.errors import DatasetError
from patchindex.file_names import image_title, one_line, printable
from patchindex.image_arrays import Layout, LoadedImages, channels_first, checked_labels
from patchindex.png import MOST_SHOWN, first_of, html_block

HASH_BLOCK_IMAGES = 4096
HALF_RANGE = 127.5  # gray levels per unit


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ImageSet:
    """Training images in memory or memory-mapped; build one with `from_array` or `load`.

    Attributes:
        pixels: 0..255; a memory map stays on disk until it is read.
        labels: class number of each image, or None.
        class_names: name of class i at position i; empty if the classes have no names.
        names: file of each image below the folder that they come from, or None.
        name: where the images come from, for people.
        crop: what was cut off before images got their size: nothing, or what lies outside the
            centered rectangle of the new aspect ratio.
        device: where states are computed whose machines sum over these images, and copies of the
            pixels are kept.
        crew: who does the work of machines that sum over these images.
    """

    pixels: UInt8[ndarray, "n c h w"]
    labels: Int[ndarray, " n"] | None = None
    class_names: tuple[str, ...] = ()
    names: Sequence[str] | None = None
    name: str = "array"
    crop: Crop = "none"
    device: Device = field(default_factory=default_device)
    crew: Crew = LOCAL

    @classmethod
    def from_array(
        cls,
        array: UInt8[ndarray, "n _ _ _"],
        labels: Integer[ndarray, " n"] | Sequence[int] | None = None,
        *,
        class_names: Sequence[str] = (),
        names: Sequence[str] | None = None,
        name: str = "array",
        layout: Layout | None = None,
    ) -> "ImageSet":
        """Wrap uint8 images [n, c, h, w], without a copy where memory has them in this order.

        Args:
            names: file of each image, or anything that tells one from another, without zero bytes.
            layout: "nhwc" for channels on the last axis. None takes them to be on the second, and
                refuses shapes that look otherwise; "nchw" takes any shape.

        Raises:
            DatasetError: another dtype or number of axes, no image at all, an axis of channels that
                looks like another, or labels that do not match the images.
        """
        pixels = np.asanyarray(array)
        if pixels.dtype != np.uint8 or pixels.ndim != 4:
            raise DatasetError(
                f"images are {pixels.dtype} with shape {pixels.shape}. "
                "Give uint8 values 0..255 with shape [images, channels, height, width]."
            )
        if 0 in pixels.shape:
            raise DatasetError(f"images have shape {pixels.shape}. Give at least one image.")
        pixels = channels_first(pixels, layout)
        if names is not None and (len(names) != len(pixels) or any("\0" in n for n in names)):
            raise DatasetError(
                f"there are {len(names)} names for {len(pixels)} images. Give one for each, "
                "without zero bytes."
            )
        return cls(
            # torch takes no negative strides, and kernels read fastest what lies in order
            pixels=pixels if pixels.flags.c_contiguous else np.ascontiguousarray(pixels),
            labels=checked_labels(labels, len(pixels)),
            class_names=tuple(class_names),
            names=None if names is None else tuple(names),
            name=name,
        )

    @classmethod
    def from_images(
        cls,
        images: Any,
        labels: Any = None,
        *,
        class_names: Sequence[str] = (),
        names: Sequence[str] | None = None,
        name: str = "images",
        layout: Layout | None = None,
        value_range: ValueRange | None = None,
        resolution: int | str | None = None,
        crop: str | None = None,
    ) -> "ImageSet":
        """Images that a program has: a tensor or an array of several, or a list.

        Lists may hold images of Pillow, which are read as the files of a folder are, NumPy arrays
        and torch tensors, of any sizes if there is a resolution.

        Args:
            images: [n, c, h, w] or [n, h, w], or a list of images, [c, h, w] or [h, w]; arrays of
                a list may be [h, w, c].
            labels: number of each image's class; of a list also its name.
            class_names, names, layout: as for `from_array`.
            value_range: black and white of floating point values, as (0, 1); uint8 needs none.
            resolution, crop: as for `load`.

        Raises:
            DatasetError: what are no images, values beyond the range or without one, or images of
                several sizes and no resolution.

        Example:
            >>> ImageSet.from_images(tensor, value_range=(-1, 1))
            >>> ImageSet.from_images([Image.open(path) for path in paths], resolution=64)
        """
        size = parse_resolution(resolution, default=None)
        cut = parse_crop(crop, size)
        found = load_given(
            images, labels, size=size, crop=cut, value_range=value_range, layout=layout
        )
        found = replace(found, name=name, crop=cut, names=None if names is None else tuple(names))
        return cls._of(found, tuple(class_names) or found.class_names)

    @classmethod
    def from_dataset(
        cls,
        dataset: Any,
        *,
        image: str | int | None = None,
        label: str | int | None = None,
        limit: int | None = None,
        resolution: int | str | None = None,
        crop: str | None = None,
        value_range: ValueRange | None = None,
        name: str | None = None,
    ) -> "ImageSet":
        """The images of a Hugging Face `Dataset`, or of a map dataset such as torchvision's.

        Of the first, columns of images and labels are found by their features, and transforms are
        left aside; items of the second are an image, or an image and its label, as its transform
        makes them. Names of classes and files come along where there are any.

        Args:
            image, label: columns of the first; positions or keys in an item of the second.
            limit, resolution, crop: as for `load`.
            value_range: as for `from_images`.
            name: where the images come from; None for the name of the dataset's class.

        Raises:
            DatasetError: it holds no images; see `from_images`.

        Example:
            >>> ImageSet.from_dataset(datasets.load_dataset("cifar10", split="train"))
            >>> ImageSet.from_dataset(torchvision.datasets.CIFAR10(root), resolution=16)
        """
        size = parse_resolution(resolution, default=None)
        settings: dict[str, Any] = {
            "name": name or type(dataset).__name__, "size": size, "crop": parse_crop(crop, size),
            "limit": checked_limit(limit), "image": image, "label": label,
        }  # fmt: skip
        if is_hugging_face(dataset):
            found = load_hugging_face(dataset, **settings)
        else:
            found = load_map(dataset, **settings, value_range=value_range)
        return cls._of(found, found.class_names)

    @classmethod
    def load(
        cls,
        source: str,
        *,
        resolution: int | str | None = None,
        crop: str | None = None,
        limit: int | None = None,
    ) -> "ImageSet":
        """Load a dataset by name, or a source of images that a text tells.

        Args:
            source: a name of `patchindex datasets`; `folder:PATH`, `npz:PATH`, `parquet:PATH` or
                `webdataset:PATH`, of which the last two take a file, a folder, a pattern, or braces
                as in `train-{000..146}.tar`; `hf:NAME` or `hf:NAME:SPLIT`, of Hugging Face.
            resolution: side in pixels that images are resized to, "HEIGHTxWIDTH" as "48x32", or
                "native" to keep their size. None takes the dataset's own default (32 for the
                named ones).
            crop: "center" cuts the largest centered rectangle of the new aspect ratio out of each
                image before it is resized; "none" stretches images of another ratio. None takes the
                dataset's own default ("center" for CelebA, else "none").
            limit: keep the first so many images.
        """
        found = load_images(source, resolution=resolution, crop=crop, limit=limit)
        return cls._of(found, tuple(printable(name) for name in found.class_names))

    @classmethod
    def _of(cls, found: LoadedImages, class_names: tuple[str, ...]) -> "ImageSet":
        """What a reader found."""
        images = cls.from_array(
            found.pixels, found.labels, class_names=class_names, names=found.names, name=found.name,
            layout="nchw",
        )  # fmt: skip
        return replace(images, crop=found.crop)

    def __len__(self) -> int:
        return len(self.pixels)

    def __repr__(self) -> str:
        n, c, h, w = self.pixels.shape
        labels = "no labels" if self.labels is None else f"{self.num_classes} classes"
        return f"ImageSet({self.name}: {n:,} images of {c} x {h} x {w}, {labels})"

    def _repr_html_(self) -> str:
        """A line, and images from all over the set, as notebooks show them."""
        spread = np.linspace(0, len(self) - 1, min(len(self), MOST_SHOWN)).astype(int)
        return html_block(repr(self), {"": first_of(np.asarray(self.pixels[spread]))})

    @property
    def images(self) -> "ImageSet":
        """The set itself, so that an image set and an index of one are asked alike."""
        return self

    @property
    def channels(self) -> int:
        """1 for grey images, 3 for colour."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Rows of pixels."""
        return int(self.pixels.shape[2])

    @property
    def width(self) -> int:
        """Columns of pixels."""
        return int(self.pixels.shape[3])

    @property
    def num_classes(self) -> int:
        """Labels are below this; 0 without labels."""
        return 0 if self.labels is None else max(len(self.class_names), int(self.labels.max()) + 1)

    @property
    def tensor(self) -> UInt8[Tensor, "n c h w"]:
        """The pixels as a tensor that shares their memory; it is for reading only."""
        return shared_tensor(self.pixels)

    @cached_property
    def sha256(self) -> str:
        """Hash of shape, pixels and labels: equal hashes mean the same training set."""
        digest = hashlib.sha256(repr(self.pixels.shape).encode())
        for start in range(0, len(self), HASH_BLOCK_IMAGES):
            block = self.pixels[start : start + HASH_BLOCK_IMAGES]
            digest.update(np.ascontiguousarray(block).data)
        if self.labels is not None:
            digest.update(np.ascontiguousarray(self.labels, dtype="<i8").data)
        return digest.hexdigest()

    def file_name(self, image: int) -> str | None:
        """The printable name of an image's file, below the folder; None if images have no names.

        Raises:
            StoreError: the index that holds them is damaged.
        """
        return None if self.names is None else printable(self.names[image])

    def title(self, image: int, longest: int | None = None) -> str:
        """What people call an image; see `patchindex.file_names.image_title`."""
        return image_title(image, self.file_name(image), longest)

    def label_of(self, image: int) -> int | None:
        """The class number of an image; None without labels."""
        return None if self.labels is None else int(self.labels[image])

    def class_name(self, label: int | None) -> str | None:
        """The printable name of a class; None for None, and where classes have no names."""
        if label is None or not 0 <= label < len(self.class_names):
            return None
        return one_line(self.class_names[label])

    def label_indices(self, label: int | None) -> Int[ndarray, " m"]:
        """Positions of the images with this label, ascending; of all images for None.

        Raises:
            DatasetError: no image has the label.
        """
        if label is None:
            return np.arange(len(self))
        if self.labels is None:
            raise DatasetError(
                f"label {label} was asked for, but the images of {self.name} have no labels. "
                "Leave the label out, or give images with labels."
            )
        found = np.flatnonzero(self.labels == label)
        if not len(found):
            known = ", ".join(str(value) for value in np.unique(self.labels))
            raise DatasetError(
                f"no image of {self.name} has label {label}. Give one of these labels: {known}."
            )
        return found

    def count(self, label: int | None) -> int:
        """How many images have this label; all for None.

        Raises:
            DatasetError: no image has the label.
        """
        return len(self) if label is None else len(self.label_indices(label))

    def with_label(self, label: int | None) -> "ImageSet":
        """The images of one class, in their order; the set itself for None."""
        if label is None:
            return self
        chosen = self.label_indices(label)
        return ImageSet(
            pixels=self.pixels[chosen],
            labels=None if self.labels is None else self.labels[chosen],
            class_names=self.class_names,
            names=None if self.names is None else tuple(self.names[i] for i in chosen.tolist()),
            name=f"{self.name}, label {label}",
            crop=self.crop,
            device=self.device,
            crew=self.crew,
        )

    def with_device(self, device: Device) -> "ImageSet":
        """The same images, of which copies are kept on this device."""
        return replace(self, device=device)

    @cached_property
    def brightness(self) -> Float[ndarray, " n"]:
        """Mean pixel value of every image."""
        means: Float[ndarray, " n"] = self.pixels.mean(axis=(1, 2, 3))
        return means

    @cached_property
    def pixel_spread(self) -> float:
        """Standard deviation of the pixels in [-1, 1] units, from a thousand images."""
        return float(to_unit(np.asarray(self.pixels[:: 1 + len(self) // 1000])).std())

    def pixels_on(self, place: torch.device, label: int | None = None) -> UInt8[Tensor, "n c h w"]:
        """The pixels of all images, or of a class; on the host if they do not fit on the device.

        Raises:
            DatasetError: no image has the label.
        """
        if place.type == "cpu":
            return self.with_label(label).tensor
        num_bytes = len(self.label_indices(label)) * self.pixels[0].nbytes
        kept = self.device.at(place).keep(
            (self, label), num_bytes, lambda: self.with_label(label).tensor.to(place), images=True
        )
        return self.with_label(label).tensor if kept is None else kept


def to_unit(pixels: UInt8[ndarray, "*shape"] | UInt8[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Pixels 0..255 as float32 in [-1, 1]; black is -1, and 0 lies between grey 127 and 128."""
    levels = pixels if isinstance(pixels, Tensor) else shared_tensor(pixels)
    return levels.float().div_(HALF_RANGE).sub_(1)


def shared_tensor(array: Shaped[ndarray, "*shape"]) -> Shaped[Tensor, "*shape"]:
    """A tensor that shares the array's memory; it is for reading only."""
    with warnings.catch_warnings():
        # torch warns of arrays that may not be written to, as memory maps are; no kernel writes
        warnings.filterwarnings("ignore", message=".*not writable", category=UserWarning)
        return torch.from_numpy(np.asarray(array))


def to_uint8(unit: Float[Tensor, "*shape"]) -> UInt8[ndarray, "*shape"]:
    """Values in [-1, 1] as the nearest of 0..255, for pictures; values outside are clipped."""
    return ((unit.clamp(-1, 1) + 1) * HALF_RANGE).round().to(torch.uint8).cpu().numpy()
