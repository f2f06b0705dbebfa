"""What a step costs more on workers of this machine than in this process."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.cluster.work import Work, digest_of
from patchindex.cluster import connect
from patchindex.crew import LOCAL, Crew


def crew_rows(
    works: Sequence[tuple[str, Work]], counts: Sequence[int], scratch: Path
) -> Iterator[dict[str, Any]]:
    """A row for each work.

    All crews go through a trajectory side by side, one after another at each step, so that each
    step's seconds are compared with those of this process a moment before. Each has gone through
    it once, which is not counted: that is when an index is opened and its lists are checked.

    Args:
        works: each with its name.
        counts: workers of each crew; all share this machine's cores.
    """
    with ExitStack() as stack:
        crews: dict[int, Crew] = {0: LOCAL}
        for count in counts:
            crews[count] = stack.enter_context(connect(f"local:{count}"))
        for name, work in works:
            yield {"part": "crews", "name": name} | work.told() | _measured(work, crews, scratch)


def _measured(work: Work, crews: dict[int, Crew], scratch: Path) -> dict[str, Any]:
    """Seconds a step of each crew, beside this process."""
    for n, crew in crews.items():
        for _ in work.carried_out(crew, scratch / f"warm-{n}"):
            pass
    runs = {n: work.carried_out(crew, scratch / f"keep-{n}") for n, crew in crews.items()}
    seconds: dict[int, list[float]] = {n: [] for n in crews}
    same = True
    for _ in range(work.first):
        digests = set()
        for n, run in runs.items():
            done = next(run)
            seconds[n].append(done.seconds)
            digests.add(digest_of(done))
        same &= len(digests) == 1
    return {
        "same_bits": same,
        "cores": torch.get_num_threads(),
        "crews": [_row(n, seconds[n], seconds[0]) for n in crews],
    }


def _row(workers: int, seconds: Sequence[float], here: Sequence[float]) -> dict[str, Any]:
    """One crew; 0 workers are this process."""
    more = [own - local for own, local in zip(seconds, here, strict=True)]
    times = [own / local for own, local in zip(seconds, here, strict=True)]
    return {
        "workers": workers,
        "threads_each": max(1, torch.get_num_threads() // max(1, workers)),
        "seconds": [round(value, 4) for value in seconds],
        "median_seconds": round(median(seconds), 4),
        "more_seconds": round(median(more), 4),
        "times_as_long": round(median(times), 3),
    }
