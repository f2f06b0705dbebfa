"""The images of a folder of files: listing, one class per sub-folder."""

import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from patchindex.choices import Crop
from patchindex.datasets.decode import (
    IMAGE_SUFFIXES,
    ImageHeader,
    UnreadableImageError,
    decode_image,
    mixed_sizes,
    read_header,
    several_broken,
)
from patchindex.datasets.resize import Size, report_shapes, stack_resized
from patchindex.errors import DatasetError
from patchindex.image_arrays import LoadedImages

logger = logging.getLogger(__name__)

Read = TypeVar("Read")

HIDDEN = (".", "__MACOSX")  # macOS puts a `._photo.jpg` that is no image beside each photo.jpg


def image_files(root: Path) -> list[Path]:
    """All image files below a folder, sorted by the bytes of their names, folder by folder.

    Links are followed, but each folder is read once, however many links lead to it, and by a path
    without links if it has one. Hidden files and folders are left out.

    Raises:
        DatasetError: a folder cannot be read, a link leads nowhere, or what has the name of an
            image is neither a file nor a folder; names it.
    """
    try:
        files, repeated, others = _walk(root)
    except OSError as error:
        raise DatasetError(
            f"{error.filename} cannot be read ({error.strerror}). "
            "Mend it or change its permissions, or take it out of the folder of images."
        ) from error
    if others and files:
        logger.info(
            "%s: left out by their names: %d files that are no images, such as %s",
            root, len(others), others[0].relative_to(root),
        )  # fmt: skip
    if repeated:
        logger.warning(
            "%s: links lead to folders that are read already, %d times, such as %s: "
            "each folder is read once",
            root, len(repeated), repeated[0].relative_to(root),
        )  # fmt: skip
    return sorted(files, key=lambda path: _sort_key(path.relative_to(root)))


def _walk(root: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """Image files below a folder, ways to folders that were visited before, and other files."""
    files: list[Path] = []
    repeated: list[Path] = []
    others: list[Path] = []
    seen: set[tuple[int, int]] = set()
    waiting = deque([root])
    while waiting:
        folder = waiting.popleft()
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:
            repeated.append(folder)
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in _visible_entries(folder):
            if not entry.is_dir():
                (files if _is_image(entry) else others).append(Path(entry.path))
            elif entry.is_symlink():  # last, as what it leads to may have a path without links
                waiting.append(Path(entry.path))
            else:
                waiting.appendleft(Path(entry.path))
    return files, repeated, others


def _visible_entries(folder: Path) -> list["os.DirEntry[str]"]:
    """What a folder holds and does not hide, sorted."""
    with os.scandir(folder) as entries:
        visible = [entry for entry in entries if not entry.name.startswith(HIDDEN)]
    return sorted(visible, key=lambda entry: os.fsencode(entry.name))


def _is_image(entry: "os.DirEntry[str]") -> bool:
    """Whether what is no folder is a file with the name of an image.

    Raises:
        DatasetError: it is a link that leads nowhere, or a pipe or device with such a name.
    """
    path = Path(entry.path)
    if entry.is_symlink() and not path.exists():
        raise DatasetError(
            f"{path} is a link to {path.readlink()}, which does not exist. "
            "Mend the link or take it away."
        )
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return False
    if not entry.is_file():
        raise DatasetError(
            f"{path} has the name of an image, but is neither a file nor a folder. Take it away."
        )
    return True


def _sort_key(path: Path) -> tuple[bytes, ...]:
    """The bytes of the names on a path: neither language nor file system decides on the order."""
    return tuple(os.fsencode(part) for part in path.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageListing:
    """Image files in the order they are loaded in; `labels` is empty where there are no classes."""

    files: tuple[Path, ...]
    labels: tuple[int, ...] = ()
    class_names: tuple[str, ...] = ()


def load_image_folder(
    root: Path, *, size: Size | None = None, crop: Crop = "none", limit: int | None = None
) -> LoadedImages:
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
    listing = _limited(list_images(root), limit)
    broken: dict[Path, UnreadableImageError] = {}
    read = (_unless_broken(read_header, path, broken) for path in listing.files)
    headers = [header for header in read if header is not None]
    if not headers:
        raise several_broken(root, broken, len(broken))
    shape = _common_shape(headers, size)
    report_shapes(str(root), Counter((file.height, file.width) for file in headers), size, crop)
    _report_animations(root, headers)
    logger.info("%s: decoding %d images of %dx%dx%d", root, len(headers), *shape)
    pixels = _decoded([header.path for header in headers], shape, crop, broken)
    if broken:
        in_order = {path: broken[path] for path in listing.files if path in broken}
        raise several_broken(root, in_order, len(listing.files))
    return LoadedImages(
        pixels=pixels,
        labels=np.asarray(listing.labels) if listing.labels else None,
        class_names=listing.class_names,
        names=tuple(path.relative_to(root).as_posix() for path in listing.files),
        name=f"folder:{root}",
    )


def _unless_broken(
    read: Callable[[Path], Read], path: Path, broken: dict[Path, UnreadableImageError]
) -> Read | None:
    """What is read of a file; of one that cannot be, nothing, and its error is kept."""
    try:
        return read(path)
    except UnreadableImageError as error:
        broken[path] = error
        return None


def _decoded(
    files: Sequence[Path],
    shape: tuple[int, int, int],
    crop: Crop,
    broken: dict[Path, UnreadableImageError],
) -> UInt8[ndarray, "n c h w"]:
    """The images, black where one is broken, so that all that are can be named."""
    black = np.zeros(shape, dtype=np.uint8)
    decode = partial(decode_image, channels=shape[0])

    def decode_or_note(path: Path) -> UInt8[ndarray, "c h w"]:
        pixels = _unless_broken(decode, path, broken)
        return black if pixels is None else pixels

    return stack_resized(files, decode_or_note, shape=shape, crop=crop)


def list_images(root: Path) -> ImageListing:
    """All image files below `root`, with the immediate sub-folders that hold some as classes.

    Raises:
        DatasetError: `root` is not a folder, or there is no image file in it.
    """
    _check_folder(root)
    files = image_files(root)
    if not files:
        raise DatasetError(
            f"there is no image in {root}. "
            f"Files with these suffixes are looked for: {', '.join(IMAGE_SUFFIXES)}."
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
        class_names=tuple(numbers),
    )


def _check_folder(root: Path) -> None:
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


def _report_animations(root: Path, headers: Sequence[ImageHeader]) -> None:
    """Log of how many files only the first picture is taken."""
    several = [header.path for header in headers if header.is_animated]
    if several:
        logger.warning(
            "%s: %d files hold several pictures, such as %s: the first of each is taken",
            root, len(several), several[0].name,
        )  # fmt: skip


def _limited(listing: ImageListing, limit: int | None) -> ImageListing:
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


def _common_shape(headers: Sequence[ImageHeader], size: Size | None) -> tuple[int, int, int]:
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
            raise mixed_sizes(
                (str(first.path), (first.height, first.width)),
                (str(other.path), (other.height, other.width)),
            )
    return channels, first.height, first.width
