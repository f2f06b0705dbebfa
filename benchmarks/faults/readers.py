"""Readers beside rebuilds: every run is of one index, the old or the new one."""

import os
import time
from pathlib import Path

import numpy as np

from benchmarks.faults.contents import Contents, contents, copy, difference
from benchmarks.faults.forked import Fell, check_tidy, command
from benchmarks.faults.stage import must_succeed
from benchmarks.faults.trials import Place, Tally

LIVE = "live.zarr"
SAMPLE = ("run", "--index", LIVE, "--num", "2", "--steps", "8", "--scales", "3,5", "--overwrite")


def read_beside_rebuilds(place: Place, *, readers: int, rebuilds: int) -> Tally:
    """Processes that sample again and again, while one replaces their index again and again."""
    wanted = [
        reference(place, f"index {name}", place.stage.known[name].folder / "index.zarr")
        for name in ("build", "other")
    ]
    copy(place.stage.index, place.folder / LIVE)
    processes = [start_reader(place, i, wanted) for i in range(readers)]
    fell = rebuild(place, rebuilds)
    (place.folder / "stop").touch()
    for process in processes:
        os.waitpid(process, 0)
    told = [line for i in range(readers) for line in lines_of(place.folder / f"told-{i}")]
    fell += [line for line in told if line not in {"held", "refused"}]
    served, refused = told.count("held"), told.count("refused")
    if served < rebuilds:
        fell.append(f"only {served} runs over {rebuilds} rebuilds were served")
    note = f"{served} served, {refused} refused in one line"
    return Tally(tried=len(told), fell=tuple(fell), note=note)


def reference(place: Place, name: str, index: Path) -> Contents:
    """What a run over this index leaves when nobody replaces it."""
    folder = place.folder.parent / name
    folder.mkdir()
    copy(index, folder / LIVE)
    must_succeed(command("sampler", (*SAMPLE, "--out", "run"), folder), name)
    return contents(folder / "run", folder, place.stage.root)


def rebuild(place: Place, rebuilds: int) -> list[str]:
    """Replace the index so often, with the other images each time; what went wrong."""
    fell = []
    for i in range(rebuilds):
        arguments = list(place.stage.build("ba"[i % 2], "--overwrite"))
        arguments[arguments.index("index.zarr")] = LIVE
        try:
            if not check_tidy(command("patchindex", arguments, place.folder), f"rebuild {i}"):
                fell.append(f"rebuild {i} refused beside readers")
        except Fell as why:
            fell.append(str(why))
        time.sleep(float(place.rng.random()) * 0.3)
    return fell


def start_reader(place: Place, number: int, wanted: list[Contents]) -> int:
    """A process that samples until it is told to stop, and once more; its id."""
    process = os.fork()
    if process:
        return process
    try:
        os.nice(19)  # else the one that rebuilds waits for all of them
        rng = np.random.default_rng([place.number, number])
        with (place.folder / f"told-{number}").open("w") as told:
            while True:
                last = (place.folder / "stop").exists()
                told.write(f"{read_once(place, number, wanted)}\n")
                told.flush()
                if last:
                    break
                time.sleep(float(rng.random()) * 0.2)
    finally:
        os._exit(0)


def read_once(place: Place, number: int, wanted: list[Contents]) -> str:
    """Sample once: held, refused, or what was wrong."""
    here = place.folder.parent / f"reader-{number}"
    here.mkdir(exist_ok=True)
    link = here / LIVE
    if not link.is_symlink():
        link.symlink_to(place.folder / LIVE)
    try:
        outcome = command("sampler", (*SAMPLE, "--out", "run"), here)
        if not check_tidy(outcome, f"reader {number}"):
            return "refused"
        found = contents(here / "run", here, place.stage.root)
    except (Fell, OSError) as why:
        return " ".join(str(why).split())
    told = " and, ".join(
        f"from {name}, {difference(found, one)}" for name, one in zip("AB", wanted, strict=True)
    )
    return "held" if found in wanted else f"reader {number} got a mixture: {told}"


def lines_of(path: Path) -> list[str]:
    """A file's lines; none if it is not there."""
    return path.read_text().splitlines() if path.exists() else ["a reader died"]
