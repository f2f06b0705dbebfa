"""The options by which a command is worked on by several processes or machines."""

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from cli.console import progress_bars
from patchindex.cluster import VARIABLE, connect
from patchindex.progress import no_progress

cluster_option = click.option(
    "--cluster",
    metavar="local[:N]|ADDRESS|FILE",
    envvar=VARIABLE,
    help="Share the work: among N processes here, or the workers of a Dask scheduler, by its "
    f"address or its file; see `patchindex worker`. [default: ${VARIABLE}, or this process alone]",
)
stage_option = click.option(
    "--stage",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="With --cluster: folder on each worker's own disk, to which it copies the index first.",
)
mixed_option = click.option(
    "--mixed",
    is_flag=True,
    help="With --cluster: let workers of different processors or GPUs serve, whose sums differ in "
    "the seventh digit.",
)


def cluster_options(command: Callable[..., None]) -> Callable[..., None]:
    """All three; the command is given the crew. Then states lie in this process's own memory."""

    @wraps(command)
    def connected(*, cluster: str | None, stage: Path | None, mixed: bool, **settings: Any) -> None:
        if cluster is not None:
            settings["device"] = "cpu"  # of this process: each worker has its own
        with (
            progress_bars() as bars,
            connect(
                cluster,
                stage=stage,
                mixed=mixed,
                progress=bars if cluster and sys.stderr.isatty() else no_progress,
            ) as crew,
        ):
            command(crew=crew, **settings)

    return cluster_option(stage_option(mixed_option(connected)))
