"""Kills of a build, an overwrite, a run and a training, and what the same command makes of it."""

import os
import signal
import time
from functools import partial
from pathlib import Path
from unittest.mock import patch

from benchmarks.faults.changes import count_changes
from benchmarks.faults.contents import Contents, contents, copy, difference
from benchmarks.faults.forked import Fell, Program, check_tidy, command
from benchmarks.faults.stage import Job, Known, Stage
from benchmarks.faults.trials import Place

# what other commands make of a run: lost is no loss
DERIVED = ("explain.html", "steps.png", "steps.svg", "attribution.png", "attribution.svg")
LAST = 48
AGAIN = 0.25  # share of trials in which the repetition is killed, too


def learn_jobs(stage: Stage, names: set[str], *, twice: bool) -> None:
    """Do these jobs undisturbed."""
    jobs = (
        Job(name="build", program="patchindex", arguments=stage.build()),
        Job(name="blocks", program="patchindex", arguments=stage.build(), before=small_blocks),
        Job(name="other", program="patchindex", arguments=stage.build("b")),
        Job(
            name="over",
            program="patchindex",
            arguments=stage.build("b", "--overwrite"),
            prepare=partial(lay_index, stage),
        ),
        Job(name="run", program="sampler", arguments=stage.sample(0)),
        Job(name="traced", program="sampler", arguments=stage.sample(0, "--trace")),
        Job(name="other_run", program="sampler", arguments=stage.sample(1)),
        Job(name="other_traced", program="sampler", arguments=stage.sample(1, "--trace")),
        Job(name="train", program="sampler", arguments=stage.train(12, 4)),
        Job(name="long", program="sampler", arguments=stage.train(24, 1000)),
    )
    for job in jobs:
        if job.name in names:
            stage.learn(job, twice=twice)


def lay_index(stage: Stage, folder: Path) -> None:
    """Put an index there that is to be replaced."""
    copy(stage.index, folder / "index.zarr")


def small_blocks() -> None:
    """Have `build` work in many blocks, as it does with many images."""
    import cli.patchindex_build as program  # noqa: PLC0415 - in the command's own process
    from patchindex import IndexConfig  # noqa: PLC0415

    patch.object(program, "IndexConfig", partial(IndexConfig, block_patches=6000)).start()


def kill_build(place: Place) -> str | None:
    """A build resumes, and ends with the same bits."""
    name = "blocks" if place.number // 4 % 2 else "build"
    before = small_blocks if name == "blocks" else None
    known = place.stage.known[name]
    job = Job(name=name, program="patchindex", arguments=place.stage.build(), before=before)
    told = kill(place, job, known)
    here = index_at(place)
    if here and (differing := difference(here, inside(known, "index.zarr"))):
        raise Fell(f"{told}: what is there is no whole index: {differing}")
    repeat(place, job, known, told)
    return None


def kill_overwrite(place: Place) -> str | None:
    """Old or new, never between; the same command makes it new, and again after that."""
    stage = place.stage
    old, new = (inside(stage.known[name], "index.zarr") for name in ("build", "over"))
    lay_index(stage, place.folder)
    job = Job(name="over", program="patchindex", arguments=stage.build("b", "--overwrite"))
    told = kill(place, job, stage.known["over"])
    here = index_at(place)
    if here and here not in (old, new):
        raise Fell(
            f"{told}: neither the old index ({difference(here, old)}) nor the new one "
            f"({difference(here, new)})"
        )
    repeat(place, job, stage.known["over"], told)
    return None


def kill_run(place: Place) -> str | None:
    """The old run whole, the new run whole, or none; the same command makes the new one."""
    stage, traced = place.stage, place.number // 4 % 2 == 1
    over = place.number // 8 % 2 == 1
    known = stage.known["traced" if traced else "run"]
    old: Contents = {}
    if over:  # of any kind over any kind
        source = stage.known["other_traced" if place.rng.random() < 0.5 else "other_run"]
        copy(source.folder / "run", place.folder / "run")
        (place.folder / "run" / "explain.html").write_text("of the old run")
        old = inside(source, "run")
    arguments = stage.sample(0, *["--trace"] * traced, *["--overwrite"] * over)
    job = Job(name="run", program="sampler", arguments=arguments)
    told = kill(place, job, known, more_changes=len(old))
    if (place.folder / "run" / "run.json").exists():
        found = visible(contents(place.folder / "run", place.folder, stage.root))
        differing = difference(found, inside(known, "run"))
        if differing and (not over or difference(lasting(found), lasting(old))):
            raise Fell(f"{told}: neither the old run nor the new one: {differing}")
    repeat(place, job, known, told, may_refuse=not over)
    return None


def kill_train(place: Place) -> str | None:
    """A training goes on, and ends with the same weights."""
    known = place.stage.known["train"]
    job = Job(name="train", program="sampler", arguments=place.stage.train(12, 4))
    told = kill(place, job, known)
    if (place.folder / "net" / "network.json").exists():
        here = visible(contents(place.folder / "net", place.folder, place.stage.root))
        here.pop("checkpoint.pt", None)
        if differing := difference(here, inside(known, "net")):
            raise Fell(f"{told}: the network is not whole: {differing}")
    repeat(place, job, known, told)
    return None


