"""Images in a NumPy archive: array `images` or `x`, and optionally `labels` or `y`, `layout`."""

import logging
import lzma
import math
import zipfile
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
from einops import rearrange
from jaxtyping import Int, Shaped, UInt8
from numpy import ndarray

from patchindex.errors import DatasetError
from patchindex.image_arrays import checked_labels, mismatched_labels
from patchindex.npy import NUMBERS, NpyHeader, is_file, read_npy_data, read_npy_header

logger = logging.getLogger(__name__)

IMAGE_KEYS = ("images", "x")
LABEL_KEYS = ("labels", "y")
LAYOUT_KEY = "layout"
LONGEST_LAYOUT = 256  # bytes
LAYOUTS = ("nchw", "nhwc", "nhw")
CHANNELS = (1, 3)
# what reading raises on damaged archives; RuntimeError where zipfile finds features it lacks
DAMAGE = (
    OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error, lzma.LZMAError,
)  # fmt: skip

Members = dict[str, zipfile.ZipInfo]


def read_npz(
    path: Path, *, limit: int | None = None
) -> tuple[UInt8[ndarray, "n c h w"], Int[ndarray, " n"] | None]:
    """The first `limit` images of an archive and their labels, if it has any; all for None.

    An array `layout`, the text nchw, nhwc or nhw, says which axis of the images is which. Without
    it, shapes that can be read in one way only are read, and others refused.

    Raises:
        DatasetError: no such file, not an npz file, or arrays that are not images.
    """
    if not is_file(path):
        raise DatasetError(f"{path} does not exist or is not a file. Give the path of an npz file.")
    if not zipfile.is_zipfile(path):
        raise DatasetError(
            f"{path} is not an npz file. Write one with numpy.savez(PATH, images=..., labels=...)."
        )
    images, labels, layout = _read_arrays(path)
    pixels = _channels_first(images, layout)
    numbers = checked_labels(labels, len(pixels))
    # copies, so that the rest of the archive does not stay in memory
    if limit is not None and limit < len(pixels):
        return pixels[:limit].copy(), None if numbers is None else numbers[:limit].copy()
    return np.ascontiguousarray(pixels), numbers


def _read_arrays(
    path: Path,
) -> tuple[UInt8[ndarray, "..."], Shaped[ndarray, "..."] | None, str]:
    """The image array and the label array as they are stored, and the layout of the images."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = _named_members(archive, path)
            pictures, labels = _chosen_members(members, path)
            # what cannot be of use is refused by its header: a small archive can hold a large array
            header = _read_header(archive, pictures)
            layout = _chosen_layout(header, _read_layout(archive, members), path)
            if labels is not None:
                _check_labels(_read_header(archive, labels), header.shape[0])
            return (
                _read_data(archive, pictures),
                None if labels is None else _read_data(archive, labels),
                layout,
            )
    except DatasetError:
        raise
    except DAMAGE as error:
        raise DatasetError(f"{path} cannot be read: {error}. Write the file again.") from error


def _named_members(archive: zipfile.ZipFile, path: Path) -> Members:
    """The members by the names of their arrays."""
    members = [(member.filename.removesuffix(".npy"), member) for member in archive.infolist()]
    name, uses = Counter(name for name, _ in members).most_common(1)[0] if members else ("", 0)
    if uses > 1:
        raise DatasetError(
            f"{path} has {uses} arrays named {name}. Write the file again with one of each name."
        )
    return dict(members)


def _chosen_members(members: Members, path: Path) -> tuple[zipfile.ZipInfo, zipfile.ZipInfo | None]:
    """The member that holds the images, and the one that holds their labels, if any does."""
    images, labels = (
        next((members[key] for key in keys if key in members), None)
        for keys in (IMAGE_KEYS, LABEL_KEYS)
    )
    if images is None:
        raise DatasetError(
            f"{path} has no array named {' or '.join(IMAGE_KEYS)}, "
            f"only {', '.join(members) or 'nothing'}. Save the images as `images`."
        )
    return images, labels


def _read_header(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, kinds: str = NUMBERS
) -> NpyHeader:
    """Shape and dtype of an array, compared with the bytes that the archive has of it."""
    try:
        with archive.open(member) as stream:
            return read_npy_header(stream, member.file_size, kinds=kinds)
    except ValueError as error:
        raise ValueError(f"array {member.filename}: {error}") from error


def _read_data(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Shaped[ndarray, "..."]:
    """An array whose header has been checked."""
    try:
        with archive.open(member) as stream:
            return read_npy_data(stream)
    except ValueError as error:
        raise ValueError(f"array {member.filename}: {error}") from error


def _read_layout(archive: zipfile.ZipFile, members: Members) -> str | None:
    """The text of the array `layout`; None if there is none."""
    if LAYOUT_KEY not in members:
        return None
    header = _read_header(archive, members[LAYOUT_KEY], kinds="US")
    if math.prod(header.shape) * header.dtype.itemsize > LONGEST_LAYOUT:
        return ""  # which is none of ours
    return "".join(_read_data(archive, members[LAYOUT_KEY]).astype("U").ravel().tolist())


def _check_labels(header: NpyHeader, num_images: int) -> None:
    """Raise DatasetError unless there is a whole number for each image."""
    if header.shape != (num_images,) or not np.issubdtype(header.dtype, np.integer):
        raise mismatched_labels(header.shape, header.dtype, num_images)


def _channels_first(images: UInt8[ndarray, "..."], layout: str) -> UInt8[ndarray, "n c h w"]:
    """The images as [n, c, h, w]."""
    match layout:
        case "nhw":
            return images[:, None]
        case "nhwc":
            return rearrange(images, "n h w c -> n c h w")
        case _:
            return images


def _chosen_layout(header: NpyHeader, told: str | None, path: Path) -> str:
    """The layout that the archive names, or else the only one that the shape admits.

    Raises:
        DatasetError: these are no images, or it cannot be told which axis holds the channels.
    """
    likely = _likely_layouts(header.shape)
    if header.dtype != np.uint8 or 0 in header.shape or not (likely or told):
        raise DatasetError(
            f"the images in {path} are {header.dtype} with shape {header.shape}. Give uint8 values "
            "0..255 with shape [n, c, h, w], [n, h, w, c] or [n, h, w], where n is at least 1; if "
            "c is not 1 or 3, also say which: numpy.savez(PATH, images=..., layout='nchw') or nhwc."
        )
    if told is not None:
        if told in LAYOUTS and len(told) == len(header.shape):
            return told
        raise DatasetError(
            f"{path} says that the layout of its images is {told!r}, but their shape is "
            f"{header.shape}. Save nchw, nhwc or nhw as `layout`, a letter for each axis."
        )
    if len(likely) > 1:
        raise DatasetError(
            f"the images in {path} have shape {header.shape}, which can be read as "
            f"{' or '.join(likely)}. Say which: numpy.savez(PATH, images=..., layout='nchw'), "
            "or nhwc, or nhw for grey images."
        )
    if likely == ["nhwc"]:
        logger.info("%s: the last of the axes %s holds the channels", path, header.shape)
    return likely[0]


def _likely_layouts(shape: tuple[int, ...]) -> list[str]:
    """The ways in which an array of this shape can hold images with 1 or 3 channels."""
    if len(shape) == 3:
        return ["nhw", "one image, hwc"] if shape[2] in CHANNELS else ["nhw"]
    if len(shape) != 4:
        return []
    return [layout for layout in ("nchw", "nhwc") if shape[layout.index("c")] in CHANNELS]
