"""Units that end their worker at a chosen moment; workers import this, as they do what they run."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def killed_once(unit: Any, work: Callable[..., Any], fuse: Path, change: str, *shared: Any) -> Any:
    """`work(unit, *shared)`; where that would change a path, its worker is killed instead, once.

    Args:
        fuse: a file that is there until somebody was killed.
        change: method of `Path`.
    """
    made = getattr(Path, change)

    def kill_or_change(self: Path, target: Path) -> Any:
        try:
            fuse.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        except FileNotFoundError:
            pass
        return made(self, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, change, kill_or_change)
        return work(unit, *shared)
