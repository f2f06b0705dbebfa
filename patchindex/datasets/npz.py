"""Images in a NumPy archive: array `images` or `x`, and optionally `labels` or `y`."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
from einops import rearrange
from jaxtyping import Int, Shaped, UInt8
from numpy import ndarray

from patchindex.errors import DatasetError
from patchindex.images import checked_labels

IMAGE_KEYS = ("images", "x")
LABEL_KEYS = ("labels", "y")
CHANNELS = (1, 3)
# what reading raises on damaged archives; RuntimeError where zipfile finds features it lacks
DAMAGE = (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error)


def read_npz(
    path: Path, *, limit: int | None = None
) -> tuple[UInt8[ndarray, "n c h w"], Int[ndarray, " n"] | None]:
    """The first `limit` images of an archive and their labels, if it has any; all for None.

    Raises:
        DatasetError: no such file, not an npz file, or arrays that are not images.
    """
    if not path.is_file():
        raise DatasetError(f"{path} does not exist or is not a file. Give the path of an npz file.")
    if not zipfile.is_zipfile(path):
        raise DatasetError(
            f"{path} is not an npz file. Write one with numpy.savez(PATH, images=..., labels=...)."
        )
    images, labels = read_arrays(path)
    pixels = channels_first(images, path)
    numbers = checked_labels(labels, len(pixels))
    # copies, so that the rest of the archive does not stay in memory
    if limit is not None and limit < len(pixels):
        return pixels[:limit].copy(), None if numbers is None else numbers[:limit].copy()
    return np.ascontiguousarray(pixels), numbers


def read_arrays(path: Path) -> tuple[Shaped[ndarray, "..."], Shaped[ndarray, "..."] | None]:
    """The image array and the label array as they are stored."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            images, labels = (
                next((archive[key] for key in keys if key in archive), None)
                for keys in (IMAGE_KEYS, LABEL_KEYS)
            )
            names = ", ".join(archive.files) or "nothing"
    except DAMAGE as error:
        raise DatasetError(f"{path} cannot be read: {error}. Write the file again.") from error
    if images is None:
        raise DatasetError(
            f"{path} has no array named {' or '.join(IMAGE_KEYS)}, only {names}. "
            "Save the images as `images`."
        )
    return images, labels


def channels_first(images: Shaped[ndarray, "..."], path: Path) -> UInt8[ndarray, "n c h w"]:
    """The images as [n, c, h, w]; where two readings are possible, channels come first."""
    if images.dtype == np.uint8 and images.size:
        if images.ndim == 3:
            return images[:, None]
        if images.ndim == 4 and images.shape[1] in CHANNELS:
            return images
        if images.ndim == 4 and images.shape[3] in CHANNELS:
            return rearrange(images, "n h w c -> n c h w")
    raise DatasetError(
        f"the images in {path} are {images.dtype} with shape {images.shape}. Give uint8 values "
        "0..255 with shape [n, c, h, w], [n, h, w, c] or [n, h, w], where c is 1 or 3 and n is "
        "at least 1."
    )