def kill(place: Place, job: Job, known: Known, *, more_changes: int = 0) -> str:
    """Kill the job, at a change of the file system or at a moment; what was done, in words.

    Args:
        more_changes: that it makes here, and did not make undisturbed.
    """
    told, shares = "", [place.share]
    if place.rng.random() < AGAIN:
        shares.append(float(place.rng.random()))
    for share in shares:
        if place.number % 2 == 0:
            changes = len(known.changes) + more_changes + 1
            # the last changes put all in its place, so that every second of these kills is there
            span = min(changes, LAST) if place.number % 4 == 0 else changes
            told = kill_at_change(place, job, changes - 1 - int(share * span))
        else:
            told = kill_at_moment(place, job, share * known.seconds * 1.2)
    return f"{job.name} killed {told}"


def kill_at_change(place: Place, job: Job, at: int) -> str:
    """Kill the job before its change number `at`."""
    log = place.folder.parent / "changes"
    log.unlink(missing_ok=True)

    def before() -> None:
        if job.before is not None:
            job.before()
        count_changes(place.folder, log, at)

    outcome = command(job.program, job.arguments, place.folder, before=before)
    if outcome.code != -signal.SIGKILL:
        return f"after its last change ({outcome.code})"
    change = log.read_text().splitlines()[-1].replace(f"{place.folder}/", "")
    return f"before change {at} ({change})"


def kill_at_moment(place: Place, job: Job, seconds: float) -> str:
    """Kill the job so many seconds after its start."""

    def meddle(process: int) -> None:
        time.sleep(seconds)
        os.kill(process, signal.SIGKILL)

    command(job.program, job.arguments, place.folder, before=job.before, meddle=meddle)
    return f"after {seconds:.3f} s"


def repeat(place: Place, job: Job, known: Known, told: str, *, may_refuse: bool = False) -> None:
    """The same command again must leave what it leaves undisturbed, and nothing else.

    Args:
        may_refuse: where all is there already, or can be put in its place without the work.
    """
    outcome = command(job.program, job.arguments, place.folder, before=job.before)
    if not check_tidy(outcome, f"{told}: the same command") and not may_refuse:
        raise Fell(f"{told}: the same command refuses: {outcome.last_words}")
    differing = difference(contents(place.folder, place.stage.root), known.left)
    if differing:
        raise Fell(f"{told}, repeated: {differing}")


def index_at(place: Place) -> Contents:
    """The index that is there; empty if there is none."""
    path = place.folder / "index.zarr"
    return contents(path, place.folder, place.stage.root) if path.exists() else {}


def inside(known: Known, name: str) -> Contents:
    """What a folder holds after the job."""
    parts = ((path.partition("/"), bits) for path, bits in known.left.items())
    return {rest: bits for (top, _, rest), bits in parts if top == name}


def lasting(found: Contents) -> Contents:
    """Without scratch, and without pictures and pages, which other commands draw again."""
    return {name: bits for name, bits in visible(found).items() if name not in DERIVED}


def visible(found: Contents) -> Contents:
    """Without scratch, which begins with a dot."""
    return {name: bits for name, bits in found.items() if not name.startswith(".")}


def interrupt(place: Place) -> str | None:
    """SIGINT or SIGTERM ends a command without a traceback; what it says is kept is there."""
    stage, number = place.stage, place.number
    name = ("long", "build", "long", "run")[number // 2 % 4]
    sent = (signal.SIGINT, signal.SIGTERM)[number % 2]
    known = stage.known[name]
    arguments = {"long": stage.train(24, 1000), "build": stage.build(),
                 "run": stage.sample(0, "--overwrite")}[name]  # fmt: skip
    program: Program = "patchindex" if name == "build" else "sampler"
    job = Job(name=name, program=program, arguments=arguments)
    meddle = partial(signal_later, place, sent, known.seconds)
    outcome = command(program, arguments, place.folder, meddle=meddle)
    told = f"{name} at {sent.name}"
    ended = (0, 130) if sent is signal.SIGINT else (0, 130, 143)
    if outcome.code != -signal.SIGTERM:
        check_tidy(outcome, told, codes=(*ended, 1))
    if name == "long":
        check_saved(place, outcome.err, told)
    repeat(place, job, known, told)
    return None


def signal_later(place: Place, sent: signal.Signals, seconds: float, process: int) -> None:
    """Send the signal once work has begun."""
    deadline = time.perf_counter() + 60
    while time.perf_counter() < deadline and not begun(place.folder):
        time.sleep(0.005)
    time.sleep(0.2 + float(place.rng.random()) * seconds * 0.3)
    os.kill(process, sent)


def begun(folder: Path) -> bool:
    """Whether the command that works here has named a stage or shown its table."""
    said = [path.read_text(errors="replace") for path in folder.glob(".[eo][ru][rt]-*")]
    return any("train\n" in text or "effective samples" in text or "plan:" in text for text in said)


def check_saved(place: Place, told: str, name: str) -> None:
    """Raise Fell unless the training's steps are kept, and it says nothing else."""
    kept = any((place.folder / "net" / file).exists() for file in ("checkpoint.pt", "network.json"))
    if not kept:
        claim = "says that a checkpoint is kept, and " if "kept" in told else ""
        raise Fell(f"{name}: {claim}no checkpoint is there")
