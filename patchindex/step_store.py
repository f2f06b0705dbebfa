"""Arrays that a run writes step by step: a Zarr v3 group, compressed, one chunk per step.

The first axis is the step. A step is written once it is finished, so that memory holds one, and
read alone, so that looking at one does not unpack the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy import ndarray
from zarr.codecs import BloscCodec
from zarr.errors import ContainsGroupError, GroupNotFoundError

from patchindex.errors import StoreError
from patchindex.index.store import disk_errors_told, root_of


@dataclass(frozen=True, slots=True)
class StepStore:
    """A group of arrays whose first axis is the step; use `create` or `open`."""

    group: zarr.Group

    @classmethod
    def create(cls, path: Path, attributes: Mapping[str, Any]) -> "StepStore":
        """A new, empty store.

        Raises:
            StoreError: something is there already.
        """
        try:
            return cls(zarr.create_group(path, attributes=dict(attributes)))
        except (ContainsGroupError, FileExistsError) as error:
            raise StoreError(f"{path} exists already. Give another place.") from error

    @classmethod
    def open(cls, path: Path) -> "StepStore":
        """A store that was written.

        Raises:
            StoreError: there is none, or it cannot be read.
        """
        try:
            return cls(zarr.open_group(path, mode="r"))
        except (GroupNotFoundError, FileNotFoundError, ValueError, KeyError) as error:
            raise StoreError(
                f"{path} is no trace that can be read ({error}). Record it again."
            ) from error

    @property
    def path(self) -> Path:
        """Where it lies."""
        return root_of(self.group)

    @property
    def attributes(self) -> dict[str, Any]:
        """What was said of the store when it was made."""
        return dict(self.group.attrs)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of an array; nothing of it is read.

        Raises:
            StoreError: there is no such array.
        """
        return self._array(name).shape

    def write(self, step: int, num_steps: int, values: Mapping[str, ndarray]) -> None:
        """Store the values of one step; the first one says their shapes and types.

        Raises:
            StoreError: the disk is full or the folder went away.
        """
        with disk_errors_told(self.path, "Free some space, or give another --out."):
            for name, value in values.items():
                if name not in self.group:
                    self.group.create_array(
                        name, shape=(num_steps, *value.shape), dtype=value.dtype,
                        chunks=(1, *value.shape), compressors=BloscCodec(cname="zstd", clevel=5),
                    )  # fmt: skip
                self._array(name)[step] = value

    def read(self, name: str, *selection: int | list[int]) -> ndarray:
        """All steps of one array.

        Args:
            selection: position, or several, along each axis that follows the step; all of the rest.

        Raises:
            StoreError: there is no such array, or it is damaged.
        """
        array = self._array(name)
        places = (np.asarray(part) if isinstance(part, list) else part for part in selection)
        try:
            return np.asarray(array.oindex[(slice(None), *places)])
        except (ValueError, RuntimeError, OSError) as error:
            raise StoreError(
                f"array {name} of {self.path} cannot be read ({error}). Record it again."
            ) from error

    def _array(self, name: str) -> zarr.Array[Any]:
        try:
            array = self.group[name]
        except (KeyError, ValueError) as error:
            raise StoreError(
                f"array {name} of {self.path} cannot be read ({error}). Record it again."
            ) from error
        assert isinstance(array, zarr.Array)  # noqa: S101 - `write` makes nothing else
        return array
