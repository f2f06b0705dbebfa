"""Altered files of an index, a run, a checkpoint and a network: the right result, or one line."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.faults.contents import Contents, contents, copy, difference
from benchmarks.faults.forked import Fell, Outcome, Program, check_tidy, command
from benchmarks.faults.kills import kill_at_change
from benchmarks.faults.stage import Job, Stage, must_succeed
from benchmarks.faults.trials import Place

Rng = np.random.Generator
# what each use of each subject gives undamaged
Uses = dict[str, dict[str, Contents | str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """A command that reads what was damaged.

    Attributes:
        product: what it writes; its words are compared where it writes nothing.
    """

    name: str
    program: Program
    arguments: tuple[str, ...]
    product: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Something to damage, and all that reads it.

    Attributes:
        target: the file or folder to damage.
        beside: what else the commands need.
        sealed: whether the first use must see every damage.
    """

    name: str
    target: str
    beside: tuple[str, ...]
    uses: tuple[Use, ...]
    sealed: bool = False

    @property
    def folder(self) -> str:
        """Where its undamaged files are, below the stage."""
        return f"subject-{self.name}"


def subjects(stage: Stage) -> tuple[Subject, ...]:
    """What is damaged; an index most often, because it has most files."""
    sample = ("run", "--index", "index.zarr", "--num", "2", "--steps", "4", "--scales", "3,5")
    index = Subject(
        name="index", target="index.zarr", beside=("run",), sealed=True,
        uses=(
            Use(name="verify", program="patchindex", arguments=("verify", "index.zarr")),
            Use(name="info", program="patchindex", arguments=("info", "index.zarr")),
            Use(name="run", program="sampler", arguments=(*sample, "--nprobe", "4", "--tail", "64",
                                                          "--out", "found"), product="found"),
            Use(name="exact run", program="sampler",
                arguments=(*sample, "--exact", "--out", "exact"), product="exact"),
            Use(name="explain", program="sampler",
                arguments=("explain", "run", "--index", "index.zarr"), product="run/explain.html"),
        ),
    )  # fmt: skip
    run = Subject(
        name="run", target="run", beside=(),
        uses=(
            Use(name="explain", program="sampler",
                arguments=("explain", "run", "--index", str(stage.index)),
                product="run/explain.html"),
            Use(name="plot", program="sampler", arguments=("plot", "run", "--out", "plots"),
                product="plots"),
            Use(name="run --overwrite", program="sampler",
                arguments=stage.sample(0, "--trace", "--overwrite"), product="run"),
        ),
    )  # fmt: skip
    checkpoint = Subject(
        name="checkpoint",
        target="net/checkpoint.pt",
        beside=("net",),
        uses=(Use(name="train", program="sampler", arguments=stage.train(12, 4), product="net"),),
    )
    compare = ("compare", "--dataset", f"npz:{stage.root / 'pictures'}.npz", "--network", "net",
               "--num", "1", "--steps", "2", "--network-steps", "2", "--scales", "3,5",
               "--out", "compared")  # fmt: skip
    network = Subject(
        name="network",
        target="net",
        beside=(),
        uses=(Use(name="compare", program="sampler", arguments=compare, product="compared"),),
    )
    return (index, index, run, index, checkpoint, index, run, network, index, run)


def learn_damages(stage: Stage) -> Uses:
    """What each use of each undamaged subject leaves, or says."""
    make = {
        "index": [(stage.index, "index.zarr"), (stage.known["traced"].folder / "run", "run")],
        "run": [(stage.known["traced"].folder / "run", "run")],
        "network": [(stage.known["train"].folder / "net", "net")],
    }
    for name, parts in make.items():
        for source, part in parts:
            copy(source, stage.root / f"subject-{name}" / part)
    stop_training(stage, stage.root / "subject-checkpoint")
    results = {}
    for subject in set(subjects(stage)):
        where = Path(copy(stage.root / subject.folder, stage.root / f"used-{subject.name}"))
        results[subject.name] = {use.name: undamaged(use, where, stage) for use in subject.uses}
    return results


def undamaged(use: Use, where: Path, stage: Stage) -> Contents | str:
    """What the use leaves, or says."""
    outcome = command(use.program, use.arguments, where)
    must_succeed(outcome, use.name)
    return product(use, outcome, where, stage)


def stop_training(stage: Stage, folder: Path) -> None:
    """A training with a checkpoint, killed after its second one."""
    folder.mkdir()
    changes = stage.known["train"].changes
    written = [i for i, change in enumerate(changes) if change.startswith("os.rename")
               and change.endswith("checkpoint.pt")]  # fmt: skip
    place = Place(stage=stage, folder=folder, number=0, share=0, rng=np.random.default_rng(0))
    job = Job(name="train", program="sampler", arguments=stage.train(12, 4))
    kill_at_change(place, job, written[1] + 1)


