"""The trajectories that are measured."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patchindex import PatchIndex
from patchindex.crew import Crew
from sampler import ELSMachine
from sampler.noise import initial_noise
from sampler.posterior import Posterior
from sampler.trajectory import Begun, Transition, sample_steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A trajectory at one patch size.

    Attributes:
        exact: sum every patch; else retrieve.
        num: samples.
        steps: of the trajectory, of which `first` are carried out.
    """

    index: str
    exact: bool
    num: int
    patch_size: int
    steps: int
    first: int

    def carried_out(self, crew: Crew, folder: Path | None) -> Iterator[Transition[Posterior]]:
        """Each step, by a crew; heads are kept in the folder, which all share."""
        index = PatchIndex.open(self.index, crew=crew)
        crew.admit(index, folder=folder)
        machine = ELSMachine(index, exact=self.exact)
        noise = initial_noise(self.num, machine.images, 0)
        steps = sample_steps(
            machine, noise, scales=(self.patch_size,), steps=self.steps,
            begun=Begun(reached=noise, keep=None if self.exact else folder),
        )  # fmt: skip
        for _ in range(self.first):
            yield next(steps)

    def told(self) -> dict[str, Any]:
        """What a row of results says of it."""
        images = PatchIndex.open(self.index).images
        return {
            "dataset": Path(images.name).stem,
            "images": len(images),
            "shape": list(images.pixels.shape[1:]),
            "exact": self.exact,
            "num": self.num,
            "patch_size": self.patch_size,
        }


def digest_of(done: Transition[Posterior]) -> str:
    """A name of the bits that a step reached."""
    return hashlib.sha256(done.reached.cpu().numpy().tobytes()).hexdigest()[:16]


def step_of(done: Transition[Posterior]) -> dict[str, Any]:
    """What a row says of a step."""
    return {"seconds": round(done.seconds, 4), "digest": digest_of(done)}


def size_of(folder: Path) -> int:
    """Bytes of all files."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
