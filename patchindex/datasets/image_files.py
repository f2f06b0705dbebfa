"""The image files of a folder tree, in an order that is the same on every machine."""

import logging
import os
from collections import deque
from pathlib import Path

from torchvision.datasets.folder import IMG_EXTENSIONS

from patchindex.errors import DatasetError

logger = logging.getLogger(__name__)

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
        files, repeated = walk(root)
    except OSError as error:
        raise DatasetError(
            f"{error.filename} cannot be read ({error.strerror}). "
            "Mend it or change its permissions, or take it out of the folder of images."
        ) from error
    if repeated:
        logger.warning(
            "%s: links lead to folders that are read already, %d times, such as %s: "
            "each folder is read once",
            root, len(repeated), repeated[0].relative_to(root),
        )  # fmt: skip
    return sorted(files, key=lambda path: sort_key(path.relative_to(root)))


def walk(root: Path) -> tuple[list[Path], list[Path]]:
    """The image files below a folder, and the ways to folders that had been visited before."""
    files, repeated = [], []
    seen: set[tuple[int, int]] = set()
    waiting = deque([root])
    while waiting:
        folder = waiting.popleft()
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:
            repeated.append(folder)
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in visible_entries(folder):
            if not entry.is_dir():
                files += [Path(entry.path)] if is_image(entry) else []
            elif entry.is_symlink():  # last, as what it leads to may have a path without links
                waiting.append(Path(entry.path))
            else:
                waiting.appendleft(Path(entry.path))
    return files, repeated


def visible_entries(folder: Path) -> list["os.DirEntry[str]"]:
    """What a folder holds and does not hide, sorted."""
    with os.scandir(folder) as entries:
        visible = [entry for entry in entries if not entry.name.startswith(HIDDEN)]
    return sorted(visible, key=lambda entry: os.fsencode(entry.name))


def is_image(entry: "os.DirEntry[str]") -> bool:
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
    if path.suffix.lower() not in IMG_EXTENSIONS:
        return False
    if not entry.is_file():
        raise DatasetError(
            f"{path} has the name of an image, but is neither a file nor a folder. Take it away."
        )
    return True


def sort_key(path: Path) -> tuple[bytes, ...]:
    """The bytes of the names on a path: neither language nor file system decides on the order."""
    return tuple(os.fsencode(part) for part in path.parts)
