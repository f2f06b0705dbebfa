"""Pictures from files of any kind, with the shape and the values that an image set has."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from PIL import Image
from torch import Tensor

from patchindex import ImageSet
from patchindex.datasets import decode_image, resize_images
from patchindex.file_names import printable
from patchindex.images import to_unit
from patchindex.npy import is_file
from sampler.attribution.image_file import array_image, load_array
from sampler.errors import SamplerConfigError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PictureFile:
    """One picture from a file.

    Attributes:
        name: the file, and which one of several in it.
        image: in [-1, 1].
        resized_from: height and width that it had; None if it was not resized.
    """

    name: str
    image: Float[Tensor, "c h w"]
    resized_from: tuple[int, int] | None = None


def read_pictures(
    paths: Sequence[Path | str], images: ImageSet, *, resize: bool = False
) -> list[PictureFile]:
    """The pictures in PNG, JPEG or other picture files, and in .npy files of one or several.

    Of a folder all that it holds itself, in the order of their names.

    Args:
        images: whose channels, height and width they must have; colors are turned to grey, and grey
            to colors, where a picture file has the other.
        resize: picture files, and uint8 arrays, of another size are resized as images of a dataset
            are, and cut as these were.

    Raises:
        SamplerConfigError: there is no such file, or its shape or values are not the images' own.
        DatasetError: a file cannot be read as a picture.
    """
    files = [file for path in paths for file in _files_at(Path(path))]
    return [picture for file in files for picture in _read(file, images, resize=resize)]


def _files_at(path: Path) -> list[Path]:
    """A file itself, or the pictures in a folder.

    Raises:
        SamplerConfigError: the folder holds none, or cannot be read.
    """
    try:
        if not path.is_dir():
            return [path]
        entries = sorted(path.iterdir(), key=lambda entry: os.fsencode(entry.name))
    except ValueError:  # a zero byte
        return [path]
    except OSError as error:
        raise SamplerConfigError(
            f"{path} cannot be read ({error.strerror}). Mend its permissions, or give a picture."
        ) from error
    found = [
        entry
        for entry in entries
        if entry.suffix.lower() in _picture_suffixes() and not entry.name.startswith(".")
    ]
    if not found:
        raise SamplerConfigError(
            f"{path} is a folder without a picture in it (folders in it are not looked into). "
            "Give a PNG, JPEG or .npy file, or a folder of some."
        )
    return found


@cache
def _picture_suffixes() -> frozenset[str]:
    """Endings of the names of files that can be read."""
    known = Image.registered_extensions().items()
    return frozenset({".npy", *(suffix for suffix, kind in known if kind in Image.OPEN)})


def _read(path: Path, images: ImageSet, *, resize: bool) -> list[PictureFile]:
    """The pictures in one file."""
    if not is_file(path):
        raise SamplerConfigError(
            f"there is no image file {path}. Give a PNG, JPEG or .npy file of pictures."
        )
    name = printable(path.name)
    if path.suffix.lower() == ".npy":
        array = load_array(path)
        several = array.ndim == 4 and len(array) > 1
        parts = list(array) if several else [array]
        return [
            _from_array(part, f"{name}[{number}]" if several else name, path, images, resize=resize)
            for number, part in enumerate(parts)
        ]
    if images.channels not in (1, 3):
        raise SamplerConfigError(
            f"the images of {images.name} have {images.channels} channels, which no picture file "
            "has. Give a .npy file."
        )
    return [_fitted(decode_image(path, channels=images.channels), name, path, images, resize)]


def _from_array(
    array: ndarray, name: str, path: Path, images: ImageSet, *, resize: bool
) -> PictureFile:
    """A picture from one array; `array_image` says what may be in it."""
    whole = array[0] if array.ndim == 4 and len(array) == 1 else array
    if resize and whole.dtype == np.uint8:
        if whole.ndim == 2:
            whole = whole[None]
        elif whole.ndim == 3 and whole.shape[0] != images.channels == whole.shape[2]:
            whole = np.moveaxis(whole, -1, 0)
        if whole.ndim == 3 and whole.shape[0] == images.channels and 0 not in whole.shape:
            return _fitted(np.ascontiguousarray(whole), name, path, images, resize)
    return PictureFile(name=name, image=array_image(array, path, images, is_state=False)[0])


def _fitted(
    pixels: UInt8[ndarray, "c h w"], name: str, path: Path, images: ImageSet, resize: bool
) -> PictureFile:
    """A picture of the images' size.

    Raises:
        SamplerConfigError: it has another one, and may not be resized.
    """
    height, width = pixels.shape[1:]
    wanted = (images.height, images.width)
    if (height, width) == wanted:
        return PictureFile(name=name, image=to_unit(pixels))
    if not resize:
        raise SamplerConfigError(
            f"image {path} is {height}x{width}, but the images of {images.name} are "
            f"{wanted[0]}x{wanted[1]}. Give --resize to have it resized as they were, or the index "
            "of images of its size."
        )
    resized = resize_images(pixels[None], wanted, images.crop)[0]
    return PictureFile(name=name, image=to_unit(resized), resized_from=(height, width))


def stacked(pictures: Sequence[PictureFile]) -> Float[Tensor, "b c h w"]:
    """Their values, as `attribution` takes them."""
    return torch.stack([picture.image for picture in pictures])
