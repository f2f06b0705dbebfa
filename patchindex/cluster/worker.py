"""What runs on a worker: its report about itself, its units, and the command that starts it."""

import asyncio
import os
import signal
import socket
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from patchindex.choices import Precision
from patchindex.cluster.staging import Stage
from patchindex.cluster.wire import Packed, pack, unpack
from patchindex.device import CPU, Device, describe_device
from patchindex.environment import first_version, library_versions, main_memory
from patchindex.errors import ClusterError, UserError
from patchindex.index import ListSearchKind, PatchIndex, Pickled, reopen
from patchindex.loaded import describe_kernels, set_threads

# set by whoever starts a worker
DEVICE, THREADS = "PATCHINDEX_WORKER_DEVICE", "PATCHINDEX_WORKER_THREADS"
OPEN_INDICES = 4  # that a worker keeps open


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerReport:
    """What a worker says of itself.

    Attributes:
        versions: of the libraries that decide bits, and of Dask.
        kernels: back end and instruction set of the processor.
        device: where it computes.
        limited: whether Dask may end it for the files that it maps.
        memory: bytes of its host; None where the system does not tell.
        index: why it cannot open the index that was asked for; None if it can.
        folder: whether it sees the folder that was asked for.
    """

    name: str
    host: str
    pid: int
    versions: dict[str, str]
    kernels: str
    device: str
    limited: bool
    memory: int | None
    index: str | None
    folder: bool


async def report(
    wanted: Pickled | None, stage: Stage | None, witness: Path | None, dask_worker: Any = None
) -> WorkerReport:
    """What this worker is, and whether it can serve.

    Args:
        wanted: an index that it should find, there or where it copies it to.
        witness: a file that it should see.
        dask_worker: given by Dask.
    """
    obstacle = None
    if wanted is not None:
        try:
            # not here: a copy takes minutes, in which a worker that is not heard of would be ended
            await asyncio.to_thread(_open_index, stage, wanted)
        except UserError as error:
            obstacle = str(error)
    return WorkerReport(
        name=str(dask_worker.name),
        host=socket.gethostname(),
        pid=os.getpid(),
        versions=cluster_versions(),
        kernels=describe_kernels(),
        device=describe_device(place_here()),
        limited=dask_worker.memory_manager.memory_limit is not None,
        memory=main_memory(),
        index=obstacle,
        folder=witness is None or witness.exists(),
    )


def cluster_versions() -> dict[str, str]:
    """Of the libraries that decide bits, and of Dask."""
    return library_versions() | {"dask": first_version(("distributed",))}


async def grant(token: str, dask_worker: Any = None) -> None:
    """Let this worker do the units that ask for the token, one at a time."""
    from distributed.core import Status  # noqa: PLC0415 - comes with the extra

    await dask_worker.set_resources(**{token: 1})
    if dask_worker.status == Status.running:
        # Units that nobody could do wait for a worker that begins to run, not for its resources:
        # without this they would wait for ever once all workers were lost.
        dask_worker.status = Status.paused
        dask_worker.status = Status.running


def do(shared: Packed, unit: Packed, stage: Stage | None) -> Packed:
    """One unit: `work(unit, *shared)`; an error that its user can mend is a result, not a retry."""
    set_threads(int(os.environ.get(THREADS, os.cpu_count() or 1)))  # of the thread that Dask chose
    read = partial(unpack, place=place_here(), open_index=partial(_open_index, stage))
    try:
        work, others = read(shared)
        return pack(work(read(unit), *others))
    except UserError as error:
        return pack(Refusal(error))


def dask_setup(worker: object) -> None:  # noqa: ARG001 - Dask gives it by this name
    """Leave Ctrl-C to the process that this worker belongs to, which then ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error that a user can mend."""

    error: UserError


def passed_on(shared: Packed) -> Packed:
    """What all units share, kept by a worker and fetched from there by others."""
    return shared


def place_here() -> torch.device:
    """Where this worker computes."""
    return torch.device(os.environ.get(DEVICE, "cpu"))


def _open_index(stage: Stage | None, pickled: Pickled) -> PatchIndex:
    """The index, opened once; its classes, where it is asked for with others."""
    search = pickled.list_search, pickled.precision
    opened = _opened(pickled.path, pickled.digest, search, _Same(stage))
    return opened if pickled.labels is None else _relabelled(opened, pickled.labels.tobytes())


@lru_cache(OPEN_INDICES)
def _opened(
    path: str, digest: str, search: tuple[ListSearchKind, Precision], stage: "_Same"
) -> PatchIndex:
    place = path if stage.value is None else stage.value.place_of(path, digest)
    kind, precision = search
    where = Pickled(path=place, digest=digest, list_search=kind, precision=precision, labels=None)
    return reopen(where, Device(place_here(), precision=precision))


@lru_cache(OPEN_INDICES)
def _relabelled(opened: PatchIndex, labels: bytes) -> PatchIndex:
    return opened.relabelled(np.frombuffer(labels, dtype=np.int64))


@dataclass(frozen=True)
class _Same:
    """A stage that is equal to any other: it only says where copies lie."""

    value: Stage | None = field(compare=False)


def check_dask() -> None:
    """Raise ClusterError unless Dask is installed."""
    if find_spec("distributed") is None:
        raise ClusterError(
            "a cluster needs Dask, which is not installed. Run `pip install 'patchindex[cluster]'`."
        )


def worker_settings(threads: int, place: torch.device = CPU) -> dict[str, str]:
    """Variables that tell a worker's process what it computes with."""
    return {DEVICE: str(place), THREADS: str(threads)}


def quiet_nannies(level: str) -> AbstractContextManager[object]:
    """Until the end of the block, processes are started that log nothing below this level."""
    import dask  # noqa: PLC0415 - comes with the extra

    quiet = {"DASK_DISTRIBUTED__LOGGING__DISTRIBUTED": level}
    return dask.config.set({"distributed.nanny.pre-spawn-environ": quiet})


def serve(scheduler: Sequence[str], *, name: str | None, threads: int, place: torch.device) -> None:
    """Work for a scheduler until it ends; a process that was killed is started again.

    Args:
        scheduler: the arguments by which `dask worker` finds it, and its own other options.
        name: in messages; None for the host's name and the number of the process.
    """
    check_dask()
    from distributed.cli.dask_worker import main  # noqa: PLC0415

    os.environ |= worker_settings(threads, place)
    with quiet_nannies("error"):
        main.main(
            [
                *scheduler, "--nthreads", "1", "--memory-limit", "0", "--no-dashboard",
                "--name", name or f"{socket.gethostname()}-{os.getpid()}",
            ],
            standalone_mode=False,
        )  # fmt: skip
