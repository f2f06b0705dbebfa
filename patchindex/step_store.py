"""Arrays that a run writes step by step: a Zarr v3 group, compressed, one chunk per step.

The first axis is the step. A step is written once it is finished, so that memory holds one, and
read alone, so that looking at one does not unpack the others. Every chunk carries its checksum, and
is written even where it is all zeros: one that is missing or damaged is never read as numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy import ndarray
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.errors import ContainsGroupError

from patchindex.errors import StoreError
from patchindex.index.store import disk_errors_told, root_of

# what Zarr raises where metadata or chunks are not what it wrote
UNREADABLE = (
    OSError, ValueError, TypeError, LookupError, RuntimeError, AttributeError, ArithmeticError,
    MemoryError, AssertionError,
)  # fmt: skip
NUMBERS = "fiub"  # kinds of dtypes that are written
STORED = "stored"  # attribute: dtype and shape once more, so that a changed one is noticed


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
        except UNREADABLE as error:
            raise StoreError(
                f"{path} is no trace that can be read ({told(error)}). Record it again."
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
        with (
            disk_errors_told(self.path, "Free some space, or give another --out."),
            zarr.config.set({"array.write_empty_chunks": True}),
        ):
            for name, value in values.items():
                if name not in self.group:
                    self.group.create_array(
                        name, shape=(num_steps, *value.shape), dtype=value.dtype,
                        chunks=(1, *value.shape),
                        compressors=[BloscCodec(cname="zstd", clevel=5), Crc32cCodec()],
                        attributes={STORED: f"{value.dtype} {[num_steps, *value.shape]}"},
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
            self._check_chunks(name, array)
            return np.asarray(array.oindex[(slice(None), *places)])
        except UNREADABLE as error:
            raise self._unreadable(name, error) from error

    def _array(self, name: str) -> zarr.Array[Any]:
        try:
            return as_written(self.group[name])
        except UNREADABLE as error:
            raise self._unreadable(name, error) from error

    def _check_chunks(self, name: str, array: zarr.Array[Any]) -> None:
        """Raise FileNotFoundError if a chunk is missing, which Zarr would take for zeros.

        Stores that were written before chunks had checksums lack those that are all zeros.
        """
        if not any(isinstance(codec, Crc32cCodec) for codec in array.compressors):
            return
        for step in range(array.shape[0]):
            chunk = self.path.joinpath(name, "c", str(step), *["0"] * (array.ndim - 1))
            if not chunk.is_file():
                raise FileNotFoundError(f"step {step} is missing")

    def _unreadable(self, name: str, error: BaseException) -> StoreError:
        return StoreError(
            f"array {name} of {self.path} cannot be read ({told(error)}). Record it again."
        )


def as_written(array: object) -> zarr.Array[Any]:
    """The array itself, if its metadata is what `StepStore.write` wrote; else TypeError."""
    if not isinstance(array, zarr.Array) or array.dtype.kind not in NUMBERS:
        raise TypeError("it holds no numbers")
    kind = f"{array.dtype} {list(array.shape)}"
    if array.chunks != (1, *array.shape[1:]) or array.attrs.get(STORED, kind) != kind:
        raise TypeError(f"it was not written as {kind}")
    return array


def told(error: BaseException) -> str:
    """What an error says, in one line; its kind if it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__
