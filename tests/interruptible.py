"""Processes that Ctrl-C reaches, however the tests themselves were started."""

import signal
import subprocess
from typing import Any


def start_interruptible(command: list[str], **options: Any) -> subprocess.Popen[str]:
    """Start a process that takes SIGINT, which children of background jobs are born ignoring."""

    def heed_interrupts() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    return subprocess.Popen(
        command,
        preexec_fn=heed_interrupts,  # noqa: PLW1509 - nothing of ours runs threads by then
        text=True,
        **options,
    )
