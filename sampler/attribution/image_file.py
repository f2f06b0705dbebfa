"""One image from a file of any kind, with the shape and the values that an image set has."""

import logging
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from patchindex import ImageSet
from patchindex.datasets import decode_image, resize_images
from patchindex.images import to_unit
from patchindex.npy import is_file, read_npy
from sampler.errors import SamplerConfigError

logger = logging.getLogger(__name__)

# a value this far outside [-1, 1] is rounding, not another range
SLACK = 0.01


def read_image(
    path: Path, images: ImageSet, *, is_state: bool, resize: bool = False
) -> Float[Tensor, "1 c h w"]:
    """The image in a PNG, JPEG or other picture file, or in a .npy file, in [-1, 1].

    Args:
        images: whose channels, height and width it must have; colors are turned to grey, and grey
            to colors, where a picture file has the other.
        is_state: values are those of a noisy state, so they may lie outside [-1, 1].
        resize: a picture file of another size is resized and cut as the images were.

    Raises:
        SamplerConfigError: there is no such file, or its shape or values are not the images' own.
        DatasetError: it cannot be read as a picture.
    """
    if not is_file(path):
        raise SamplerConfigError(
            f"there is no image file {path}. Give a PNG, JPEG or .npy file of one image."
        )
    if path.suffix.lower() == ".npy":
        return array_image(load_array(path), path, images, is_state=is_state)
    if images.channels not in (1, 3):
        raise SamplerConfigError(
            f"the images of {images.name} have {images.channels} channels, which no picture file "
            "has. Give a .npy file."
        )
    pixels = decode_image(path, channels=images.channels)
    if pixels.shape[1:] != (images.height, images.width):
        height, width = pixels.shape[1:]
        if not resize:
            raise SamplerConfigError(
                f"image {path} is {height}x{width}, but the images of {images.name} are "
                f"{images.height}x{images.width}. Give --resize to have it resized as they were, "
                "or the index of images of its size."
            )
        logger.info(
            "%s: resized from %dx%d to %dx%d, of which the pixel is asked for",
            path, height, width, images.height, images.width,
        )  # fmt: skip
        pixels = resize_images(pixels[None], (images.height, images.width), images.crop)[0]
    return to_unit(pixels)[None]


def array_image(
    array: ndarray, path: Path, images: ImageSet, *, is_state: bool
) -> Float[Tensor, "1 c h w"]:
    """The image in the array of a .npy file: uint8 values 0..255, or floating point values."""
    array = channels_first(array, images, path)
    if array.dtype == np.uint8:
        return to_unit(np.ascontiguousarray(array))[None]
    if not np.issubdtype(array.dtype, np.floating):
        raise SamplerConfigError(
            f"image {path} holds {array.dtype} values. "
            "Give uint8 in 0..255, or floating point in [-1, 1]."
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
        values = array.astype(np.float32)
    if not np.isfinite(values).all():
        raise SamplerConfigError(
            f"image {path} holds values that are not finite (nan or inf). Give finite numbers."
        )
    if not is_state and np.abs(array).max() > 1 + SLACK:
        raise SamplerConfigError(
            f"image {path} has values from {array.min():g} to {array.max():g}. Give floating point "
            "values in [-1, 1], or uint8 in 0..255; a noisy state also needs its time, --t."
        )
    if not is_state and array.min() >= 0:
        logger.warning(
            "no value of %s is below 0: it is taken as in [-1, 1], where black is -1 and grey 0",
            path,
        )
    return torch.from_numpy(values)[None]


def load_array(path: Path) -> ndarray:
    """The array in a .npy file."""
    try:
        return read_npy(path)
    except (OSError, ValueError) as error:
        raise SamplerConfigError(
            f"image {path} cannot be read ({error}). Give a .npy file of one array of numbers."
        ) from error


def channels_first(array: ndarray, images: ImageSet, path: Path) -> ndarray:
    """The array as [c, h, w]: of that shape already, or [1, c, h, w], [h, w, c] or [h, w]."""
    c, height, width = shape = (images.channels, images.height, images.width)
    if array.shape == shape:
        return array
    if array.shape == (1, *shape):
        return array.reshape(shape)
    if array.shape == (height, width, c):
        return np.moveaxis(array, -1, 0)
    if array.shape == (height, width) and c == 1:
        return array[None]
    remedy = (
        f"It holds {len(array)} images; save one of them, `numpy.save('one.npy', images[i])`."
        if array.ndim == 4 and array.shape[1:] == shape and len(array)
        else f"Give shape [{c}, {height}, {width}] or [{height}, {width}, {c}]."
    )
    raise SamplerConfigError(
        f"image {path} has shape {list(array.shape)}, but the images of {images.name} are "
        f"{c}x{height}x{width}. {remedy}"
    )
