"""The options by which a command is worked on by several processes or machines."""

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from cli.console import progress_bars
from patchindex.cluster import VARIABLE, connect, is_address, staged
from patchindex.errors import ClusterError
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
    help="Folder on each machine's own disk, to which the index is copied first. Then --index may "
    "be an address of object storage, such as s3://bucket/faces.zarr.",
)
mixed_option = click.option(
    "--mixed",
    is_flag=True,
    help="With --cluster: let workers of different processors or GPUs serve, whose sums differ in "
    "the seventh digit.",
)


def cluster_options(command: Callable[..., None]) -> Callable[..., None]:
    """All three; the command is given the crew. Then states lie in this process's own memory."""
    return stage_option(sharing_options(command))


def sharing_options(command: Callable[..., None]) -> Callable[..., None]:
    """Two of them, for commands whose workers must see what this process sees."""

    @wraps(command)
    def connected(
        *, cluster: str | None, mixed: bool, stage: Path | None = None, **settings: Any
    ) -> None:
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
                progress=bars if cluster and sys.stderr.isatty() else no_progress,
            ) as crew,
        ):
            command(crew=crew, **settings)

    return cluster_option(mixed_option(connected))


def _needed(stage: Path | None, address: str) -> Path:
    """The folder for copies; raise ClusterError if there is none."""
    if stage is None:
        raise ClusterError(
            f"{address} is read from a copy on this machine's own disk. Give a folder for it with "
            "--stage DIR."
        )
    return stage
