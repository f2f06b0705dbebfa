"""Files: the home folder, installed data files, atomic writes, and locked folders."""

import errno
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from patchindex.errors import DatasetError, LockedError

COMPLETE = "complete"
PACKAGE = "patchindex_data"
LOCK = "lock"
PATIENCE_SECONDS = 0.3  # for a reader, which holds a lock for no longer than a few renames take
RETRIES = 20
# what file systems answer that have no way to flush a folder
FLUSH_UNSUPPORTED = (errno.EINVAL, errno.EBADF, errno.EACCES, errno.ENOTSUP)


def home() -> Path:
    """`$PATCHINDEX_HOME`, else `patchindex` in the user's cache folder; it need not exist yet."""
    chosen = os.environ.get("PATCHINDEX_HOME")
    return Path(chosen).expanduser() if chosen else user_cache_path("patchindex", appauthor=False)


def datasets_dir() -> Path:
    """Where downloaded datasets live, in torchvision's layout."""
    return home() / "datasets"


def indices_dir() -> Path:
    """Where indices go that were built without `--out`."""
    return home() / "indices"


def data_folders() -> tuple[Path, ...]:
    """The folders of `$PATCHINDEX_DATA`, searched for datasets before any other place."""
    listed = os.environ.get("PATCHINDEX_DATA", "").split(os.pathsep)
    return tuple(Path(folder).expanduser() for folder in listed if folder)


def index_path(
    source: str,
    *,
    height: int,
    width: int,
    boundary: str,
    cropped: bool = False,
    first: int | None = None,
) -> Path:
    """Where an index goes by default: `DATASET-RESOLUTION-BOUNDARY[-crop][-firstN].zarr`.

    Args:
        source: what the images were loaded from; `KIND:PATH` gives the last part of its path,
            without the suffix of a file.
        height: of the images, in pixels; the resolution is HEIGHTxWIDTH unless they are square.
        width: of the images, in pixels.
        boundary: how windows meet the image border.
        cropped: whether the images were cut to their shape.
        first: how many images, where the source has more.
    """
    kind, _, place = source.partition(":")
    dataset = Path(place).expanduser().resolve() if place else Path(kind)
    is_one_file = kind not in ("folder", "hf") and not dataset.is_dir()
    stem = dataset.stem if is_one_file else dataset.name
    safe = "".join(char if char.isalnum() or char in "._" else "_" for char in stem) or kind
    resolution = f"{height}" if height == width else f"{height}x{width}"
    crop = "-crop" if cropped else ""
    part = "" if first is None else f"-first{first}"
    return indices_dir() / f"{safe}-{resolution}-{boundary}{crop}{part}.zarr"


def finished_indices() -> list[Path]:
    """The complete indices of this user, the one that was completed last first."""
    finished = [path for path in indices_dir().glob("*.zarr") if _looks_complete(path)]
    return sorted(
        finished,
        key=lambda path: ((path / "zarr.json").stat().st_mtime_ns, path.name),
        reverse=True,
    )


def _looks_complete(path: Path) -> bool:
    """Whether the Zarr group at `path` says of itself that its build was finished."""
    try:
        group = json.loads((path / "zarr.json").read_text(encoding="utf-8"))
        return bool(group["attributes"]["status"] == COMPLETE)
    except (OSError, ValueError, LookupError, TypeError):
        return False  # a file that is missing or garbled marks a build that never ended


def data_file(*parts: str) -> Path:
    """The file or folder `data/PARTS...` of this installation.

    Raises:
        DatasetError: the installation lacks it.
    """
    path = data_root().joinpath(*parts)
    if not path.exists():
        raise DatasetError(
            f"this installation of patchindex lacks its file {path}. Install patchindex again."
        )
    return path


def data_root() -> Path:
    """The folder that is `data/` in the repository and `patchindex_data` once installed."""
    try:
        # the package has no __init__.py, so ask for a file in it: the folder itself has no one path
        return Path(str(resources.files(PACKAGE).joinpath("scales.yaml"))).parent
    except (ModuleNotFoundError, NotADirectoryError):
        # not installed, or an editable install on a Python whose importlib.resources cannot
        # read the namespace package that setuptools makes of it: both mean a checkout
        return Path(__file__).resolve().parents[1] / "data"


def at_home(name: str | Path) -> Path:
    """The path, in the home folder that it begins with, if the system knows that."""
    try:
        return Path(name).expanduser()
    except RuntimeError:  # of no user here
        return Path(name)


def is_file(name: str) -> bool:
    """Whether there is such a file; a text that may be a list is longer than any name can be."""
    try:
        return Path(name).is_file()
    except (OSError, ValueError):
        return False


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """A path to write to, renamed to `target` if all went well, and removed otherwise."""
    path = target.with_name(f"{target.name}.tmp")
    try:
        yield path
        path.replace(target)
    finally:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Have the disk hold what was written to a file or, where the system can, to a folder."""
    folder = path.is_dir()
    try:
        # Windows flushes only what is open for writing, and opens no folder
        descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if not (folder and error.errno in FLUSH_UNSUPPORTED):
            raise


@contextmanager
def locked_folder(
    folder: Path,
    *,
    name: str = LOCK,
    busy: str | None = None,
    remedy: str = "Wait for it, or give another --out.",
    patience: float = PATIENCE_SECONDS,
) -> Iterator[None]:
    """Keep other processes that ask for the same lock out of a folder, which is made if need be.

    The system releases the lock when its holder ends, however that ends: a lock file that a killed
    process has left over locks nothing. Afterwards the file is gone, and so is a folder that was
    made for it if nothing else is in it.

    Args:
        name: of the lock file.
        busy: what is said where another process holds the lock; which one is added if known.
        remedy: what to do then.
        patience: seconds to wait for another process.

    Raises:
        LockedError: another process holds the lock.
        OSError: the folder cannot be made or written.
    """
    made, file = not folder.exists(), folder.absolute() / name
    lock = FileLock(file, timeout=patience, fallback_to_soft=False)
    try:
        _acquire(lock, file)
    except Timeout:
        who = f" ({told})" if (told := _holder(file)) else ""
        told = busy or f"another process is writing to {folder}"
        raise LockedError(f"{told}{who}. {remedy}") from None
    try:
        own = _sign(file)
        try:
            yield
        finally:
            _remove(file, own)
    finally:
        lock.release()
        if made:
            with suppress(OSError):  # it is not empty, or the next process has removed it
                folder.rmdir()


def _acquire(lock: FileLock, file: Path) -> None:
    """Take the lock; raise Timeout if another process has it."""
    for retries_left in reversed(range(RETRIES)):
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        # the holder before us has just removed its folder, or between the two looks of `exist_ok`
        except (FileNotFoundError, FileExistsError):
            if not retries_left:
                raise
        else:
            return


def _sign(file: Path) -> os.stat_result:
    """Write into the lock file who holds it; its status, by which it is known again."""
    with suppress(PermissionError):  # Windows lets nobody else open it
        file.write_text(f"process {os.getpid()} of {platform.node()}", encoding="utf-8")
    return file.stat()


def _holder(file: Path) -> str:
    """Who signed the lock file; nothing if that is not known."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def _remove(file: Path, own: os.stat_result) -> None:
    """Remove our own lock file, while it is held: whoever waits for it sees that it is void."""
    # not that of the next process, where our folder is gone and made anew
    with suppress(FileNotFoundError, PermissionError):  # Windows removes it on release
        if os.path.samestat(file.stat(), own):
            file.unlink()
