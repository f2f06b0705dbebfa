"""Readers of MNIST and its relatives (idx), and of CIFAR-10.

Ours, as torchvision's, which only downloads them, want files unpacked in a folder of their own
layout, read a whole data set where a limit asks for few, know no archive of JPEG files, and say in
a traceback what is wrong with a file.
"""

import gzip
import io
import math
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8
from numpy import ndarray

from patchindex.choices import Crop
from patchindex.datasets.decode import decode_image
from patchindex.datasets.resize import Size, stack_resized
from patchindex.errors import DatasetError

UNSIGNED_BYTE = 0x08
PIECE_BYTES = 2**24
SIDE = 32  # of CIFAR-10's images
# what pickle and zipfile raise on damaged files, by place of the damage
PICKLE_DAMAGE = (
    OSError, EOFError, ValueError, LookupError, AttributeError, TypeError, ImportError,
    MemoryError, pickle.UnpicklingError,
)  # fmt: skip
ZIP_DAMAGE = (
    OSError, EOFError, RuntimeError, UnicodeDecodeError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
# all that a batch is made of; anything else in a pickle could run code
BATCH_PARTS = {
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("_codecs", "encode"),
}


def read_idx_images(
    images_path: Path, labels_path: Path, *, limit: int | None = None
) -> tuple[UInt8[ndarray, "n 1 h w"], Int[ndarray, " n"]]:
    """The first `limit` images of a pair of idx files and their labels; all for None.

    Raises:
        DatasetError: a file is damaged or not idx, or the two do not belong together.
    """
    num_images, num_labels = (
        _read_idx_shape(path, num_axes)[0]
        for path, num_axes in ((images_path, 3), (labels_path, 1))
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
    with _reading(path) as stream:
        total, *shape = _read_header(stream, path, num_axes)
        kept = total if limit is None else min(limit, total)
        expected = kept * math.prod(shape)
        data = _read_at_most(stream, expected)
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


def _read_idx_shape(path: Path, num_axes: int) -> tuple[int, ...]:
    """The shape that an idx file's header states."""
    with _reading(path) as stream:
        return _read_header(stream, path, num_axes)


@contextmanager
def _reading(path: Path) -> Iterator[io.BufferedIOBase]:
    """The file's unpacked bytes; whatever goes wrong while reading them is a DatasetError."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            yield stream
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(
            f"{path} cannot be read: {error}. If it is damaged, delete it and get it again."
        ) from error


def _read_header(stream: io.BufferedIOBase, path: Path, num_axes: int) -> tuple[int, ...]:
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


def _read_at_most(stream: io.BufferedIOBase, num_bytes: int) -> bytes:
    """The next bytes, fewer at the end of the file.

    In pieces, because a damaged header can promise more than any memory holds.
    """
    pieces: list[bytes] = []
    while num_bytes and (piece := stream.read(min(num_bytes, PIECE_BYTES))):
        pieces.append(piece)
        num_bytes -= len(piece)
    return b"".join(pieces)


def read_cifar_batches(
    paths: Sequence[Path], *, limit: int | None = None
) -> tuple[UInt8[ndarray, "n 3 32 32"], Int[ndarray, " n"]]:
    """The images of `data_batch_1`, ... in this order; files past `limit` are not opened.

    Raises:
        DatasetError: a file is damaged, or is not a CIFAR-10 batch.
    """
    pixels: list[UInt8[ndarray, "m 3 32 32"]] = []
    labels: list[int] = []
    for path in paths:
        if limit is None or len(labels) < limit:
            batch_pixels, batch_labels = _read_batch(path)
            pixels.append(batch_pixels)
            labels.extend(batch_labels)
    return np.concatenate(pixels)[:limit], np.asarray(labels[:limit], dtype=np.int64)


def _read_batch(path: Path) -> tuple[UInt8[ndarray, "m 3 32 32"], list[int]]:
    """Images and labels of one batch file."""
    try:
        with path.open("rb") as stream:
            batch = _BatchUnpickler(stream, encoding="latin1").load()
        data, labels = np.asarray(batch["data"]), list(batch["labels"])
    except PICKLE_DAMAGE as error:
        raise DatasetError(
            f"{path} cannot be read as a CIFAR-10 batch: {error}. Delete it and get it again."
        ) from error
    if data.dtype != np.uint8 or data.shape != (len(labels), 3 * SIDE * SIDE):
        raise DatasetError(
            f"{path} is not a CIFAR-10 batch: it holds {data.dtype} values of shape {data.shape} "
            f"and {len(labels)} labels. Delete it and get it again."
        )
    return data.reshape(-1, 3, SIDE, SIDE), labels


class _BatchUnpickler(pickle.Unpickler):
    """Reads arrays, lists and text, and refuses whatever could run code."""

    def find_class(self, module: str, name: str) -> Any:
        """The object of this name, if batches are made of it."""
        if (module, name) not in BATCH_PARTS:
            raise pickle.UnpicklingError(f"{module}.{name} does not belong into one")
        return super().find_class(module, name)


def read_cifar_zip(
    path: Path,
    class_names: Sequence[str],
    *,
    size: Size | None = None,
    crop: Crop = "none",
    limit: int | None = None,
) -> tuple[UInt8[ndarray, "n 3 h w"], Int[ndarray, " n"]]:
    """The files `train/CLASS/*.jpg` of a zip archive, the classes taking turns.

    In turns, so that the first images are a mixture, as they are in the published order.

    Raises:
        DatasetError: the archive or an image in it is damaged, or it has no such files.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = _training_members(archive.namelist(), class_names)[:limit]
            if not members:
                raise DatasetError(
                    f"{path} holds no training image. Files named train/CLASS/*.jpg are looked "
                    f"for, where CLASS is one of {', '.join(class_names)}."
                )
            pixels = stack_resized(
                [member for member, _ in members],
                lambda member: decode_image(
                    io.BytesIO(archive.read(member)), channels=3, name=f"{path}/{member}"
                ),
                shape=(3, *(size or (SIDE, SIDE))),
                crop=crop,
            )
    except ZIP_DAMAGE as error:
        raise DatasetError(
            f"{path} cannot be read as a zip archive: {error}. Get it again."
        ) from error
    return pixels, np.asarray([label for _, label in members], dtype=np.int64)


def _training_members(names: Sequence[str], class_names: Sequence[str]) -> list[tuple[str, int]]:
    """(file, label) of each `train/CLASS/*.jpg` among the names, ordered by rank in its class."""
    members: dict[str, list[str]] = {class_name: [] for class_name in class_names}
    for name in sorted(names):
        *_, split, class_name, file = ("", "", *name.split("/"))
        if split == "train" and class_name in members and file.lower().endswith((".jpg", ".jpeg")):
            members[class_name].append(name)
    ranked = [
        (rank, label, name)
        for label, own in enumerate(members.values())
        for rank, name in enumerate(own)
    ]
    return [(name, label) for _, label, name in sorted(ranked)]