def damage_something(place: Place, known: Uses) -> str | None:
    """Every use of the damaged thing gives what it gave undamaged, or refuses in one line."""
    chosen = subjects(place.stage)
    subject = chosen[place.number % len(chosen)]
    for entry in (place.stage.root / subject.folder).iterdir():
        copy(entry, place.folder / entry.name)
    done = damage(place.folder / subject.target, place)
    changed = subject.sealed and differs(place, subject)
    refused, fell = [], []
    for use in subject.uses:
        try:
            if not held(use, place, known[subject.name][use.name], must_refuse=changed):
                refused.append(use.name)
        except Fell as why:
            fell.append(str(why))
        changed = False  # only the first must see it
    if fell:
        raise Fell(f"{subject.name} with {done}: {' | '.join(fell)}")
    return f"refused by {', '.join(refused)}" if refused else "unused"


def held(use: Use, place: Place, wanted: Contents | str, *, must_refuse: bool) -> bool:
    """Whether the use gave what it should; False where it refused, Fell otherwise."""
    outcome = command(use.program, use.arguments, place.folder)
    if not check_tidy(outcome, use.name):
        return False
    if must_refuse:
        raise Fell(f"{use.name} did not see it")
    found = product(use, outcome, place.folder, place.stage)
    if found != wanted:
        differing = "other words"
        if isinstance(found, dict) and isinstance(wanted, dict):
            differing = difference(found, wanted)
        raise Fell(f"{use.name} silently gave something else: {differing}")
    return True


def product(use: Use, outcome: Outcome, where: Path, stage: Stage) -> Contents | str:
    """What the use made, comparable between places."""
    if use.product is None:
        return outcome.out.replace(str(where), "@")
    return contents(where / use.product, where, stage.root)


def differs(place: Place, subject: Subject) -> bool:
    """Whether any byte of the subject is another now."""
    sound = place.stage.root / subject.folder / subject.target
    found = place.folder / subject.target
    names = {str(path.relative_to(root)) for root in (sound, found) for path in root.rglob("*")}
    return any(bits(sound / name) != bits(found / name) for name in names)


def bits(path: Path) -> bytes | None:
    """A file's bytes; None where there is no file."""
    return path.read_bytes() if path.is_file() else None


def damage(target: Path, place: Place) -> str:
    """Damage one file of the target, a file or folder; what was done, in words."""
    rng = place.rng
    files = [target] if target.is_file() else sorted(p for p in target.rglob("*") if p.is_file())
    path = files[int(place.share * len(files))]
    name = path.relative_to(place.folder)
    ways: list[Callable[[Path, Rng], str]] = [
        flip, flip, flip_head, truncate, empty, delete, to_folder, noise, extend, zero_block,
    ]  # fmt: skip
    if len(files) > 1 and rng.random() < 0.1:
        other = files[int(rng.integers(len(files)))]
        return swap(path, other, place.folder)
    return f"{name} {ways[int(rng.integers(len(ways)))](path, rng)}"


def flip(path: Path, rng: Rng) -> str:
    """Change some bits."""
    return flip_below(path, rng, path.stat().st_size)


def flip_head(path: Path, rng: Rng) -> str:
    """Change some bits of the first bytes, where headers are."""
    return flip_below(path, rng, min(path.stat().st_size, 64))


def flip_below(path: Path, rng: Rng, end: int) -> str:
    """Change some bits of the first `end` bytes."""
    data = bytearray(path.read_bytes())
    places = [int(rng.integers(end)) for _ in range(int(rng.integers(1, 5)))] if end else []
    for at in places:
        data[at] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)
    return f"flipped at {places}"


def truncate(path: Path, rng: Rng) -> str:
    """Cut the end off."""
    size = int(rng.integers(max(path.stat().st_size, 1)))
    path.write_bytes(path.read_bytes()[:size])
    return f"cut to {size} bytes"


def empty(path: Path, _rng: Rng) -> str:
    """Take all bytes away."""
    path.write_bytes(b"")
    return "emptied"


def delete(path: Path, _rng: Rng) -> str:
    """Remove it."""
    path.unlink()
    return "deleted"


def to_folder(path: Path, _rng: Rng) -> str:
    """Put a folder in its place."""
    path.unlink()
    path.mkdir()
    return "replaced by a folder"


def noise(path: Path, rng: Rng) -> str:
    """Put as many random bytes in its place."""
    path.write_bytes(rng.bytes(path.stat().st_size))
    return "replaced by noise"


def extend(path: Path, rng: Rng) -> str:
    """Append bytes."""
    with path.open("ab") as file:
        file.write(rng.bytes(int(rng.integers(1, 100))))
    return "made longer"


def zero_block(path: Path, rng: Rng) -> str:
    """Zero some bytes, as a disk does that lost a block."""
    data = bytearray(path.read_bytes())
    start = int(rng.integers(max(len(data), 1)))
    data[start : start + 512] = bytes(len(data[start : start + 512]))
    path.write_bytes(data)
    return f"zeroed from {start}"


def swap(path: Path, other: Path, root: Path) -> str:
    """Exchange two files."""
    aside = path.with_name("aside")
    shutil.move(path, aside)
    if other != path:
        shutil.move(other, path)
    shutil.move(aside, other)
    return f"{path.relative_to(root)} and {other.relative_to(root)} swapped"
