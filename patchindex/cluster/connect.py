"""Connecting to a cluster, or starting one on this machine."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from patchindex.cluster.staging import Stage
from patchindex.cluster.worker import check_dask, dask_setup, quiet_nannies, worker_settings
from patchindex.crew import LOCAL, Crew
from patchindex.errors import ClusterError
from patchindex.progress import ProgressCallback, no_progress

if TYPE_CHECKING:
    from distributed import Client

CONNECT_SECONDS = 10
# what Dask raises where nobody answers, and of addresses and files that name nobody
NO_SCHEDULER = (
    OSError, TimeoutError, ValueError, LookupError, AssertionError, ImportError, TypeError,
)  # fmt: skip
GRAPH_WARNING = "distributed.admin.large-graph-warning-threshold"
# by default Dask gives one up whose process is not there 15 s after it was killed, though it may
# be starting still, or again
KEEP_LOCAL_WORKERS = {"distributed.deploy.lost-worker-timeout": "1 day"}
EXAMPLE = "Give local, local:4, tcp://HOST:8786, or the JSON file of `dask scheduler`."


@contextmanager
def connect(
    address: str | None,
    *,
    stage: Path | None = None,
    sources: Mapping[str, str] | None = None,
    mixed: bool = False,
    progress: ProgressCallback = no_progress,
) -> Iterator[Crew]:
    """The crew of a cluster, until the end of the block.

    Args:
        address: `local[:N]`, for so many processes on this machine; a scheduler's address, such as
            tcp://HOST:8786; or the file that `dask scheduler --scheduler-file` wrote. None is this
            process alone.
        stage: folder on each worker's own disk, to which it copies the indices that it reads.
        sources: of copies that this process has made, the addresses that workers copy from.
        mixed: let workers of different instruction sets and devices serve, whose results differ in
            the seventh digit.
        progress: told of the units of every call.

    Raises:
        ClusterError: no such cluster, or none that answers.

    Example:
        >>> with connect("local:2") as crew:
        ...     index = PatchIndex.open(path, crew=crew)
        ...     crew.admit(index)
        ...     ELSMachine(index).posterior(xt, 0.5, 9)
    """
    if address is None:
        yield LOCAL
        return
    check_dask()
    import dask  # noqa: PLC0415 - comes with the extra

    from patchindex.cluster.dask_crew import DaskCrew  # noqa: PLC0415 - imports Dask

    # what Dask logs of who was lost is told by us, in the words of the computation
    for part in ("", ".client", ".core", ".scheduler", ".nanny"):
        logging.getLogger(f"distributed{part}").setLevel(logging.CRITICAL)
    with ExitStack() as stack:
        # states and records are megabytes, of which Dask would warn
        stack.enter_context(dask.config.set({GRAPH_WARNING: 2**40}))
        copies = None if stage is None else Stage(stage, dict(sources or {}))
        opened = partial(_client, address, stack)
        yield DaskCrew(opened, stage=copies, mixed=mixed, progress=progress)


def _client(address: str, stack: ExitStack) -> "tuple[Client, int]":
    """A client, closed with the stack, and how many workers will certainly come."""
    from patchindex.cluster.dask_crew import WholeClient  # noqa: PLC0415 - imports Dask

    kind, _, count = address.partition(":")
    if kind == "local":
        import dask  # noqa: PLC0415

        expected = _num_local(count)
        stack.enter_context(dask.config.set(KEEP_LOCAL_WORKERS))
        cluster = stack.enter_context(_local_cluster(expected))
        return stack.enter_context(WholeClient(cluster, set_as_default=False)), expected
    where: dict[str, Any]
    if "://" in address:
        where = {"address": address}
    elif Path(address).is_file():
        where = {"scheduler_file": address}
    else:
        raise ClusterError(f"there is no cluster {address!r}. {EXAMPLE}")
    _check_certificates(address)
    try:
        client = WholeClient(**where, timeout=CONNECT_SECONDS, set_as_default=False)
        return stack.enter_context(client), 1
    except NO_SCHEDULER as error:
        told = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise ClusterError(
            f"no scheduler answers at {address} ({told}). Start one with `dask scheduler` and "
            "workers with `patchindex worker`; check host, port and certificates."
        ) from error


def _check_certificates(address: str) -> None:
    """Raise ClusterError if a scheduler asks for certificates and there are none."""
    import dask  # noqa: PLC0415 - comes with the extra

    told = address if "://" in address else Path(address).read_text(errors="replace")
    lacking = [
        f"DASK_DISTRIBUTED__COMM__TLS__{name.replace('.', '__').replace('-', '_').upper()}"
        for name in ("ca-file", "client.cert", "client.key")
        if dask.config.get(f"distributed.comm.tls.{name}") is None
    ]
    if "tls://" in told and lacking:
        raise ClusterError(
            f"the scheduler at {address} speaks TLS, for which this process has no certificate. "
            f"Set {', '.join(f'${name}' for name in lacking)} to files."
        )


def _num_local(count: str) -> int:
    """Processes of `local:COUNT`; by default one for each GPU, or two."""
    if not count:
        return max(2, torch.cuda.device_count())
    if not count.isdecimal() or not 1 <= int(count) <= (os.cpu_count() or 1) * 4:
        raise ClusterError(
            f"local:{count} is no number of processes for {os.cpu_count()} cores. {EXAMPLE}"
        )
    return int(count)


def _local_cluster(count: int) -> Any:
    """So many workers on this machine, which share its cores and GPUs."""
    from distributed import Nanny, Scheduler, SpecCluster  # noqa: PLC0415

    threads, gpus = max(1, torch.get_num_threads() // count), torch.cuda.device_count()
    workers = {
        f"worker-{number}": {
            "cls": Nanny,
            "options": {
                "nthreads": 1,
                "memory_limit": None,
                "dashboard": False,
                "preload": [dask_setup.__module__],  # where Dask looks for a `dask_setup`
                "env": worker_settings(
                    threads, torch.device("cuda", number % gpus) if gpus else torch.device("cpu")
                ),
            },
        }
        for number in range(count)
    }
    scheduler = {
        "cls": Scheduler,
        "options": {
            "dashboard": False,
            "dashboard_address": "127.0.0.1:0",  # of its health alone; any port that is free
            "host": "127.0.0.1",
            "port": 0,
        },
    }
    with quiet_nannies("critical"):
        return SpecCluster(scheduler=scheduler, workers=workers, silence_logs=logging.CRITICAL)
