"""`patchindex worker`: a process that works for the commands of others."""

from pathlib import Path

import click
import torch

from cli.options import device_option, open_device, threads_option
from patchindex.cluster import VARIABLE, serve
from patchindex.environment import set_threads
from patchindex.errors import ClusterError


@click.command()
@click.option(
    "--cluster",
    metavar="ADDRESS|FILE",
    required=True,
    envvar=VARIABLE,
    help="Scheduler to work for, by its address or the file of `dask scheduler`.",
)
@click.option("--name", help="In messages. [default: the host's, and the number of the process]")
@device_option
@threads_option
@click.option(
    "--tls",
    nargs=3,
    metavar="CA CERT KEY",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Files of certificates, for a scheduler at tls://.",
)
@click.option(
    "--interface", metavar="NAME", help="Network interface to be reached by, such as ib0 or eth0."
)
@click.option(
    "--scratch",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder for Dask's own files. [default: the system's]",
)
def worker(
    *,
    cluster: str,
    name: str | None,
    device: str,
    threads: int | None,
    tls: tuple[Path, Path, Path] | None,
    interface: str | None,
    scratch: Path | None,
) -> None:
    """Work for a scheduler until it ends, or until this process is told to; see docs/cluster.md."""
    if threads is not None:
        set_threads(threads)
    if "://" not in cluster and not Path(cluster).is_file():
        raise ClusterError(
            f"there is no scheduler at {cluster!r}. Give tcp://HOST:8786, or the file that `dask "
            "scheduler --scheduler-file` wrote."
        )
    place = open_device(device, kernels=True).place
    scheduler = [cluster] if "://" in cluster else ["--scheduler-file", cluster]
    settings = {"interface": interface, "local-directory": scratch}
    if tls is not None:
        settings |= dict(zip(("tls-ca-file", "tls-cert", "tls-key"), tls, strict=True))
    for option, value in settings.items():
        if value is not None:
            scheduler += [f"--{option}", str(value)]
    serve(scheduler, name=name, threads=torch.get_num_threads(), place=place)
