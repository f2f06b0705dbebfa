"""A scheduler, workers and a driver on hosts of their own: bytes, slow and lossy links, faults."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import sleep
from typing import Any

import torch

from benchmarks.cluster.network import Network, hosts
from benchmarks.cluster.work import Work

SCHEDULER, DRIVER, WORKERS = "scheduler", "driver", ("worker1", "worker2")
# seconds one way, and share of frames that vanish
LINKS = ((0.0, 0.0), (0.001, 0.0), (0.01, 0.0), (0.05, 0.0), (0.0, 0.001), (0.0, 0.01))
REJOIN = 12  # seconds within which a worker that was started again is there


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What runs on the hosts."""

    network: Network
    workers: dict[str, "subprocess.Popen[str]"]
    driver: "subprocess.Popen[str]"
    log: Path

    def steps(self, work: Work, *, here: bool = False) -> Iterator[dict[str, Any]]:
        """Have a work carried out; each of its steps as soon as it is done."""
        assert self.driver.stdin is not None  # noqa: S101 - both are pipes
        assert self.driver.stdout is not None  # noqa: S101
        self.driver.stdin.write(json.dumps(asdict(work) | {"here": here}) + "\n")
        self.driver.stdin.flush()
        for line in iter(self.driver.stdout.readline, "\n"):
            if not line:
                raise RuntimeError(f"the driver has ended: {self.log.read_text()}")
            yield json.loads(line)

    def restart(self, name: str) -> None:
        """Start a worker on its host."""
        worker = [sys.executable, "-m", "cli.patchindex", "worker", "--name", name,
                  "--cluster", f"tcp://{self.network.address(SCHEDULER)}:8786",
                  "--threads", str(max(1, torch.get_num_threads() // len(WORKERS)))]  # fmt: skip
        self.workers[name] = self.network.start(name, worker, stderr=subprocess.DEVNULL)


@contextmanager
def running(scratch: Path) -> Iterator[Cluster]:
    """All hosts with their processes."""
    log = scratch / "driver.log"
    with hosts((SCHEDULER, DRIVER, *WORKERS)) as network, log.open("w") as errors:
        where = network.address(SCHEDULER)
        scheduler = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard",
                     "--host", where, "--port", "8786"]  # fmt: skip
        network.start(SCHEDULER, scheduler, stderr=subprocess.DEVNULL)
        driver = [sys.executable, "-m", "benchmarks.cluster.driver", "--scratch", str(scratch),
                  "--cluster", f"tcp://{where}:8786"]  # fmt: skip
        sleep(3)  # until the scheduler listens
        process = network.start(
            DRIVER, driver, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        )
        cluster = Cluster(network=network, workers={}, driver=process, log=log)
        for name in WORKERS:
            cluster.restart(name)
        sleep(REJOIN)
        yield cluster


def link_rows(cluster: Cluster, works: Sequence[Work]) -> Iterator[dict[str, Any]]:
    """A row for each work and link: seconds, bits, and bytes between the hosts."""
    for work in works:
        here = list(cluster.steps(work, here=True))
        list(cluster.steps(work))  # opens the index on the workers
        for delay, loss in LINKS:
            cluster.network.delay, cluster.network.loss = delay, loss
            before = cluster.network.sent.copy()
            done = list(cluster.steps(work))
            sent = cluster.network.sent - before
            yield (
                {"part": "links"}
                | work.told()
                | {
                    "delay_ms": 1e3 * delay,
                    "loss": loss,
                    "workers": len(WORKERS),
                    "seconds_here": [step["seconds"] for step in here],
                    "seconds": [step["seconds"] for step in done],
                    "same_bits": _digests(done) == _digests(here),
                    "bytes_a_step": {
                        f"{a} to {b}": count // len(done) for (a, b), count in sorted(sent.items())
                    },
                    "kept_bytes": [step["head_bytes"] for step in done],
                }
            )
        cluster.network.delay, cluster.network.loss = 0.0, 0.0


def fault_rows(cluster: Cluster, work: Work) -> Iterator[dict[str, Any]]:
    """A row for each way in which a worker is lost in the second step of a work."""
    undisturbed = list(cluster.steps(work))
    for name, (lose, mend) in FAULTS.items():
        told = len(cluster.log.read_text())
        steps = cluster.steps(work)
        done = [next(steps)]
        sleep(undisturbed[1]["seconds"] / 2)
        lose(cluster, WORKERS[0])
        done += list(steps)
        yield (
            {"part": "faults", "fault": name}
            | work.told()
            | {
                "usual_seconds": [step["seconds"] for step in undisturbed],
                "seconds": [step["seconds"] for step in done],
                "lost_seconds": round(done[1]["seconds"] - undisturbed[1]["seconds"], 2),
                "same_bits": _digests(done) == _digests(undisturbed),
                "logged": cluster.log.read_text()[told:].splitlines(),
            }
        )
        mend(cluster, WORKERS[0])
        sleep(REJOIN)


def _digests(steps: Sequence[dict[str, Any]]) -> list[str]:
    return [step["digest"] for step in steps]


def _kill_process(cluster: Cluster, name: str) -> None:
    """Kill the process that works, which the one that watches it starts again."""
    threads = Path(f"/proc/{cluster.workers[name].pid}/task").iterdir()
    for child in " ".join((thread / "children").read_text() for thread in threads).split():
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
            os.kill(int(child), signal.SIGKILL)


def _kill_all(cluster: Cluster, name: str) -> None:
    """Kill the worker and who watches it: its host says goodbye for them."""
    os.killpg(cluster.workers[name].pid, signal.SIGKILL)


def _cut(cluster: Cluster, name: str) -> None:
    """Let nothing pass from or to a worker's host, which goes on working."""
    cluster.network.cut = {name}


def _join(cluster: Cluster, name: str) -> None:
    """Let all pass again, and start the worker afresh."""
    if cluster.workers[name].poll() is None:
        _kill_all(cluster, name)
    cluster.network.cut = set()
    cluster.restart(name)


def _nothing(cluster: Cluster, name: str) -> None:
    """It mends itself."""


Change = Callable[[Cluster, str], None]
FAULTS: dict[str, tuple[Change, Change]] = {
    "a worker's process killed": (_kill_process, _nothing),
    "a worker and its watcher killed": (_kill_all, _join),
    "a worker's link silently cut": (_cut, _join),
}
