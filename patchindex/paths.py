"""Files that appear whole, and folders that one process at a time writes in."""

import errno
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from patchindex.errors import LockedError

LOCK = "lock"
PATIENCE_SECONDS = 0.3  # for a reader, which holds a lock for no longer than a few renames take
RETRIES = 20
# what file systems answer that have no way to flush a folder
FLUSH_UNSUPPORTED = (errno.EINVAL, errno.EBADF, errno.EACCES, errno.ENOTSUP)


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
) -> Iterator[None]:
    """Keep other processes that ask for the same lock out of a folder, which is made if need be.

    The system releases the lock when its holder ends, however that ends: a lock file that a killed
    process has left over locks nothing. Afterwards the file is gone, and so is a folder that was
    made for it if nothing else is in it.

    Args:
        name: of the lock file.
        busy: what is said where another process holds the lock; which one is added if known.
        remedy: what to do then.

    Raises:
        LockedError: another process holds the lock.
        OSError: the folder cannot be made or written.
    """
    made, file = not folder.exists(), folder.absolute() / name
    lock = FileLock(file, timeout=PATIENCE_SECONDS, fallback_to_soft=False)
    try:
        acquire(lock, file)
    except Timeout:
        who = f" ({told})" if (told := holder(file)) else ""
        told = busy or f"another process is writing to {folder}"
        raise LockedError(f"{told}{who}. {remedy}") from None
    try:
        own = sign(file)
        try:
            yield
        finally:
            remove(file, own)
    finally:
        lock.release()
        if made:
            with suppress(OSError):  # it is not empty, or the next process has removed it
                folder.rmdir()


def acquire(lock: FileLock, file: Path) -> None:
    """Take the lock; raise Timeout if another process has it."""
    for retries_left in reversed(range(RETRIES)):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except FileNotFoundError:  # the holder before us has just removed its folder
            if not retries_left:
                raise
        else:
            return


def sign(file: Path) -> os.stat_result:
    """Write into the lock file who holds it; its status, by which it is known again."""
    with suppress(PermissionError):  # Windows lets nobody else open it
        file.write_text(f"process {os.getpid()} of {platform.node()}", encoding="utf-8")
    return file.stat()


def holder(file: Path) -> str:
    """Who signed the lock file; nothing if that is not known."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def remove(file: Path, own: os.stat_result) -> None:
    """Remove our own lock file, while it is held: whoever waits for it sees that it is void."""
    # not that of the next process, where our folder is gone and made anew
    with suppress(FileNotFoundError, PermissionError):  # Windows removes it on release
        if os.path.samestat(file.stat(), own):
            file.unlink()
