"""`patchindex worker`: a process that works for the commands of others."""

from pathlib import Path

import torch

from cli.devices import open_device
from patchindex.cluster import serve
from patchindex.errors import ClusterError
from patchindex.loaded import set_threads


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
