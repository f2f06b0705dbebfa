"""Heads in files: what was found for each state, for whichever process goes on with it.

A head is half a megabyte and more for each state of 32 x 32. On a cluster it would be too much to
send through one process at every step, and after an interruption it must be there: so whoever works
on a state writes its head beside the run, a file a state.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4
from zipfile import BadZipFile

import numpy as np
import torch

from patchindex.errors import StoreError
from sampler.estimator.head import Head

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
    """

    folder: Path
    patch_size: int
    states: range

    @classmethod
    def write(cls, head: Head, folder: Path, states: range) -> "KeptHead":
        """Put the head of each state into the folder.

        Raises:
            StoreError: it cannot be written.
        """
        ids = head.ids.cpu().numpy()
        if ids.max(initial=0) < np.iinfo(_NARROW).max:
            ids = ids.astype(_NARROW)  # -1 becomes the largest number
        effective = head.effective_sample_size.cpu().numpy()
        mass = head.mass.cpu().numpy()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for place, state in enumerate(states):
                # a name of its own: two workers may be at the same state, one of them cut off
                beside = folder / f".{uuid4().hex}.npz"
                np.savez(beside, ids=ids[place], effective=effective[place], mass=mass[place])
                beside.replace(folder / f"{state}.npz")
        except OSError as error:
            raise StoreError(
                f"what was found cannot be kept in {folder} ({error.strerror or error}). Free some "
                "space, or give another --out."
            ) from error
        return cls(folder=folder, patch_size=head.patch_size, states=states)

    @classmethod
    def joined(cls, parts: Sequence["KeptHead"]) -> "KeptHead":
        """Those of consecutive states as one."""
        states = range(parts[0].states.start, parts[-1].states.stop)
        return cls(folder=parts[0].folder, patch_size=parts[0].patch_size, states=states)

    def __getitem__(self, states: slice) -> "KeptHead":
        return KeptHead(folder=self.folder, patch_size=self.patch_size, states=self.states[states])

    def load(self, place: torch.device) -> Head:
        """The head, on a device.

        Raises:
            StoreError: it is not there, or damaged.
        """
        ids, effective, mass = [], [], []
        for state in self.states:
            path = self.folder / f"{state}.npz"
            try:
                with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
                    stored = found["ids"]
                    effective.append(torch.from_numpy(found["effective"]))
                    mass.append(torch.from_numpy(found["mass"]))
            except DAMAGED_ARRAYS as error:
                raise StoreError(
                    f"{path}, which this run has kept, cannot be read ({error}). Remove "
                    f"{self.folder.parent}, and start again."
                ) from error
            none = np.iinfo(stored.dtype).max
            wide = stored.astype(np.int64)
            wide[stored == none] = -1
            ids.append(torch.from_numpy(wide))
        return Head(
            patch_size=self.patch_size,
            ids=torch.stack(ids).to(place),
            effective_sample_size=torch.stack(effective).to(place),
            mass=torch.stack(mass).to(place),
        )


CarriedHead = Head | KeptHead  # from one step of a trajectory to the next
