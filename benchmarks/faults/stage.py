"""What trials are held against: the same commands, undisturbed, and what they left."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from benchmarks.faults.changes import count_changes
from benchmarks.faults.contents import Contents, contents, difference
from benchmarks.faults.forked import Outcome, Program, command
from patchindex.paths import data_root

SIDE, IMAGES, PICTURES = 12, 200, 24
SCALES = "3,5"
RUN = ("--num", "2", "--steps", "4", "--scales", SCALES)
TRAIN = ("--batch-size", "4", "--out", "net")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A command whose end is known.

    Attributes:
        before: what its process does first.
        prepare: puts into its folder what it finds there.
    """

    name: str
    program: Program
    arguments: tuple[str, ...]
    before: Callable[[], object] | None = None
    prepare: Callable[[Path], object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What a job leaves when nothing disturbs it.

    Attributes:
        folder: where it ran.
        left: all that was there afterwards.
        changes: what it did to the file system, in order.
    """

    folder: Path
    left: Contents
    changes: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Stage:
    """A folder with inputs, and everything that was made from them undisturbed."""

    root: Path
    known: dict[str, Known] = field(default_factory=dict)

    @property
    def index(self) -> Path:
        """An index that nobody may change."""
        return self.root / "build-0" / "index.zarr"

    def build(self, images: str = "a", *options: str) -> tuple[str, ...]:
        """Arguments that build index.zarr."""
        dataset = f"npz:{self.root / images}.npz"
        return ("build", "--dataset", dataset, "--scales", SCALES, "--out", "index.zarr", *options)

    def sample(self, seed: int, *options: str) -> tuple[str, ...]:
        """Arguments that make the folder run."""
        index = str(self.index)
        return ("run", "--index", index, *RUN, "--seed", str(seed), "--out", "run", *options)

    def train(self, steps: int, save_every: int) -> tuple[str, ...]:
        """Arguments that make the folder net."""
        dataset = f"npz:{self.root / 'pictures'}.npz"
        sizes = ("--gradient-steps", str(steps), "--save-every", str(save_every))
        return ("train", "--dataset", dataset, *sizes, *TRAIN)

    def learn(self, job: Job, *, twice: bool) -> Known:
        """Do the job undisturbed, and know what it leaves.

        Args:
            twice: see that it leaves the same the second time.

        Raises:
            RuntimeError: it fails, or leaves something else the second time.
        """
        found = [self._undisturbed(job, self.root / f"{job.name}-{i}") for i in range(1 + twice)]
        differing = difference(found[-1].left, found[0].left)
        if differing:
            raise RuntimeError(f"{job.name} is not repeatable: {differing}")
        self.known[job.name] = found[0]
        return found[0]

    def _undisturbed(self, job: Job, folder: Path) -> Known:
        folder.mkdir()
        if job.prepare is not None:
            job.prepare(folder)
        log = folder.with_suffix(".changes")

        def before() -> None:
            if job.before is not None:
                job.before()
            count_changes(folder, log)

        outcome = command(job.program, job.arguments, folder, before=before)
        must_succeed(outcome, job.name)
        return Known(
            folder=folder,
            left=contents(folder, self.root),
            changes=tuple(log.read_text().splitlines()),
            seconds=outcome.seconds,
        )


def must_succeed(outcome: Outcome, name: str) -> None:
    """Raise RuntimeError unless it did."""
    if outcome.code != 0:
        raise RuntimeError(f"undisturbed, {name} ended with {outcome.code}: {outcome.err[-2000:]}")


def set_up(root: Path) -> Stage:
    """The inputs: two sets of images for indexes, and a small one to train with."""
    with np.load(data_root() / "sample" / "fashion_mnist_2000.npz") as sample:
        pixels, labels = (sample[name] for name in ("images", "labels"))
    every = len(pixels) // IMAGES
    write_images(root / "a.npz", pixels[::every], labels[::every])
    write_images(root / "b.npz", pixels[1::every], labels[1::every])
    write_images(root / "pictures.npz", pixels[2 :: len(pixels) // PICTURES], None)
    return Stage(root)


def write_images(path: Path, pixels: UInt8[ndarray, "n h w"], labels: ndarray | None) -> None:
    """An npz file of small images."""
    small = pixels.reshape(len(pixels), *pixels.shape[-2:])[:, None, 2:26:2, 2:26:2]
    if labels is None:
        np.savez(path, images=small)
    else:
        np.savez(path, images=small, labels=labels)
