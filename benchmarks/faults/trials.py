"""Trials by kind and number, carried out side by side in forked copies."""

import json
import os
import shutil
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.faults.forked import Fell
from benchmarks.faults.stage import Stage

GOLDEN = 0.6180339887498949


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a trial happens, and what decides it.

    Attributes:
        folder: empty, for its commands.
        share: in [0, 1); those of trials 0 to n - 1 are spread evenly, whatever n is.
    """

    stage: Stage
    folder: Path
    number: int
    share: float
    rng: np.random.Generator


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What came of a trial that is many at once."""

    tried: int
    fell: tuple[str, ...]
    note: str


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of trial, and how many.

    Attributes:
        attack: raises Fell if something was wrong; returns "refused" or such for the record.
    """

    name: str
    attack: Callable[[Place], str | Tally | None]
    count: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a trial: all that fell, nothing if it held."""

    kind: str
    number: int
    fell: tuple[str, ...] = ()
    note: str | None = None
    tried: int = 1

    @property
    def name(self) -> str:
        """Kind and number."""
        return f"{self.kind}-{self.number}"


def carry_out(
    stage: Stage, trials: Iterable[tuple[Kind, int]], seed: int, jobs: int
) -> Iterator[Verdict]:
    """The verdict of each trial, as they end."""
    running: dict[int, tuple[Kind, int, Path]] = {}
    for kind, number in trials:
        while len(running) >= jobs:
            yield finish(running)
        folder = Path(stage.root, "trials", f"{kind.name}-{number}")
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "here").mkdir(parents=True)
        process = os.fork()
        if process == 0:
            judge(stage, kind, number, seed, folder)
        running[process] = (kind, number, folder)
    while running:
        yield finish(running)


def judge(stage: Stage, kind: Kind, number: int, seed: int, folder: Path) -> None:
    """Be the process of one trial: never returns."""
    try:
        verdict = attempt(stage, kind, number, seed, folder / "here")
        folder.joinpath("verdict.json").write_text(json.dumps(asdict(verdict)))
    finally:
        os._exit(0)


def attempt(stage: Stage, kind: Kind, number: int, seed: int, here: Path) -> Verdict:
    """Carry out one trial."""
    rng = np.random.default_rng([seed, number, *kind.name.encode()])
    share = (0.5 + number * GOLDEN) % 1
    place = Place(stage=stage, folder=here, number=number, share=share, rng=rng)
    try:
        came = kind.attack(place)
    except Fell as why:
        return Verdict(kind.name, number, (str(why),))
    except Exception:
        return Verdict(kind.name, number, (f"the harness itself: {traceback.format_exc()}",))
    if isinstance(came, Tally):
        return Verdict(kind.name, number, came.fell, came.note, came.tried)
    return Verdict(kind.name, number, note=came)


def finish(running: dict[int, tuple[Kind, int, Path]]) -> Verdict:
    """Wait for one of these processes; its verdict."""
    process, _ = os.waitpid(-1, 0)
    while process not in running:  # a daemon's orphan
        process, _ = os.waitpid(-1, 0)
    kind, number, folder = running.pop(process)
    try:
        verdict = Verdict(**json.loads(folder.joinpath("verdict.json").read_text()))
    except (OSError, ValueError):
        return Verdict(kind.name, number, ("the harness itself: the trial left no verdict",))
    if not verdict.fell:
        remove(folder)
    return verdict


def remove(folder: Path) -> None:
    """Remove a trial's folder; a process that it left may still be writing."""
    for _ in range(5):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)
