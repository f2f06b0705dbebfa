"""Counts the changes of the file system that a command makes, and kills it at the n-th."""

import mmap
import os
import signal
import sys
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any

MADE = frozenset(
    {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink",
     "os.chmod", "shutil.rmtree", "shutil.move", "shutil.copyfile"}
)  # fmt: skip
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# which raise no audit event
SILENT = ("fsync", "posix_fallocate", "sendfile")


def count_changes(place: Path, log: Path, kill_at: int | None = None) -> None:
    """From now on in this process, write each change below `place` into `log`; die before one.

    Args:
        kill_at: number of the change, from 0, before which the process kills itself.
    """
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    made = 0

    def note(event: str) -> None:
        nonlocal made
        os.write(descriptor, f"{event}\n".encode(errors="replace"))
        if made == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        made += 1

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if is_change(event, arguments) and is_below(arguments, place):
            note(f"{event} {' '.join(map(str, arguments[:2]))}")

    for name in SILENT:
        if hasattr(os, name):
            setattr(os, name, noted(getattr(os, name), partial(note, f"os.{name}")))
    sys.addaudithook(hook)


def is_change(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether this audit event announces a change."""
    if event == "open":
        _, mode, flags = arguments
        return (isinstance(mode, str) and bool(set(mode) & set("wax+"))) or bool(flags & WRITING)
    if event == "mmap.__new__":
        return bool(arguments[2] == mmap.ACCESS_WRITE)
    return event in MADE


def is_below(arguments: tuple[Any, ...], place: Path) -> bool:
    """Whether the change is made in the place; a name that is relative to a descriptor counts."""
    path = arguments[0]
    if not isinstance(path, str | bytes | os.PathLike):
        return True
    return Path.cwd().joinpath(os.fsdecode(path)).is_relative_to(place)


def noted(function: Callable[..., Any], note: Callable[[], None]) -> Callable[..., Any]:
    """The function, announced each time."""

    @wraps(function)
    def announcing(*arguments: Any) -> Any:
        note()
        return function(*arguments)

    return announcing
