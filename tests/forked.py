"""Processes that are forked from the tests: they need no seconds to import, and may be killed."""

import os
import signal
import traceback
from collections.abc import Callable

import pytest

ignore_threads = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)


def start(work: Callable[[], object]) -> int:
    """Number of a new process that does this; it ends with 0, or with 1 after an exception."""
    process = os.fork()
    if process:
        return process
    try:
        work()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def end(process: int) -> int:
    """The exit code of a process once it has ended; minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def kill(process: int) -> None:
    """End a process at once, and wait until it has ended."""
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
