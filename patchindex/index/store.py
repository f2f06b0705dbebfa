"""The index on disk: a Zarr v3 group whose arrays are single raw files, read through memory maps.

    NAME.zarr/                 attributes: the manifest, see `manifest.py`
      images                   u1 [N, C, H, W]
      labels                   i8 [N], if the images have labels
      scales/{P}/
        signature_lists        i8 [signatures + 1]  first list of each border signature
        pca, pca_bias          f4 [r, d], [r]       vector = pca @ window + pca_bias
        centroids              f4 [nlist, lead]     by the leading dimensions of the vector
        code_min, code_span    f4 [r]               value = min + (code + 0.5) / 255 * span
        offsets                i8 [nlist + 1]       first patch of each list
        ids                    u4 or u8 [M]         image * H * W + y * W + x, ascending in a list
        codes                  u1 [M, r]
        ids_crc32c             u4 [nlist]           checksum of each list's ids; indices that were
        codes_crc32c           u4 [nlist]           built before these two go without them
        count                  i8 [nlist]           patches in each list
        mean_patch             f4 [nlist, d]        their mean window in [-1, 1], full dimension
        mean_radius_sq         f8 [nlist]           mean squared distance to it
        faiss_header           u1                   trained, empty IndexIVFScalarQuantizer, for
                                                    programs that know FAISS alone: ours makes it

Every array is one chunk without compression, so that the chunk's file *is* the array: readers map
it, the build fills it through a map, and neither copies it. Chunks of 16 to 64 MiB would make each
slice of a list a search over files, and a partial write a rewrite.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import zarr
from jaxtyping import Shaped
from numpy import ndarray

from patchindex.errors import StoreError

CRC_BLOCK_BYTES = 2**24
READ_REMEDY = "Make it readable, or build the index again with `patchindex build --overwrite`."
FALLOCATE_UNSUPPORTED = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)


def create_array(
    group: zarr.Group, name: str, shape: tuple[int, ...], dtype: np.typing.DTypeLike
) -> np.memmap[Any, Any]:
    """A new array of a group on local disk, as a writable map over its preallocated only chunk."""
    array = group.create_array(
        name, shape=shape, dtype=dtype, chunks=shape, compressors=None, filters=None,
        fill_value=0, overwrite=True,
    )  # fmt: skip
    path = chunk_path(root_of(group) / array.path, len(shape))
    path.parent.mkdir(parents=True, exist_ok=True)
    preallocate(path, array.dtype.itemsize * int(np.prod(shape)))
    return np.memmap(path, dtype=array.dtype, mode="r+", shape=shape)


def write_array(group: zarr.Group, name: str, values: ndarray) -> None:
    """Store a whole array."""
    create_array(group, name, values.shape, values.dtype)[...] = values


def root_of(group: zarr.Group) -> Path:
    """Directory of the store that a group on local disk lies in."""
    store = group.store
    if not isinstance(store, zarr.storage.LocalStore):
        raise TypeError(f"an index is written to local disk, not to {store}")
    return Path(store.root)


def chunk_path(array_path: Path, ndim: int) -> Path:
    """File of the only chunk of an array with so many axes."""
    return array_path.joinpath("c", *["0"] * ndim)


def is_stray(path: Path) -> bool:
    """Whether this is metadata that Zarr was writing when it was interrupted."""
    return path.match("zarr.*.partial")


def preallocate(path: Path, num_bytes: int) -> None:
    """Make a file of zeros whose disk space is reserved: a full disk shows here, not as SIGBUS."""
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(file.fileno(), 0, num_bytes)
            except OSError as error:
                if error.errno not in FALLOCATE_UNSUPPORTED:
                    raise
            else:
                return
        zeros = bytes(min(num_bytes, CRC_BLOCK_BYTES))
        for start in range(0, num_bytes, CRC_BLOCK_BYTES):
            file.write(zeros[: num_bytes - start])


def crc32c(path: Path) -> str:
    """CRC-32C of a file, as eight hexadecimal digits."""
    value = 0
    with path.open("rb") as file:
        while block := file.read(CRC_BLOCK_BYTES):
            value = google_crc32c.extend(value, block)
    return f"{value:08x}"


def crc32c_value(array: Shaped[ndarray, "..."]) -> int:
    """CRC-32C of the bytes of a contiguous array, which are not copied."""
    return int(google_crc32c.value(array))


def crc32c_bytes(array: Shaped[ndarray, "..."]) -> str:
    """CRC-32C of the bytes of a contiguous array, written like that of a file."""
    return f"{crc32c_value(array):08x}"


@contextmanager
def disk_errors_told(path: Path, remedy: str) -> Iterator[None]:
    """Turn the operating system's refusal to write below `path` into a StoreError."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        where = error.filename or path
        raise StoreError(f"cannot write {where}: {reason}. {remedy}") from error


@contextmanager
def read_errors_told(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to read below `path` into a StoreError."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        where = error.filename or path
        raise StoreError(f"cannot read {where}: {reason}. {READ_REMEDY}") from error
