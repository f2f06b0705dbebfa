"""Attack builds, runs, trainings and files; a table of tried, held, fell.

    python -m benchmarks.faults                       # minutes
    python -m benchmarks.faults --size goal           # the figures of the notes
    python -m benchmarks.faults --only damage         # one kind
    python -m benchmarks.faults --only damage-17      # one trial again, alone

Appends a JSON line to benchmarks/results/faults.jsonl. Needs POSIX: trials are forked.
"""

import os
import platform
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import click

from benchmarks.faults.damages import Uses, damage_something, learn_damages
from benchmarks.faults.forked import load_everything
from benchmarks.faults.hostile import feed
from benchmarks.faults.kills import (
    interrupt,
    kill_build,
    kill_overwrite,
    kill_run,
    kill_train,
    learn_jobs,
)
from benchmarks.faults.limits import close_streams, limit
from benchmarks.faults.readers import read_beside_rebuilds
from benchmarks.faults.stage import Stage, set_up
from benchmarks.faults.trials import Kind, Verdict, carry_out
from benchmarks.faults.writers import write_beside
from benchmarks.record import RESULTS, append_rows, time_and_commit

SIZES = {
    "small": {"build": 3, "overwrite": 2, "run": 2, "train": 0, "interrupt": 0, "beside": 1,
              "damage": 0, "readers": 0, "rebuilds": 0, "limits": 0, "streams": 0, "hostile": 2},
    "moderate": {"build": 40, "overwrite": 30, "run": 30, "train": 10, "interrupt": 8,
                 "beside": 12, "damage": 150, "readers": 16, "rebuilds": 6, "limits": 32,
                 "streams": 7, "hostile": 100},
    "goal": {"build": 200, "overwrite": 100, "run": 100, "train": 50, "interrupt": 24,
             "beside": 36, "damage": 1000, "readers": 64, "rebuilds": 20, "limits": 96,
             "streams": 21, "hostile": 200},
}  # fmt: skip
# jobs that a kind's trials are held against
NEEDED = {
    "readers": ("build", "other"),
    "train": ("train",),
    "interrupt": ("long", "build", "run"),
    "build": ("build", "blocks"),
    "overwrite": ("build", "over"),
    "run": ("build", "run", "traced", "other_run", "other_traced"),
    "beside": ("build", "other", "traced", "other_run", "other_traced", "train"),
    "damage": ("build", "traced", "train"),
    "limits": ("build", "blocks", "traced", "train"),
    "streams": ("build", "traced"),
    "hostile": ("build", "traced", "train"),
}


Callback = TypeVar("Callback", bound=Callable[..., Any])


