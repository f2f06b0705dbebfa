"""CIFAR-10: the published Python batches, or JPEG copies in a zip archive."""

import io
import pickle
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8
from numpy import ndarray

from patchindex.datasets.decode import decode_image
from patchindex.datasets.resize import Size, stack_resized
from patchindex.errors import DatasetError
from patchindex.images import Crop

SIDE = 32
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
            batch_pixels, batch_labels = read_batch(path)
            pixels.append(batch_pixels)
            labels.extend(batch_labels)
    return np.concatenate(pixels)[:limit], np.asarray(labels[:limit], dtype=np.int64)


def read_batch(path: Path) -> tuple[UInt8[ndarray, "m 3 32 32"], list[int]]:
    """Images and labels of one batch file."""
    try:
        with path.open("rb") as stream:
            batch = BatchUnpickler(stream, encoding="latin1").load()
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


class BatchUnpickler(pickle.Unpickler):
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
            members = training_members(archive.namelist(), class_names)[:limit]
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


def training_members(names: Sequence[str], class_names: Sequence[str]) -> list[tuple[str, int]]:
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
