"""Arrays that a run writes step by step: a Zarr v3 group, compressed, one chunk per step.

The first axis is the step. A step is written once it is finished, so that memory holds one, and
read alone, so that looking at one does not unpack the others. Every chunk carries its checksum, and
is written even where it is all zeros: one that is missing or damaged is never read as numbers. The
checksums stand once more in an array of their own, by name and step, so that no chunk can take the
place of another.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from numpy import ndarray
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.errors import ContainsGroupError

from patchindex.errors import StoreError
from patchindex.index import root_of, translate_write_errors

# what Zarr raises where metadata or chunks are not what it wrote
UNREADABLE = (
    OSError, ValueError, TypeError, LookupError, RuntimeError, AttributeError, ArithmeticError,
    MemoryError, AssertionError,
)  # fmt: skip
NUMBERS = "fiub"  # kinds of dtypes that are written
CHECKSUMS = "chunk_crc32"  # u4 [steps, arrays]: the arrays in the order of their names
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
    def open(cls, path: Path, *, mode: Literal["r", "r+"] = "r") -> "StepStore":
        """A store that was written; with mode r+ more steps can be.

        Raises:
            StoreError: there is none, or it cannot be read.
        """
        try:
            return cls(zarr.open_group(path, mode=mode))
        except UNREADABLE as error:
            raise StoreError(
                f"{path} is no trace that can be read ({_reason(error)}). Record it again."
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
            translate_write_errors(self.path, "Free some space, or give another --out."),
            zarr.config.set({"array.write_empty_chunks": True}),
        ):
            for name, value in values.items():
                self._write(name, step, num_steps, value)
            found = [self._checksum(name, step) for name in sorted(values)]
            self._write(CHECKSUMS, step, num_steps, np.array(found, dtype=np.uint32))

    def _write(self, name: str, step: int, num_steps: int, value: ndarray) -> None:
        """Store one array's values of one step."""
        if name not in self.group:
            self.group.create_array(
                name, shape=(num_steps, *value.shape), dtype=value.dtype, chunks=(1, *value.shape),
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
            return _as_written(self.group[name])
        except UNREADABLE as error:
            raise self._unreadable(name, error) from error

    def _check_chunks(self, name: str, array: zarr.Array[Any]) -> None:
        """Raise an error unless every chunk is the one that was written there.

        Zarr itself would take a missing one for zeros. Stores that were written before chunks had
        checksums lack those that are all zeros.
        """
        if not any(isinstance(codec, Crc32cCodec) for codec in array.compressors):
            return
        for step in range(array.shape[0]):
            if not self._chunk(name, step, array.ndim).is_file():
                raise FileNotFoundError(f"step {step} is missing")
        if CHECKSUMS not in self.group:  # written before there were any of their own
            return
        stored = np.asarray(self._array(CHECKSUMS))
        column = sorted(key for key in self.group if key != CHECKSUMS).index(name)
        for step, wanted in enumerate(stored[:, column].tolist()):
            if self._checksum(name, step) != wanted:
                raise ValueError(f"step {step} is not what was written")

    def _checksum(self, name: str, step: int) -> int:
        """CRC-32 of a chunk's file, together with its name and step.

        CRC-32C would be the same for all files, because they end with their own.
        """
        content = self._chunk(name, step, self._array(name).ndim).read_bytes()
        return zlib.crc32(content, zlib.crc32(f"{name} {step}".encode()))

    def _chunk(self, name: str, step: int, ndim: int) -> Path:
        """The file of a step of an array with so many dimensions."""
        return self.path.joinpath(name, "c", str(step), *["0"] * (ndim - 1))

    def _unreadable(self, name: str, error: BaseException) -> StoreError:
        return StoreError(
            f"array {name} of {self.path} cannot be read ({_reason(error)}). Record it again."
        )


def _as_written(array: object) -> zarr.Array[Any]:
    """The array itself, if its metadata is what `StepStore.write` wrote; else TypeError."""
    if not isinstance(array, zarr.Array) or array.dtype.kind not in NUMBERS:
        raise TypeError("it holds no numbers")
    kind = f"{array.dtype} {list(array.shape)}"
    if array.chunks != (1, *array.shape[1:]) or array.attrs.get(STORED, kind) != kind:
        raise TypeError(f"it was not written as {kind}")
    return array


def _reason(error: BaseException) -> str:
    """What an error says, in one line; its kind if it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__
