"""Two writers in one folder at once: one is refused, or both are done, and nothing is mixed."""

import time
from dataclasses import dataclass

from benchmarks.faults.contents import contents, copy, difference
from benchmarks.faults.forked import Fell, Outcome, Program, check_tidy, command
from benchmarks.faults.kills import begun, inside, lasting
from benchmarks.faults.stage import Stage
from benchmarks.faults.trials import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two commands, of which the second starts while the first works.

    Attributes:
        results: what the product may be, by the number of the command that made it.
        old: a finished job whose run is in the folder before.
        exclusive: whether only one of them may succeed.
    """

    program: Program
    first: tuple[str, ...]
    second: tuple[str, ...]
    product: str
    results: dict[int, str]
    old: str | None = None
    exclusive: bool = False


def pairs(stage: Stage) -> tuple[Pair, ...]:
    """Commands that users start twice by mistake, or beside each other on purpose."""
    traced = stage.sample(0, "--trace", "--overwrite")
    return (
        Pair(program="sampler", first=traced, second=("explain", "run"), product="run",
             results={0: "traced"}, old="other_traced"),
        Pair(program="sampler", first=stage.sample(0, "--trace"), second=stage.sample(1),
             product="run", results={0: "traced", 1: "other_run"}, exclusive=True),
        Pair(program="sampler", first=traced, second=("plot", "run"), product="run",
             results={0: "traced"}, old="other_traced"),
        Pair(program="sampler", first=traced, second=stage.sample(1, "--overwrite"),
             product="run", results={0: "traced", 1: "other_run"}, old="other_traced"),
        Pair(program="sampler", first=stage.train(12, 4), second=stage.train(12, 4),
             product="net", results={0: "train", 1: "train"}),
        Pair(program="patchindex", first=stage.build(), second=stage.build("b"),
             product="index.zarr", results={0: "build", 1: "other"}, exclusive=True),
    )  # fmt: skip


def write_beside(place: Place) -> str | None:
    """The folder holds what one of the commands that succeeded makes, whole."""
    chosen = pairs(place.stage)
    pair = chosen[place.number % len(chosen)]
    if pair.old is not None:
        copy(place.stage.known[pair.old].folder / "run", place.folder / "run")
    outcomes: dict[int, Outcome] = {}

    def meddle(_process: int) -> None:
        wait_until_begun(place)
        outcomes[1] = command(pair.program, pair.second, place.folder)

    outcomes[0] = command(pair.program, pair.first, place.folder, meddle=meddle)
    names = (f"{pair.first[0]}, beside which came {pair.second[0]},", f"{pair.second[0]} beside")
    done = {i for i in (0, 1) if check_tidy(outcomes[i], names[i])}
    if not done:
        raise Fell(f"{names[0]} and that were both refused: {outcomes[0].last_words}")
    if pair.exclusive and len(done) == 2:
        raise Fell(f"{pair.first[0]} and {pair.second[0]} wrote to one folder, and both succeeded")
    found = lasting(contents(place.folder / pair.product, place.folder, place.stage.root))
    made: set[str | None] = {pair.results[i] for i in done if i in pair.results} or {pair.old}
    differing = [
        difference(found, lasting(inside(place.stage.known[name], pair.product)))
        for name in sorted(filter(None, made))
    ]
    if all(differing):
        raise Fell(f"{names[0]} left neither: {differing[0]}")
    return f"{len(done)} of 2 done"


def wait_until_begun(place: Place) -> None:
    """Until the first command works, and a moment more."""
    deadline = time.perf_counter() + 60
    while time.perf_counter() < deadline and not begun(place.folder):
        time.sleep(0.002)
    time.sleep(float(place.rng.random()) * 0.1)
