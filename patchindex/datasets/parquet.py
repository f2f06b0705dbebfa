"""Reader of parquet files of encoded images, as Hugging Face's datasets have them.

A row has an image, as bytes or as a struct of `bytes` and `path`, and perhaps a label. Rows are
read in small batches, of these two columns alone.
"""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

from patchindex.choices import Crop
from patchindex.datasets.columns import ImageColumns, Kind, choose_columns
from patchindex.datasets.examples import Example, load_examples
from patchindex.datasets.resize import Size
from patchindex.errors import DatasetError
from patchindex.image_arrays import LoadedImages

PARQUET_SUFFIXES = (".parquet", ".pq")
BATCH_ROWS = 64
FEATURES = b"huggingface"  # under which a file's metadata has the names of classes


def load_parquet(
    files: Sequence[Path],
    *,
    name: str,
    size: Size | None = None,
    crop: Crop = "none",
    limit: int | None = None,
) -> LoadedImages:
    """The images of parquet files in the order of files and rows; see `load_examples`.

    Args:
        files: all with the same columns.
        name: of the source, for people.
        limit: keep the first so many; rows behind them are not read.

    Raises:
        DatasetError: a file is damaged, or holds no images; pyarrow is not installed.
    """
    tables = [_Table.open(path) for path in files]
    rows = ParquetRows(tables=tuple(tables), limit=limit)
    return load_examples(rows, name=name, size=size, crop=crop, class_names=tables[0].class_names)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """What a parquet file says of itself."""

    path: Path
    num_rows: int
    columns: ImageColumns
    class_names: tuple[str, ...]

    @classmethod
    def open(cls, path: Path) -> "_Table":
        """Read the schema."""
        with _damage(path), _parquet().ParquetFile(path) as file:
            schema, num_rows = file.schema_arrow, file.metadata.num_rows
        named = _class_names(schema.metadata or {})
        kinds = {field.name: _kind(field.type, has_names=field.name in named) for field in schema}
        columns = choose_columns(kinds, str(path))
        return cls(
            path=path, num_rows=num_rows, columns=columns,
            class_names=named.get(columns.label or "", ()),
        )  # fmt: skip


def optional_module(name: str, what: str) -> ModuleType:
    """A module of a package that need not be installed.

    Args:
        what: needs it, for the error.

    Raises:
        DatasetError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise DatasetError(
            f"{what} cannot be read without the package {name.partition('.')[0]} ({error}). "
            "Install it: pip install 'patchindex[data]'."
        ) from error


def _parquet() -> Any:
    """The library."""
    return optional_module("pyarrow.parquet", "a parquet file")


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Whatever is wrong with the file is a DatasetError."""
    try:
        yield
    except DatasetError:
        raise
    except Exception as error:  # pyarrow's own classes, and those of the system
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DatasetError(
            f"{path} cannot be read as a parquet file: {reason}. Write the file again."
        ) from error


def _kind(arrow: Any, *, has_names: bool) -> Kind:
    """What a column may be good for."""
    types = optional_module("pyarrow.types", "a parquet file")
    if types.is_struct(arrow):
        parts = {arrow.field(i).name: arrow.field(i).type for i in range(arrow.num_fields)}
        return "image" if "bytes" in parts and _is_bytes(parts["bytes"]) else "other"
    if _is_bytes(arrow):
        return "bytes"
    if types.is_integer(arrow):
        return "class" if has_names else "whole"
    value = arrow.value_type if types.is_dictionary(arrow) else arrow
    return "text" if types.is_string(value) or types.is_large_string(value) else "other"


def _is_bytes(arrow: Any) -> bool:
    """Whether values are bytes of any length."""
    types = optional_module("pyarrow.types", "a parquet file")
    return bool(types.is_binary(arrow) or types.is_large_binary(arrow))


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, tuple[str, ...]]:
    """Names of classes by column, where the writer has noted them."""
    try:
        features = json.loads(metadata.get(FEATURES, b"{}"))["info"]["features"]
        named = {column: feature.get("names") for column, feature in features.items()}
        return {
            column: tuple(names)
            for column, names in named.items()
            if isinstance(names, list) and all(isinstance(name, str) for name in names)
        }
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}  # of another writer, which notes other things there


@dataclass(frozen=True, slots=True, kw_only=True)
class ParquetRows:
    """The rows of some files as examples."""

    tables: tuple[_Table, ...]
    limit: int | None = None

    def __len__(self) -> int:
        """Rows of all files, up to the limit."""
        total = sum(table.num_rows for table in self.tables)
        return total if self.limit is None else min(total, self.limit)

    def __iter__(self) -> Iterator[Example]:
        """Row after row."""
        return islice((each for table in self.tables for each in _rows(table)), len(self))


def _rows(table: _Table) -> Iterator[Example]:
    """The rows of a file."""
    image, label = table.columns.image, table.columns.label
    with _damage(table.path), _parquet().ParquetFile(table.path) as file:
        batches = file.iter_batches(
            BATCH_ROWS, columns=list(dict.fromkeys(filter(None, (image, label))))
        )
        number = 0
        for batch in batches:
            for row in batch.to_pylist():
                place = f"row {number} of {table.path}"
                yield example_of(row[image], row[label] if label else None, place)
                number += 1


def example_of(cell: Any, label: int | str | None, place: str) -> Example:
    """The example of a row: encoded bytes, or a mapping with `bytes` and perhaps `path`.

    Raises:
        DatasetError: there are no bytes.
    """
    encoded, file = (cell, None)
    if isinstance(cell, Mapping):
        encoded, file = cell.get("bytes"), cell.get("path")
    if not isinstance(encoded, bytes) or not encoded:
        raise DatasetError(
            f"{place} has no image: {'a path alone' if file else 'nothing'} is there. Put the "
            "bytes of an encoded image into each row, or leave the row out."
        )
    file = file.replace("\0", "") if isinstance(file, str) else None
    return Example(image=io.BytesIO(encoded), place=place, label=label, file=file or None)