def count(name: str) -> Callable[[Callback], Callback]:
    """An option that overrides how many of a kind are tried."""
    return click.option(f"--{name}", type=click.IntRange(min=0), metavar="N", help="Trials.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is tried.

    Attributes:
        only: a kind, or one trial of it as KIND-NUMBER; None for all.
    """

    seed: int
    size: str
    sizes: dict[str, int]
    only: str | None
    jobs: int
    keep: bool


@click.command()
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--size", type=click.Choice(list(SIZES)), default="moderate", show_default=True)
@count("build")
@count("overwrite")
@count("run")
@count("train")
@count("interrupt")
@count("beside")
@count("damage")
@count("readers")
@count("rebuilds")
@count("limits")
@count("streams")
@count("hostile")
@click.option("--only", metavar="KIND|KIND-NUMBER", help="These trials, or this one, alone.")
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--keep", is_flag=True, help="Keep the folders of what fell.")
@click.option("--scratch", type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="Where all happens. [default: memory, if there is a disk of it]")  # fmt: skip
@click.option(
    "--out", type=click.Path(path_type=Path), default=RESULTS / "faults.jsonl", show_default=True
)
def main(
    *, seed: int, size: str, only: str | None, jobs: int, keep: bool, scratch: Path | None,
    out: Path, **counts: int | None,
) -> None:  # fmt: skip
    if not hasattr(os, "fork"):
        raise click.ClickException("this needs a system with fork, such as Linux or macOS.")
    sizes = SIZES[size] | {name: count for name, count in counts.items() if count is not None}
    options = Options(seed=seed, size=size, sizes=sizes, only=only, jobs=jobs, keep=keep)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that its folder is removed
    start = perf_counter()
    load_everything()
    with workplace(scratch, keep=keep) as root:
        verdicts = list(judged(set_up(root), options))
    click.echo("\n".join(table(verdicts)))
    record(options, verdicts, perf_counter() - start, out)
    sys.exit(any(verdict.fell for verdict in verdicts))


@contextmanager
def workplace(scratch: Path | None, *, keep: bool) -> Iterator[Path]:
    """An empty folder and home; in memory if possible, because what is tested is no disk."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own in it
    parent = scratch or (memory if memory.is_dir() else None)
    root = Path(tempfile.mkdtemp(prefix="faults-", dir=parent)).resolve()
    os.environ["PATCHINDEX_HOME"] = str(root / "home")
    try:
        yield root
    finally:
        if keep:
            click.echo(f"kept: {root}")
        else:
            shutil.rmtree(root, ignore_errors=True)


def judged(stage: Stage, options: Options) -> Iterator[Verdict]:
    """The verdicts of all trials; what fell is told at once."""
    known: Uses = {}
    kinds = kinds_of(options.sizes, known)
    trials = chosen(kinds, options.only)
    names = {kind.name for kind, _ in trials}
    learn_jobs(
        stage, {job for name in names for job in NEEDED[name]}, twice=options.size != "small"
    )
    if names & {"damage", "hostile"}:
        known |= learn_damages(stage)
    for verdict in carry_out(stage, trials, options.seed, options.jobs):
        for why in verdict.fell:
            click.echo(f"{verdict.name} fell: {why}")
        yield verdict


def kinds_of(sizes: dict[str, int], known: Uses) -> list[Kind]:
    """All that is tried, what takes longest first.

    Args:
        known: filled before the first trial.
    """
    return [
        Kind("readers", partial(read_beside_rebuilds, readers=sizes["readers"],
                                rebuilds=sizes["rebuilds"]), min(sizes["readers"], 1)),
        Kind("train", kill_train, sizes["train"]),
        Kind("interrupt", interrupt, sizes["interrupt"]),
        Kind("build", kill_build, sizes["build"]),
        Kind("overwrite", kill_overwrite, sizes["overwrite"]),
        Kind("run", kill_run, sizes["run"]),
        Kind("beside", write_beside, sizes["beside"]),
        Kind("damage", partial(damage_something, known=known), sizes["damage"]),
        Kind("limits", limit, sizes["limits"]),
        Kind("streams", close_streams, sizes["streams"]),
        Kind("hostile", feed, sizes["hostile"]),
    ]  # fmt: skip


def chosen(kinds: list[Kind], only: str | None) -> list[tuple[Kind, int]]:
    """The trials to carry out.

    Raises:
        click.BadParameter: there is no such kind.
    """
    if only is None:
        return [(kind, number) for kind in kinds for number in range(kind.count)]
    name, _, number = only.partition("-")
    found = [kind for kind in kinds if kind.name == name]
    if not found:
        names = ", ".join(kind.name for kind in kinds)
        raise click.BadParameter(f"{only!r} is none of {names}, and no trial of them.")
    return [(found[0], n) for n in ([int(number)] if number else range(found[0].count))]


def counts(verdicts: list[Verdict]) -> dict[str, dict[str, Any]]:
    """Tried, held and fell by kind, and what held trials noted."""
    found: dict[str, dict[str, Any]] = {}
    for verdict in verdicts:
        row = found.setdefault(verdict.kind, {"tried": 0, "held": 0, "fell": 0, "notes": Counter()})
        row["tried"] += verdict.tried
        row["fell"] += min(len(verdict.fell), verdict.tried)
        row["held"] = row["tried"] - row["fell"]
        row["notes"][verdict.note] += verdict.note is not None
    for row in found.values():
        row["notes"] = {note: times for note, times in row["notes"].most_common(6) if note}
    return found


def table(verdicts: list[Verdict]) -> Iterator[str]:
    """Lines for people."""
    yield f"{'kind':<12} {'tried':>7} {'held':>7} {'fell':>7}"
    for kind, row in counts(verdicts).items():
        yield f"{kind:<12} {row['tried']:>7} {row['held']:>7} {row['fell']:>7}"


def record(options: Options, verdicts: list[Verdict], seconds: float, out: Path) -> None:
    """Keep what came of it, and tell how to repeat each trial that fell."""
    from patchindex.environment import library_versions  # noqa: PLC0415 - after the trials

    fell = [{"trial": verdict.name, "why": why[:400]}
            for verdict in verdicts for why in verdict.fell]  # fmt: skip
    row = time_and_commit() | {
        "versions": library_versions(),
        "machine": {"cpu": platform.machine(), "jobs": options.jobs},
        "config": {"seed": options.seed, "sizes": options.sizes, "only": options.only},
        "counts": counts(verdicts),
        "fell": fell[:100],
        "seconds": round(seconds, 1),
    }
    append_rows(out, [row])
    for name in sorted({verdict.name for verdict in verdicts if verdict.fell})[:20]:
        click.echo(f"again: python -m benchmarks.faults --seed {options.seed} --only {name}")
    click.echo(f"{seconds:.0f} s; {out}")


if __name__ == "__main__":
    main()
