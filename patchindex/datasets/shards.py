"""Files that together hold a dataset: one file, a folder of them, a pattern, or braces."""

import os
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from patchindex.errors import DatasetError

MOST_FILES = 100_000  # that a text may name
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"([0-9]+)\.\.([0-9]+)")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|pipe:")


def shard_files(place: str, kind: str, suffixes: tuple[str, ...]) -> list[Path]:
    """The files that a text names, sorted by the bytes of their names; braces keep their order.

    Args:
        place: a file; a folder, of which all files with these suffixes are taken; a pattern with
            `*`, `?` or `[...]`; or braces, as in `train-{000..146}.tar` and `{train,val}.tar`.
        kind: of the source, for errors, such as `parquet`.

    Raises:
        DatasetError: there is no such file, or the text is an address.
    """
    if not place:
        raise DatasetError(f"{kind}: lacks a path. Give it after the colon, as in {kind}:PATH.")
    if _URL.match(place):
        raise DatasetError(
            f"{kind}:{place} is an address, not a path. Copy the files to this machine, and give "
            f"{kind}:PATH."
        )
    try:
        path = Path(place).expanduser()
        files = _found(path, suffixes)
    except (OSError, RuntimeError, ValueError) as error:  # the last for zero bytes
        raise DatasetError(f"{place} cannot be read: {error}. Give another path.") from error
    missing = next((file for file in files if not file.is_file()), None)
    if missing is not None:
        raise DatasetError(f"{missing} does not exist or is not a file. Give the path of a file.")
    if not files:
        raise DatasetError(
            f"{path} holds no file for {kind}:PATH. Files with these suffixes are looked for: "
            f"{', '.join(suffixes)}."
        )
    return files


def _found(path: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The files, of which those that are named one by one need not exist."""
    if path.is_file():
        return [path]
    if path.is_dir():
        return _sorted(each for each in path.rglob("*") if each.name.lower().endswith(suffixes))
    if _BRACES.search(str(path)):
        return [Path(name) for name in expand_braces(str(path))]
    if any(sign in str(path) for sign in "*?["):
        anchor = Path(path.anchor)
        return _sorted(anchor.glob(str(path.relative_to(anchor))))
    return [path]


def _sorted(paths: Iterator[Path]) -> list[Path]:
    """The files among them that are not hidden, by the bytes of their names."""
    files = [path for path in paths if path.is_file() and not path.name.startswith(".")]
    return sorted(files, key=lambda path: [os.fsencode(part) for part in path.parts])


def expand_braces(text: str) -> list[str]:
    """The texts that braces stand for, in order.

    Raises:
        DatasetError: braces that are no range or list, or too many texts.

    Example:
        >>> expand_braces("{a,b}-{08..10}.tar")
        ['a-08.tar', 'a-09.tar', 'a-10.tar', 'b-08.tar', 'b-09.tar', 'b-10.tar']
    """
    plain, choices, end, count = [], [], 0, 1
    for found in _BRACES.finditer(text):
        plain.append(text[end : found.start()])
        end = found.end()
        choices.append(_choices(found[1], text))
        count *= len(choices[-1])
        if count > MOST_FILES:
            raise DatasetError(f"{text} names more than {MOST_FILES:,} files. Give fewer at once.")
    pieces = [
        [before + choice for choice in each] for before, each in zip(plain, choices, strict=True)
    ]
    return ["".join([*parts, text[end:]]) for parts in product(*pieces)]


def _choices(inside: str, text: str) -> list[str]:
    """What one pair of braces stands for."""
    if found := _RANGE.fullmatch(inside):
        first, last = (int(part) for part in found.groups())
        if 0 <= last - first < MOST_FILES:
            padded = len(found[1]) if found[1].startswith("0") else 0
            return [f"{number:0{padded}}" for number in range(first, last + 1)]
    elif "," in inside:
        return inside.split(",")
    raise DatasetError(
        f"{text} has braces that hold {inside!r}. Give a rising range such as {{000..146}} of at "
        f"most {MOST_FILES:,} numbers, or a list such as {{train,val}}."
    )
