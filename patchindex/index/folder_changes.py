"""How a folder of pictures differs from the index that was built of it: files added, gone, changed.

Only names and times are compared, so that it costs little to ask; what is in the files is not read.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath

from patchindex.file_names import one_line, printable
from patchindex.index.patch_index import PatchIndex

FOLDER = "folder:"
# added files are looked for that end so, or as some that the index holds
USUAL_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
HIDDEN = (".", "__MACOSX")


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderChanges:
    """What happened to the image files of a folder since its index was built, by their names.

    Attributes:
        added: since, or left out with `--limit` when it was built.
        changed: written later than the index.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    def __str__(self) -> str:
        """As in "3 files not in it (a.png, ...), 1 file gone (b.png)"."""
        kinds = (("not in it", self.added), ("gone", self.removed), ("changed", self.changed))
        return ", ".join(_told(names, what) for what, names in kinds if names)


def folder_changes(index: PatchIndex) -> FolderChanges | None:
    """What happened to the folder of an index since; None if there is no such folder (any more).

    Example:
        if changes := folder_changes(PatchIndex.open("photos.zarr")):
            print(changes)
    """
    info, names = index.info(), index.images.names
    if not info.dataset.startswith(FOLDER) or names is None:
        return None
    root = Path(info.dataset.removeprefix(FOLDER))
    times = {name: _modified(root / name) for name in names}
    removed = [name for name, time in times.items() if time is None]
    if len(removed) == len(times):
        return None  # another folder, or one as seen from elsewhere
    built = datetime.fromisoformat(info.created).timestamp() + 1  # which is told in whole seconds
    return FolderChanges(
        added=tuple(sorted(set(_image_files(root, names)).difference(times))),
        removed=tuple(removed),
        changed=tuple(name for name, time in times.items() if time is not None and time > built),
    )


def _modified(path: Path) -> float | None:
    """When a file was last written, in seconds; None if there is none."""
    try:
        return path.stat().st_mtime
    except (OSError, ValueError):
        return None


def _image_files(root: Path, known: Sequence[str]) -> Iterator[str]:
    """Names of the image files below a folder, of the kinds that an index of it holds."""
    suffixes = {*USUAL_SUFFIXES, *(PurePosixPath(name).suffix.lower() for name in known)}
    # where folders are classes, files beside them are in none
    in_classes = any("/" in name for name in known)
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(HIDDEN)]
        below = Path(folder).relative_to(root).as_posix()
        if below == "." and in_classes:
            continue
        for name in files:
            if not name.startswith(HIDDEN) and Path(name).suffix.lower() in suffixes:
                yield name if below == "." else f"{below}/{name}"


def _told(names: Sequence[str], what: str) -> str:
    """How many files something happened to, and the first."""
    more = ", ..." if len(names) > 1 else ""
    count = "1 file" if len(names) == 1 else f"{len(names):,} files"
    return f"{count} {what} ({one_line(printable(names[0]))}{more})"
