"""The crew that a command's options choose: several processes or machines, or this one."""

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from cli.console import progress_bars
from patchindex.cluster import connect, is_address, staged
from patchindex.errors import ClusterError
from patchindex.progress import no_progress


def with_crew(work: Callable[..., Any], *, by_units: bool = False) -> Callable[..., Any]:
    """The work, given the crew in place of the options; its states lie in main memory then.

    Args:
        by_units: without a terminal, tell of units that a cluster has done, as the work tells
            nothing of these itself.
    """

    @wraps(work)
    def connected(
        *, cluster: str | None, mixed: bool, stage: Path | None = None, **settings: Any
    ) -> Any:
        if cluster is not None and "device" in settings:
            settings["device"] = "cpu"  # of this process: each worker has its own
        sources = {}
        asked = settings.get("index_path")
        if asked is not None and is_address(asked):
            copy = staged(asked, None, _needed(stage, asked))
            settings["index_path"], sources = copy, {str(copy.absolute()): asked}
        with (
            progress_bars() as bars,
            connect(
                cluster,
                stage=stage,
                sources=sources,
                mixed=mixed,
                progress=bars if cluster and (by_units or sys.stderr.isatty()) else no_progress,
            ) as crew,
        ):
            return work(crew=crew, **settings)

    return connected


def _needed(stage: Path | None, address: str) -> Path:
    """The folder for copies; raise ClusterError if there is none."""
    if stage is None:
        raise ClusterError(
            f"{address} is read from a copy on this machine's own disk. Give a folder for it with "
            "--stage DIR."
        )
    return stage
