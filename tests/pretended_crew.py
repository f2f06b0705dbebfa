"""A crew of any size in this process: units in another order, and over the wire and back."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from patchindex.cluster.wire import pack, unpack
from patchindex.crew import LOCAL, Crew
from patchindex.device import CPU
from patchindex.index import PatchIndex, Pickled, reopen
from sampler.posterior import Posterior


def _local() -> Crew:
    return LOCAL


class PretendedCrew:
    """So many workers as `size` says; `units` counts what each call was cut into."""

    def __init__(self, size: int, *, shared: bool = True) -> None:
        self.size, self.shared = size, shared
        self.units: list[int] = []
        self.stages: list[str] = []
        self._opened: dict[str, PatchIndex] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return _local, ()

    memory = None

    def report(self) -> None:
        return None

    def begin(self, stage: str) -> None:
        self.stages.append(stage)

    def admit(self, index: Any = None, *, folder: Path | None = None) -> None:
        pass

    def shares(self, folder: Path) -> bool:
        return self.shared

    def run(self, work: Callable[..., Any], units: Sequence[Any], *shared: Any) -> list[Any]:
        self.units.append(len(units))
        sent = pack((work, shared))
        done = {}
        for number in np.random.default_rng(len(units)).permutation(len(units)).tolist():
            its_work, its_shared = unpack(sent, CPU, self._open)
            unit = unpack(pack(units[number]), CPU, self._open)
            done[number] = unpack(pack(its_work(unit, *its_shared)), CPU, self._open)
        return [done[number] for number in range(len(units))]

    def _open(self, pickled: Pickled) -> PatchIndex:
        """An index, opened once, as by a worker."""
        if pickled.digest not in self._opened:
            self._opened[pickled.digest] = reopen(pickled)
        return self._opened[pickled.digest]


def assert_equal_bits(a: Posterior, b: Posterior) -> None:
    """Of all fields but sources."""
    for field in fields(Posterior):
        ours, theirs = getattr(a, field.name), getattr(b, field.name)
        if field.name == "k_hat":  # torch's logarithms depend on the place in a vector
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
        elif isinstance(ours, torch.Tensor):
            assert torch.equal(ours.nan_to_num(7), theirs.nan_to_num(7)), field.name
