"""Images of Hugging Face datasets: objects that a program has, and names on the hub."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from patchindex.choices import Crop
from patchindex.datasets.columns import ImageColumns, Kind, choose_columns
from patchindex.datasets.examples import Example, load_examples
from patchindex.datasets.parquet import example_of, optional_module
from patchindex.datasets.resize import Size
from patchindex.errors import DatasetError
from patchindex.image_arrays import LoadedImages

logger = logging.getLogger(__name__)

SPLIT = "train"


def is_hugging_face(dataset: object) -> bool:
    """Whether it is a dataset, or a dictionary of splits, of the package `datasets`."""
    return hasattr(dataset, "column_names") and not isinstance(dataset, type)


def load_hugging_face(
    dataset: Any,
    *,
    name: str,
    size: Size | None = None,
    crop: Crop = "none",
    limit: int | None = None,
    image: str | None = None,
    label: str | None = None,
) -> LoadedImages:
    """The images of a dataset in the order of its rows; see `load_examples`.

    Its formats and transforms are left aside: encoded images are decoded as those of a folder.

    Args:
        name: of the source, for people.
        limit: keep the first so many.
        image, label: columns; None for those that look like it.

    Raises:
        DatasetError: it holds no images, or several splits.
    """
    if isinstance(dataset, Mapping):
        splits = ", ".join(map(str, dataset)) or "none"
        raise DatasetError(
            f"{name} is a dictionary of splits: {splits}. Give one of them, as in dataset['train']."
        )
    if not hasattr(dataset, "__len__"):
        raise DatasetError(
            f"{name} is a stream without a length. Give it as a list: "
            "ImageSet.from_images([row['image'] for row in dataset.take(1000)])."
        )
    plain = dataset.with_format(None)
    columns = choose_columns(
        {column: _kind(feature) for column, feature in plain.features.items()},
        name, image=image, label=label,
    )  # fmt: skip
    feature = plain.features[columns.image]
    if type(feature).__name__ == "Image":
        plain = plain.cast_column(columns.image, type(feature)(decode=False))
    plain = plain.select_columns([each for each in (columns.image, columns.label) if each])
    kept = len(plain) if limit is None else min(limit, len(plain))
    class_names = tuple(getattr(plain.features.get(columns.label), "names", None) or ())
    rows = _Rows(dataset=plain, columns=columns, count=kept, name=name)
    return load_examples(rows, name=name, size=size, crop=crop, class_names=class_names)


def _kind(feature: Any) -> Kind:
    """What a column may be good for."""
    match type(feature).__name__, str(getattr(feature, "dtype", "")):
        case "Image", _:
            return "image"
        case "ClassLabel", _:
            return "class"
        case "Value", dtype if dtype.startswith(("int", "uint")):
            return "whole"
        case "Value", "string" | "large_string":
            return "text"
        case "Value", "binary" | "large_binary":
            return "bytes"
        case _:
            return "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """The first rows of a dataset as examples."""

    dataset: Any
    columns: ImageColumns
    count: int
    name: str

    def __len__(self) -> int:
        """How many there are."""
        return self.count

    def __iter__(self) -> Iterator[Example]:
        """Row after row."""
        label = self.columns.label
        for number, row in enumerate(islice(self.dataset, self.count)):
            place = f"row {number} of {self.name}"
            cell = row[self.columns.image]
            value = row[label] if label else None
            path = cell.get("path") if isinstance(cell, Mapping) else None
            if path and cell.get("bytes") is None:  # of files that lie on this machine
                yield Example(image=Path(path), place=place, label=value, file=path)
            elif isinstance(cell, Image.Image):
                yield Example(image=cell, place=place, label=value)
            else:
                yield example_of(cell, value, place)


def load_hub(
    place: str, *, size: Size | None = None, crop: Crop = "none", limit: int | None = None
) -> LoadedImages:
    """The images of a dataset on the hub, or of a folder that the package `datasets` understands.

    Args:
        place: NAME or NAME:SPLIT; the split is `train` unless it is told, and may be a slice such
            as `train[:1000]`.

    Raises:
        DatasetError: the package is not installed, or the dataset cannot be had.
    """
    name, _, split = place.partition(":")
    if not name:
        raise DatasetError(
            "hf: lacks a name. Give it after the colon, as in hf:NAME or hf:NAME:SPLIT."
        )
    library = optional_module("datasets", f"hf:{place}")
    logger.info("hf:%s: asking Hugging Face for it", place)
    try:
        with _quiet():
            dataset = library.load_dataset(name, split=split or SPLIT)
    except Exception as error:  # of many libraries, which all mean that it cannot be had
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DatasetError(
            f"hf:{place} cannot be had from Hugging Face ({type(error).__name__}: {reason}). Look "
            "at the name, the split and the network; what was downloaded elsewhere is read as "
            "parquet:PATH."
        ) from error
    return load_hugging_face(dataset, name=f"hf:{place}", size=size, crop=crop, limit=limit)


@contextmanager
def _quiet() -> Iterator[None]:
    """Within, the hub's client does not tell of each try: its last error says what it could not."""
    client = logging.getLogger("huggingface_hub")
    before = client.level
    client.setLevel(logging.ERROR)
    try:
        yield
    finally:
        client.setLevel(before)
