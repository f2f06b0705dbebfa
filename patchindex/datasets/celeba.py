"""CelebA in torchvision's layout: aligned JPEG files and the list that splits them."""

from functools import partial
from pathlib import Path

from jaxtyping import UInt8
from numpy import ndarray

from patchindex.datasets.decode import decode_image
from patchindex.datasets.resize import Size, stack_resized
from patchindex.errors import DatasetError
from patchindex.images import Crop

CROP = 178
TRAIN = "0"


def read_celeba(
    partition: Path,
    folder: Path,
    *,
    size: Size | None = None,
    crop: Crop = "none",
    limit: int | None = None,
) -> UInt8[ndarray, "n 3 h w"]:
    """The training faces in the list's order, cropped to the central 178x178 pixels, then resized.

    Args:
        partition: `list_eval_partition.txt`: a file name and 0 (train), 1 or 2 on each line.
        folder: `img_align_celeba`, which holds the files.
        size: height and width; None keeps 178x178.
        crop: what to cut off those 178x178 before they get another shape.
        limit: keep the first so many; None keeps all.

    Raises:
        DatasetError: the list is garbled or names no training image, or an image is missing,
            damaged or too small.
    """
    names = training_names(partition)[:limit]
    return stack_resized(
        names, partial(decode_face, folder), shape=(3, *(size or (CROP, CROP))), crop=crop
    )


def training_names(partition: Path) -> list[str]:
    """File names of the training split."""
    try:
        lines = [line.split() for line in partition.read_text(encoding="ascii").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{partition} cannot be read: {error}. Get it again.") from error
    for number, line in enumerate(lines, start=1):
        if line and (len(line) != 2 or line[1] not in {"0", "1", "2"}):
            raise DatasetError(
                f"line {number} of {partition} is {' '.join(line)!r}. "
                "Each line should be a file name and 0, 1 or 2; get the file again."
            )
    names = [line[0] for line in lines if line and line[1] == TRAIN]
    if not names:
        raise DatasetError(
            f"{partition} lists no training image (a file name and 0). Get it again."
        )
    return names


def decode_face(folder: Path, name: str) -> UInt8[ndarray, "3 178 178"]:
    """The central square of one face."""
    path = folder / name
    face = decode_image(path, channels=3)
    _, height, width = face.shape
    if min(height, width) < CROP:
        raise DatasetError(
            f"{path} is {height}x{width} pixels, but CelebA's aligned faces are 218x178. "
            "Unpack img_align_celeba.zip again."
        )
    top, left = (height - CROP) // 2, (width - CROP) // 2
    return face[:, top : top + CROP, left : left + CROP]
