"""The idx format of MNIST and its relatives: a big-endian header, then unsigned bytes."""

import gzip
import io
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8
from numpy import ndarray

from patchindex.errors import DatasetError

UNSIGNED_BYTE = 0x08
PIECE_BYTES = 2**24


def read_idx_images(
    images_path: Path, labels_path: Path, *, limit: int | None = None
) -> tuple[UInt8[ndarray, "n 1 h w"], Int[ndarray, " n"]]:
    """The first `limit` images of a pair of idx files and their labels; all for None.

    Raises:
        DatasetError: a file is damaged or not idx, or the two do not belong together.
    """
    num_images, num_labels = (
        read_idx_shape(path, num_axes)[0] for path, num_axes in ((images_path, 3), (labels_path, 1))
    )
    if num_images != num_labels:
        raise DatasetError(
            f"{images_path} holds {num_images} images, but {labels_path} holds {num_labels} "
            "labels. Put two files there that belong together."
        )
    images = read_idx(images_path, num_axes=3, limit=limit)
    labels = read_idx(labels_path, num_axes=1, limit=limit)
    return images[:, None], labels.astype(np.int64)


def read_idx(path: Path, *, num_axes: int, limit: int | None = None) -> UInt8[ndarray, "..."]:
    """The first `limit` entries of an idx file, gzipped if its name ends in `.gz`.

    Raises:
        DatasetError: the file is damaged, ends too early, or is not idx with so many axes.
    """
    with reading(path) as stream:
        total, *shape = read_header(stream, path, num_axes)
        kept = total if limit is None else min(limit, total)
        expected = kept * math.prod(shape)
        data = read_at_most(stream, expected)
        # reading on to the end makes gzip compare its checksum
        excess = stream.read(1) if kept == total else b""
    if len(data) != expected or excess:
        found = f"{len(data)} bytes follow" if not excess else "more bytes follow"
        raise DatasetError(
            f"{path} is damaged: its header promises {expected} bytes of data, but {found}. "
            "Delete it and get it again."
        )
    # a copy, because arrays over bytes cannot be written to, of which torch warns
    return np.frombuffer(data, dtype=np.uint8).reshape(kept, *shape).copy()


def read_idx_shape(path: Path, num_axes: int) -> tuple[int, ...]:
    """The shape that an idx file's header states."""
    with reading(path) as stream:
        return read_header(stream, path, num_axes)


@contextmanager
def reading(path: Path) -> Iterator[io.BufferedIOBase]:
    """The file's unpacked bytes; whatever goes wrong while reading them is a DatasetError."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            yield stream
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(
            f"{path} cannot be read: {error}. If it is damaged, delete it and get it again."
        ) from error


def read_header(stream: io.BufferedIOBase, path: Path, num_axes: int) -> tuple[int, ...]:
    """The shape; the stream then stands at the first entry."""
    magic = stream.read(4)
    if magic != bytes((0, 0, UNSIGNED_BYTE, num_axes)):
        raise DatasetError(
            f"{path} is not an idx file of unsigned bytes with {num_axes} axes: it begins with "
            f"{magic.hex(' ') or 'nothing'}. Delete it and get it again."
        )
    sizes = stream.read(4 * num_axes)
    if len(sizes) != 4 * num_axes:
        raise DatasetError(f"{path} ends inside its header. Delete it and get it again.")
    return struct.unpack(f">{num_axes}I", sizes)


def read_at_most(stream: io.BufferedIOBase, num_bytes: int) -> bytes:
    """The next bytes, fewer at the end of the file.

    In pieces, because a damaged header can promise more than any memory holds.
    """
    pieces: list[bytes] = []
    while num_bytes and (piece := stream.read(min(num_bytes, PIECE_BYTES))):
        pieces.append(piece)
        num_bytes -= len(piece)
    return b"".join(pieces)
