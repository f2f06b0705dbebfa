"""Which column of a table holds the images, and which one their labels."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from patchindex.errors import DatasetError

logger = logging.getLogger(__name__)

# encoded images; bytes that may be some; numbers with names, whole numbers, texts; all else
Kind = Literal["image", "bytes", "class", "whole", "text", "other"]
IMAGE_NAMES = ("image", "img", "images", "picture", "photo", "jpg", "jpeg", "png", "webp")
LABEL_NAMES = ("label", "labels", "class", "cls", "target", "fine_label")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageColumns:
    """The names of the columns that are read; `label` is None where there are no labels."""

    image: str
    label: str | None


def choose_columns(
    kinds: Mapping[str, Kind], where: str, *, image: str | None = None, label: str | None = None
) -> ImageColumns:
    """The columns that were asked for, or else the likely ones.

    Images are the column of images, or of bytes if there is none. Labels are the column that is
    called so, or the only one of classes with names.

    Args:
        kinds: of each column.
        where: what errors call the table.

    Raises:
        DatasetError: there is no such column, or none or several that may hold images.
    """
    for name in (image, label):
        if name is not None and name not in kinds:
            raise DatasetError(
                f"{where} has no column {name!r}. Give one of {', '.join(kinds) or 'none'}."
            )
    chosen = ImageColumns(
        image=image or _image_column(kinds, where), label=label or _label_column(kinds, where)
    )
    for name, fitting in ((image, ("image", "bytes")), (label, ("class", "whole", "text"))):
        if name is not None and kinds[name] not in fitting:
            raise DatasetError(
                f"column {name!r} of {where} holds no {'images' if name == image else 'labels'}. "
                f"Give one of {', '.join(_of_kind(kinds, *fitting)) or 'another table'}."
            )
    return chosen


def _of_kind(kinds: Mapping[str, Kind], *wanted: Kind) -> list[str]:
    """The columns of these kinds, in their order."""
    return [name for name, kind in kinds.items() if kind in wanted]


def _image_column(kinds: Mapping[str, Kind], where: str) -> str:
    """The only column that may hold images, or the one whose name says so."""
    candidates = _of_kind(kinds, "image") or _of_kind(kinds, "bytes")
    named = [name for name in IMAGE_NAMES if name in candidates]
    if len(candidates) == 1 or named:
        return named[0] if named else candidates[0]
    columns = ", ".join(f"{name} ({kind})" for name, kind in kinds.items()) or "none"
    which = f"several that may: {', '.join(candidates)}" if candidates else f"only: {columns}"
    raise DatasetError(
        f"{where} has no column that is known to hold images, but {which}. Call one `image`, with "
        "the bytes of an encoded image in each row, or choose it in Python: "
        "ImageSet.from_dataset(..., image=COLUMN)."
    )


def _label_column(kinds: Mapping[str, Kind], where: str) -> str | None:
    """The column of labels, if there is one."""
    classes = _of_kind(kinds, "class")
    named = [name for name in LABEL_NAMES if name in _of_kind(kinds, "class", "whole", "text")]
    found = next(iter(named or classes), None)
    if len(classes) > 1:
        logger.warning(
            "%s has classes in the columns %s: %s is taken", where, ", ".join(classes), found
        )
    return found
