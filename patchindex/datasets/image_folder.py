"""A tree of image files: one class per sub-folder, or a flat folder without labels."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from torchvision.datasets.folder import IMG_EXTENSIONS

from patchindex.datasets.decode import ImageHeader, decode_image, read_header
from patchindex.datasets.image_files import image_files
from patchindex.datasets.resize import Size, report_shapes, stack_resized
from patchindex.errors import DatasetError
from patchindex.images import Crop, ImageSet, printable

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageListing:
    """Image files in the order they are loaded in; `labels` is empty where there are no classes."""

    files: tuple[Path, ...]
    labels: tuple[int, ...] = ()
    class_names: tuple[str, ...] = ()


def load_image_folder(
    root: Path, *, size: Size | None = None, crop: Crop = "none", limit: int | None = None
) -> ImageSet:
    """The images of a folder: grey if all files are, else RGB; sorted by class, then by path.

    The order is that of the names' bytes, compared name by name from the class to the file.

    Args:
        root: holds one folder per class, or image files.
        size: height and width that every image is resized to; None keeps the size of the files,
            which then must all have the same.
        crop: whether images of another aspect ratio are cut around their center, or stretched.
        limit: keep the first so many.

    Raises:
        DatasetError: no such folder, no image in it, a folder or image that cannot be read, or
            images of several sizes and no `size`.
    """
    listing = limited(list_images(root), limit)
    headers = [read_header(path) for path in listing.files]
    shape = common_shape(headers, size)
    report_shapes(str(root), Counter((file.height, file.width) for file in headers), size, crop)
    report_animations(root, headers)
    logger.info("%s: decoding %d images of %dx%dx%d", root, len(headers), *shape)
    return ImageSet.from_array(
        stack_resized(
            listing.files, partial(decode_image, channels=shape[0]), shape=shape, crop=crop
        ),
        np.asarray(listing.labels) if listing.labels else None,
        class_names=listing.class_names,
        name=f"folder:{root}",
    )


def list_images(root: Path) -> ImageListing:
    """All image files below `root`, with the immediate sub-folders that hold some as classes.

    Raises:
        DatasetError: `root` is not a folder, or there is no image file in it.
    """
    check_folder(root)
    files = image_files(root)
    if not files:
        raise DatasetError(
            f"there is no image in {root}. "
            f"Files with these suffixes are looked for: {', '.join(IMG_EXTENSIONS)}."
        )
    loose = [path for path in files if path.parent == root]
    if len(loose) == len(files):
        return ImageListing(files=tuple(files))
    if loose:
        logger.warning(
            "%s: %d images lie beside the class folders and are left out, such as %s",
            root, len(loose), loose[0].name,
        )  # fmt: skip
    inside = [path for path in files if path.parent != root]
    classes = [path.relative_to(root).parts[0] for path in inside]
    numbers = {name: i for i, name in enumerate(dict.fromkeys(classes))}
    return ImageListing(
        files=tuple(inside),
        labels=tuple(numbers[name] for name in classes),
        class_names=tuple(printable(name) for name in numbers),
    )


def check_folder(root: Path) -> None:
    """Raise DatasetError unless there is such a folder."""
    try:
        root.stat()
        what = "" if root.is_dir() else "is a file, not a folder"
    except FileNotFoundError:
        what = "does not exist"
    except (OSError, ValueError) as error:  # the latter for zero bytes
        what = f"cannot be read ({error})"
    if what:
        raise DatasetError(f"the image folder {root} {what}. Give the path of a folder of images.")


def report_animations(root: Path, headers: Sequence[ImageHeader]) -> None:
    """Log of how many files only the first picture is taken."""
    several = [header.path for header in headers if header.is_animated]
    if several:
        logger.warning(
            "%s: %d files hold several pictures, such as %s: the first of each is taken",
            root, len(several), several[0].name,
        )  # fmt: skip


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
