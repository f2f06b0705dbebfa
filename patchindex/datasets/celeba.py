"""Reader of CelebA's aligned faces, in the folder that torchvision's download leaves."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from jaxtyping import UInt8
from numpy import ndarray

from patchindex.choices import Crop
from patchindex.datasets.decode import decode_image, read_header
from patchindex.datasets.resize import Size, stack_resized
from patchindex.errors import DatasetError

PUBLISHED: Size = (218, 178)  # height and width of a face
RATIO_TOLERANCE = 0.02  # of faces that were made smaller, whose sides are rounded
TRAIN = "0"  # in the list of splits


def read_celeba(
    partition: Path,
    folder: Path,
    *,
    size: Size | None = None,
    crop: Crop = "none",
    limit: int | None = None,
) -> UInt8[ndarray, "n 3 h w"]:
    """The training faces in the list's order; as published, or all made smaller alike.

    Args:
        partition: `list_eval_partition.txt`: a file name and 0 (train), 1 or 2 on each line.
        folder: `img_align_celeba`, which holds the files.
        size: height and width that faces are resized to; None keeps theirs.
        crop: whether they are first cut to the aspect ratio of that size, around their center.
        limit: keep the first so many; None keeps all.

    Raises:
        DatasetError: the list is garbled or names no training image, or an image is missing,
            damaged, or of another shape than an aligned face.
    """
    names = _training_names(partition)[:limit]
    _check_present(names, partition, folder)
    own_size = _size_of_faces(folder / names[0])
    decode = partial(_decode_face, folder, size=own_size, first=names[0])
    return stack_resized(names, decode, shape=(3, *(size or own_size)), crop=crop)


def _training_names(partition: Path) -> list[str]:
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


def _check_present(names: Sequence[str], partition: Path, folder: Path) -> None:
    """Raise DatasetError unless all these files are there, before minutes of decoding."""
    try:
        present = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise DatasetError(
            f"{folder} cannot be read ({error.strerror}). Unpack img_align_celeba.zip there."
        ) from error
    missing = [name for name in names if name not in present]
    if missing:
        raise DatasetError(
            f"{folder} lacks {len(missing):,} of the {len(names):,} training faces that "
            f"{partition} names, such as {missing[0]}. Unpack img_align_celeba.zip again, "
            "or give a limit that leaves them out."
        )


def _size_of_faces(path: Path) -> Size:
    """Height and width of all faces, by the first.

    Raises:
        DatasetError: they have not the shape of an aligned face.
    """
    header = read_header(path)
    ratio = header.width / header.height * PUBLISHED[0] / PUBLISHED[1]
    if abs(ratio - 1) > RATIO_TOLERANCE:
        raise DatasetError(
            f"{path} is {header.height}x{header.width} pixels, but CelebA's aligned faces are "
            "218x178, or smaller in this ratio. Unpack img_align_celeba.zip, or read other "
            "images as folder:PATH."
        )
    return header.height, header.width


def _decode_face(folder: Path, name: str, *, size: Size, first: str) -> UInt8[ndarray, "3 h w"]:
    """One face, which is as large as all others."""
    face = decode_image(folder / name, channels=3)
    _, height, width = face.shape
    if (height, width) != size:
        raise DatasetError(
            f"{folder / name} is {height}x{width} pixels, but {first} is {size[0]}x{size[1]}. "
            "Unpack one archive of faces into an empty folder."
        )
    return face
