"""Heads in files: what was found for each state, for whichever process goes on with it.

A head is a megabyte and more for each state of 32 x 32. On a cluster it would be too much to send
through one process at every step, and after an interruption it must be there: so whoever works on a
state writes its head beside the run.

    STATE.npz          effective sample sizes and masses of the pixels
    STATE-PART.npz     ids of what was found in a part of the index
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from patchindex.errors import StoreError
from sampler.estimator.head import NO_PATCH, Head

_NARROW = np.uint32  # whose largest number stands for no patch, where ids fit
# what numpy raises where a file of arrays is missing, cut short or altered
DAMAGED_ARRAYS = (
    OSError, EOFError, BadZipFile, zlib.error, RuntimeError, ValueError, LookupError,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptHead:
    """The heads of some states in a folder; `load` reads them.

    Attributes:
        patch_size: of the patches.
        states: their numbers.
        parts: of the index, each with files of its own.
    """

    folder: Path
    patch_size: int
    states: range
    parts: int = 1

    @classmethod
    def write(cls, head: Head, folder: Path, states: range) -> "KeptHead":
        """Put the head of each state into the folder.

        Raises:
            StoreError: it cannot be written.
        """
        kept = cls(folder=folder, patch_size=head.patch_size, states=states)
        kept.write_ids(head.ids)
        kept.write_sizes(head)
        return kept

    @classmethod
    def joined(cls, parts: Sequence["KeptHead"]) -> "KeptHead":
        """Those of consecutive states as one."""
        return replace(parts[0], states=range(parts[0].states.start, parts[-1].states.stop))

    def __getitem__(self, states: slice) -> "KeptHead":
        return replace(self, states=self.states[states])

    def write_ids(self, ids: Int[Tensor, "b h w k"], part: int = 0) -> None:
        """Put what was found in a part of the index into the folder; errors as for `write`."""
        stored = ids.cpu().numpy()
        if stored.max(initial=0) < np.iinfo(_NARROW).max:
            stored = stored.astype(_NARROW)  # -1 becomes the largest number
        for state, own in zip(self.states, stored, strict=True):
            self._write(f"{state}-{part}.npz", partial(np.savez, ids=own))

    def write_sizes(self, head: Head) -> None:
        """Put all else of a head into the folder; errors as for `write`."""
        effective, mass = head.effective_sample_size.cpu().numpy(), head.mass.cpu().numpy()
        for place, state in enumerate(self.states):
            sizes = {"effective": effective[place], "mass": mass[place]}
            self._write(f"{state}.npz", partial(np.savez, **sizes))

    def load(self, place: torch.device, part: int | None = None) -> Head:
        """The head, on a device.

        Args:
            part: of the index, of which alone ids are read, if parts have files of their own; None
                for all.

        Raises:
            StoreError: it is not there, or damaged.
        """
        ids, effective, mass = [], [], []
        for state in self.states:
            own = range(self.parts) if part is None or self.parts == 1 else [part]
            ids.append(torch.cat([self._read_ids(f"{state}-{number}.npz") for number in own], -1))
            sizes = self._read(f"{state}.npz", "effective", "mass")
            effective.append(sizes["effective"])
            mass.append(sizes["mass"])
        return Head(
            patch_size=self.patch_size,
            ids=torch.stack(ids).to(place),
            effective_sample_size=torch.stack(effective).to(place),
            mass=torch.stack(mass).to(place),
        )

    def _write(self, name: str, write: Callable[[BinaryIO], object]) -> None:
        """Write a file, which appears whole or not at all."""
        # a name of its own: two workers may be at the same state, one of them cut off
        beside = self.folder / f".{uuid4().hex}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with beside.open("wb") as file:
                write(file)
            beside.replace(self.folder / name)
        except OSError as error:
            raise StoreError(
                f"what was found cannot be kept in {self.folder} ({error.strerror or error}). Free "
                "some space, or give another --out."
            ) from error

    def _read_ids(self, name: str) -> Int[Tensor, "h w k"]:
        """Ids of a state, -1 for none."""
        stored = self._read(name, "ids")["ids"].numpy()
        ids = stored.astype(np.int64)
        ids[stored == np.iinfo(stored.dtype).max] = NO_PATCH
        return torch.from_numpy(ids)

    def _read(self, name: str, *arrays: str) -> dict[str, Tensor]:
        """Arrays of a file, whose checksums are right."""
        path = self.folder / name
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
                return {array: torch.from_numpy(found[array]) for array in arrays}
        except DAMAGED_ARRAYS as error:
            raise StoreError(
                f"{path}, which this run has kept, cannot be read ({error}). Remove "
                f"{self.folder.parents[1]}, and start again."
            ) from error


CarriedHead = Head | KeptHead  # from one step of a trajectory to the next
