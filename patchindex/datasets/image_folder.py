"""A tree of image files: one class per sub-folder, or a flat folder without labels."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from torchvision.datasets.folder import IMG_EXTENSIONS

from patchindex.datasets.decode import ImageHeader, decode_image, read_header
from patchindex.datasets.resize import Size, stack_resized
from patchindex.errors import DatasetError
from patchindex.images import ImageSet

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageListing:
    """Image files in the order they are loaded in; `labels` is empty where there are no classes."""

    files: tuple[Path, ...]
    labels: tuple[int, ...] = ()
    class_names: tuple[str, ...] = ()


def load_image_folder(
    root: Path, *, size: Size | None = None, limit: int | None = None
) -> ImageSet:
    """The images of a folder: grey if all files are, else RGB; sorted by class, then by path.

    Args:
        root: holds one folder per class, or image files.
        size: height and width that every image is resized to; None keeps the size of the files,
            which then must all have the same.
        limit: keep the first so many.

    Raises:
        DatasetError: no such folder, no image in it, a broken image, or images of several sizes
            and no `size`.
    """
    listing = limited(list_images(root), limit)
    headers = [read_header(path) for path in listing.files]
    shape = common_shape(headers, size)
    logger.info("%s: decoding %d images of %dx%dx%d", root, len(headers), *shape)
    return ImageSet.from_array(
        stack_resized(listing.files, partial(decode_image, channels=shape[0]), shape=shape),
        np.asarray(listing.labels) if listing.labels else None,
        class_names=listing.class_names,
        name=f"folder:{root}",
    )


def list_images(root: Path) -> ImageListing:
    """All image files below `root`, with the immediate sub-folders that hold some as classes.

    Raises:
        DatasetError: `root` is not a folder, or there is no image file in it.
    """
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "does not exist"
        raise DatasetError(f"the image folder {root} {what}. Give the path of a folder of images.")
    loose = tuple(path for path in sorted(root.iterdir()) if is_image(path))
    folders = [path for path in sorted(root.iterdir()) if path.is_dir() and is_visible(path)]
    classes = {folder.name: files for folder in folders if (files := images_below(folder))}
    if not classes and not loose:
        raise DatasetError(
            f"there is no image in {root}. "
            f"Files with these suffixes are looked for: {', '.join(IMG_EXTENSIONS)}."
        )
    if not classes:
        return ImageListing(files=loose)
    if loose:
        logger.warning(
            "%s: %d images lie beside the class folders and are left out, such as %s",
            root, len(loose), loose[0].name,
        )  # fmt: skip
    return ImageListing(
        files=tuple(path for files in classes.values() for path in files),
        labels=tuple(i for i, files in enumerate(classes.values()) for _ in files),
        class_names=tuple(classes),
    )


def images_below(folder: Path) -> list[Path]:
    """All image files of a folder and its sub-folders, sorted; links are followed."""
    tree = os.walk(folder, followlinks=True)
    paths = (Path(place, name) for place, _, names in tree for name in names)
    return sorted(path for path in paths if is_image(path))


def is_image(path: Path) -> bool:
    """Whether the name is one of an image file."""
    return path.suffix.lower() in IMG_EXTENSIONS and is_visible(path) and path.is_file()


def is_visible(path: Path) -> bool:
    """Not a hidden file: macOS puts a `._photo.jpg` that is no image beside each photo.jpg."""
    return not path.name.startswith((".", "__MACOSX"))


def limited(listing: ImageListing, limit: int | None) -> ImageListing:
    """The first so many files; all for None."""
    if limit is None or limit >= len(listing.files):
        return listing
    labels = listing.labels[:limit]
    if len(set(labels)) < len(listing.class_names):
        logger.warning(
            "the first %d images are of %d of the %d classes only: files are sorted by class",
            limit, len(set(labels)), len(listing.class_names),
        )  # fmt: skip
    return ImageListing(files=listing.files[:limit], labels=labels, class_names=listing.class_names)


def common_shape(headers: Sequence[ImageHeader], size: Size | None) -> tuple[int, int, int]:
    """Channels, height and width that all images get.

    Raises:
        DatasetError: the files have several sizes, and no `size` was given.
    """
    channels = max(header.channels for header in headers)
    if size is not None:
        return channels, *size
    first = headers[0]
    for other in headers:
        if (other.height, other.width) != (first.height, first.width):
            raise DatasetError(
                f"the images have different sizes: {first.path} is {first.height}x{first.width}, "
                f"{other.path} is {other.height}x{other.width} (height x width). "
                "Pass --resolution to resize all of them to one."
            )
    return channels, first.height, first.width
