"""A crew of Dask workers: which of them may serve, and the units that they do.

A worker gets units only once it has passed the checks: it is granted a resource of Dask's that the
units of this crew ask for, one at a time. Workers may come and go at any moment.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import wait
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, TypeVar
from uuid import uuid4

from distributed import Client, Future, KilledWorker
from distributed.client import ClosedClientError, FutureCancelledError
from distributed.comm.core import CommClosedError

from patchindex.cluster.checks import faults, format_failure
from patchindex.cluster.staging import Stage
from patchindex.cluster.wire import Packed, pack, unpack
from patchindex.cluster.worker import Refusal, WorkerReport, do, grant, passed_on, report
from patchindex.crew import LOCAL, Crew, CrewReport, tell_share
from patchindex.device import CPU
from patchindex.errors import ClusterError
from patchindex.index import PatchIndex, Pickled, reopen
from patchindex.progress import ProgressCallback

LOOK_SECONDS = 0.5  # between two looks at who is there
RETRIES = 3
WITNESS = ".witness-"
PATIENCE_SECONDS = 120  # for a first worker

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


class WholeClient(Client):
    """A client that connected, or is closed already when its making raises.

    Dask leaves one half-made whose address it cannot read. That one would be closed by whichever
    thread happens to collect it, which may then wait forever.
    """

    def __init__(self, *args: object, **options: object) -> None:
        try:
            super().__init__(*args, **options)  # type: ignore[no-untyped-call]
        except BaseException:
            self.close()  # type: ignore[no-untyped-call]
            raise


class DaskCrew:
    """The workers of a cluster that passed the checks; see `patchindex.cluster.connect`.

    Args:
        opened: connects, and tells how many workers will certainly come.
    """

    def __init__(
        self,
        opened: Callable[[], tuple[Client, int]],
        *,
        stage: Stage | None,
        mixed: bool,
        progress: ProgressCallback,
    ) -> None:
        self._opened, self._progress = cache(opened), progress
        self._stage, self._mixed = stage, mixed
        self._token = f"patchindex-{uuid4().hex}"
        self._wanted: Pickled | None = None
        self._witness: Path | None = None
        self._serving: dict[str, WorkerReport] = {}  # by address
        self._refused: dict[str, str] = {}
        self._first: WorkerReport | None = None  # whom all others must be like
        self._lost: list[str] = []
        self._kernels: set[str] = set()
        self._devices: set[str] = set()
        self._stage_name = "units"

    def __reduce__(self) -> tuple[Any, ...]:
        """Images that hold it may travel: a worker does its own work."""
        return _alone, ()

    @property
    def _client(self) -> Client:
        """Connected when it is first asked for, so that no mistake waits for a cluster."""
        return self._opened()[0]

    @property
    def size(self) -> int:
        """Workers that serve."""
        return max(1, len(self._serving))

    @property
    def memory(self) -> int | None:
        """Of the worker that has least; None if one does not tell."""
        told = [report.memory for report in self._serving.values()]
        known = [memory for memory in told if memory is not None]
        return min(known) if known and len(known) == len(told) else None

    def begin(self, stage: str) -> None:
        """Name what the next units are for, in messages."""
        self._stage_name = stage

    def admit(self, index: PatchIndex | None = None, *, folder: Path | None = None) -> None:
        """Check all workers, now and when they come, and let those serve that pass.

        Args:
            index: which they must find.
            folder: which they must share with this process.

        Raises:
            ClusterError: there is no worker, or one that is there cannot serve: a line for each.
        """
        if index is not None:
            self._wanted = index.pickled()
        if folder is not None:
            self._witness = _leave_witness(folder)
        with self._in_our_words():
            self._wait_for_workers()
        if self._refused:
            for line in self._refused.values():
                logger.error("%s", line)
            raise ClusterError(
                f"{len(self._refused)} of {len(self._refused) + len(self._serving)} workers cannot "
                f"serve: {next(iter(self._refused.values()))}"
            )

    def shares(self, folder: Path) -> bool:
        """See `Crew.shares`."""
        witness, before = _leave_witness(folder), self._witness
        with self._in_our_words():
            found = self._client.run(witness.exists, workers=list(self._serving), on_error="ignore")
        if found and all(found.values()):
            self._witness = witness
            return True
        witness.unlink()
        self._witness = before
        return False

    def report(self) -> CrewReport:
        """See `Crew.report`."""
        return CrewReport(
            workers=len(self._serving),
            lost=tuple(self._lost),
            kernels=tuple(sorted(self._kernels)),
            devices=tuple(sorted(self._devices)),
        )

    def run(self, work: Callable[..., Result], units: Sequence[Any], *shared: Any) -> list[Result]:
        """See `Crew.run`.

        Raises:
            ClusterError: a unit ended four workers, or the scheduler was lost.
            UserError: as `work` does.
        """
        with self._in_our_words():
            self._look_round()
            name = f"{work.__name__.strip('_')}-{uuid4().hex}"
            futures = self._submit(name, pack((work, shared)), units)
            try:
                self._wait(futures)
                return [self._result(packed) for packed in self._gathered(futures)]
            except BaseException:
                self._client.cancel(futures, force=True)
                raise

    @contextmanager
    def _in_our_words(self) -> Iterator[None]:
        """Raise ClusterError for what Dask raises of workers that ended, or of its scheduler."""
        try:
            yield
        except KilledWorker as error:
            raise ClusterError(
                f"{self._stage_name}: a unit ended {RETRIES + 1} workers, the last of them "
                f"{error.last_worker.name}. Look at their memory and logs."
            ) from error
        except (FutureCancelledError, ClosedClientError, CommClosedError) as error:
            raise ClusterError(
                f"the scheduler was lost in {self._stage_name}. Start it and its workers again, "
                "and give the same command: a run or a build goes on."
            ) from error

    def _submit(self, name: str, shared: Packed, units: Sequence[Any]) -> list[Future[Any]]:
        """The units, of which each depends on a copy of what they share that its home has.

        Dask sends a unit to where that copy is, or to any other that serves. Asked for a worker by
        its address or else any other, it would take those that do not serve, too.
        """
        submit = partial(self._client.submit, retries=RETRIES)
        held = submit(passed_on, shared, key=f"{name}-shared")
        copies = [
            submit(
                passed_on, held, key=f"{name}-at-{number}", workers=[home], allow_other_workers=True
            )
            for number, home in enumerate(sorted(self._serving))
        ] or [held]
        return [
            submit(
                do, copies[number * len(copies) // len(units)], pack(unit), self._stage,
                key=f"{name}-{number}", resources={self._token: 1},
            )
            for number, unit in enumerate(units)
        ]  # fmt: skip

    def _result(self, packed: Any) -> Any:
        """What a unit returned, here."""
        value = unpack(packed, CPU, reopen)
        if isinstance(value, Refusal):
            raise value.error
        return value

    def _wait(self, futures: Sequence[Future[Any]]) -> None:
        """Return when all are done or one has failed; meanwhile tell who came and went."""
        finished: SimpleQueue[Future[Any]] = SimpleQueue()
        for future in futures:
            future.add_done_callback(finished.put)
        done, looked = 0, monotonic()
        self._progress(self._stage_name, 0, len(futures))
        while done < len(futures):
            if monotonic() > looked + LOOK_SECONDS:  # however fast units are done
                self._look_round()
                looked = monotonic()
            try:
                future = finished.get(timeout=LOOK_SECONDS)
            except Empty:
                continue
            if future.status != "finished":
                return  # gathering raises its error
            done += 1
            self._progress(self._stage_name, done, len(futures))
            tell_share(done / len(futures))

    def _gathered(self, futures: Sequence[Future[Any]]) -> list[Any]:
        """What all returned; what was lost with a worker meanwhile is done again."""
        loop: Any = self._client.loop
        gathering = asyncio.run_coroutine_threadsafe(
            self._client.gather(list(futures), asynchronous=True), loop.asyncio_loop
        )
        while not gathering.done():
            wait([gathering], timeout=LOOK_SECONDS)
            if not gathering.done():
                self._look_round()
        gathered: list[Any] = gathering.result()
        return gathered

    def _wait_for_workers(self) -> None:
        """Wait for a first worker, or for all that will certainly come."""
        logger.info("waiting for workers")
        try:
            self._client.wait_for_workers(self._opened()[1], timeout=PATIENCE_SECONDS)
        except TimeoutError:
            raise ClusterError(
                f"no worker came within {PATIENCE_SECONDS} s. Start some with `patchindex worker "
                "--cluster` and the same address or file."
            ) from None
        self._look_round(again=True)
        logger.info("%d workers serve", len(self._serving))

    def _look_round(self, *, again: bool = False) -> None:
        """Note who is gone, and check who is new; or all, again."""
        there = self._client.scheduler_info(n_workers=-1).get("workers")
        if there is None:
            raise ClosedClientError  # its scheduler went away since the last look
        for address in [address for address in self._serving if address not in there]:
            name = self._serving.pop(address).name
            self._lost.append(name)
            logger.warning(
                "%s was lost in %s; its units are done elsewhere", name, self._stage_name
            )
            if not self._serving:
                logger.warning("no worker is left; waiting for one")
        known = set() if again else self._serving.keys() | self._refused.keys()
        new = [address for address in there if address not in known]
        if new:
            self._check(new, quietly=again)

    def _check(self, addresses: Sequence[str], *, quietly: bool) -> None:
        """Let these workers serve if they can."""
        if self._witness is not None and not self._witness.exists():
            self._witness = None  # the folder is gone, such as that of a build that is finished
        found = self._client.run(
            report, self._wanted, self._stage, self._witness,
            workers=list(addresses), on_error="return",
        )  # fmt: skip
        for address in addresses:
            told = found.get(address)
            if isinstance(told, OSError | CommClosedError) or told is None:
                continue  # gone meanwhile, or about to be
            obstacle = self._obstacle(address, told)
            if obstacle is not None:
                self._refused[address] = obstacle
                if not quietly:
                    logger.warning("%s It gets no work.", obstacle)
                continue
            self._refused.pop(address, None)
            granted = self._client.run(grant, self._token, workers=[address], on_error="ignore")
            if address not in granted:
                continue  # gone meanwhile
            if address not in self._serving and not quietly:
                logger.info("%s joined", told.name)
            self._serving[address] = told
            self._kernels.add(told.kernels)
            self._devices.add(told.device)

    def _obstacle(self, address: str, told: WorkerReport | Exception) -> str | None:
        """Why a worker cannot serve; None if it can."""
        if isinstance(told, Exception):
            return format_failure(address, told)
        fault = next(faults(told, self._first, mixed=self._mixed), None)
        if fault is None:
            self._first = self._first or told
        return fault


def _alone() -> Crew:
    return LOCAL


def _leave_witness(folder: Path) -> Path:
    """A file by which workers know the folder; it stays until the folder goes."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{WITNESS}*"):
        old.unlink()
    path = folder / f"{WITNESS}{uuid4().hex}"
    path.touch()
    return path
