"""Arrays in NumPy's own file format, read without trusting what the file says of itself."""

import io
import math
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray
from numpy.lib import format as npy

NUMBERS = "biufc"  # numpy's kinds: truth values, whole, unsigned, floating point, complex
HEADER_BYTES = 2**16  # numpy itself takes no header of more than 10,000
READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


@runtime_checkable
class Stream(Protocol):
    """A file or a member of an archive, open for reading bytes."""

    def read(self, size: int = -1, /) -> bytes:
        """The next so many bytes; all for -1."""
        ...


@dataclass(frozen=True, slots=True)
class NpyHeader:
    """What a file says of its array."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def read_npy(path: Path) -> Shaped[ndarray, "..."]:
    """The array of numbers in a .npy file.

    Raises:
        OSError: the file cannot be read.
        ValueError: there is none, or it holds anything but one whole array of numbers.
    """
    if not is_file(path):  # a pipe would be waited on for ever
        raise ValueError("there is no such file")
    with path.open("rb") as stream:
        read_npy_header(stream, os.fstat(stream.fileno()).st_size)
        stream.seek(0)
        return read_npy_data(stream)


def is_file(path: Path) -> bool:
    """Whether there is a file to read, and no folder, pipe or device; also for impossible names."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, in a folder that may not be entered, a zero byte
        return False


def read_npy_header(stream: Stream, num_bytes: int, *, kinds: str = NUMBERS) -> NpyHeader:
    """Shape and dtype of the array that a stream of so many bytes holds, and holds whole.

    The data are not read, and no memory is taken for what the header promises.

    Args:
        stream: stands at its beginning; some bytes of the data may be consumed.
        kinds: letters of the kinds of values that are accepted, as `numpy.dtype.kind` has them.

    Raises:
        ValueError: this is no array, one of other values, or more or fewer data follow than the
            header promises.
    """
    head = io.BytesIO(stream.read(HEADER_BYTES))
    try:
        with warnings.catch_warnings(action="ignore"):  # of headers that Python 2 wrote
            shape, _, dtype = READERS[npy.read_magic(head)](head)
    except Exception as error:  # numpy has Python's compiler read it, which raises a dozen classes
        raise ValueError("it does not begin with the header of an array") from error
    if dtype.kind not in kinds:
        raise ValueError(f"it holds {_named(dtype)}, which are not read")
    promised, following = math.prod(shape) * dtype.itemsize, num_bytes - head.tell()
    if min(shape, default=0) < 0 or promised != following:
        raise ValueError(
            f"its header promises {_named(dtype)} of shape {shape}, {promised} bytes, "
            f"but {following} bytes follow"
        )
    return NpyHeader(shape, dtype)


def read_npy_data(stream: Stream) -> Shaped[ndarray, "..."]:
    """The array in a stream whose header is checked already.

    Raises:
        ValueError: there is too little memory, or data are missing.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            array: Shaped[ndarray, "..."] = npy.read_array(stream, allow_pickle=False)
    except MemoryError as error:
        raise ValueError("it is larger than the memory that is free") from error
    return array


def _named(dtype: np.dtype[Any]) -> str:
    """The dtype in words that a user knows."""
    if dtype.hasobject:
        return "Python objects"
    return "structured values" if dtype.names else f"{dtype} values"
