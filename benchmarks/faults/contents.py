"""What of a folder must be the same bits each time a command makes it."""

import hashlib
import json
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

# what differs between two equal runs: when, how long, and checksums of that
CHANGING = re.compile(r"(seconds.*|.*_seconds|created|time|manifest_sha256)")
Contents = dict[str, str]


def contents(folder: Path, *besides: Path) -> Contents:
    """Hash of every file below, by its path; times and the places themselves are left out.

    Args:
        besides: folders whose names may be in the files too, and differ between equal runs.
    """
    if folder.is_file():
        return {folder.name: content(folder, (folder.parent, *besides))}
    return {
        str(path.relative_to(folder)): content(path, (folder.parent, *besides))
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or not path.is_dir()
    }


def content(path: Path, places: tuple[Path, ...]) -> str:
    """Hash of a file without what may differ."""
    data = path.read_bytes()
    for place in sorted(places, key=lambda place: -len(str(place))):
        data = data.replace(str(place).encode(), b"@")
    if path.suffix in {".json", ".jsonl"}:
        with suppress(ValueError):  # a damaged one is compared as it is
            rows = [data] if path.suffix == ".json" else data.splitlines()
            data = json.dumps([lasting(json.loads(row)) for row in rows], sort_keys=True).encode()
    if path.suffix == ".svg":
        data = re.sub(rb"<dc:date>.*?</dc:date>", b"", data)
    return hashlib.sha256(data).hexdigest()


def lasting(value: Any) -> Any:
    """The JSON value without what may differ."""
    if isinstance(value, dict):
        return {key: lasting(kept) for key, kept in value.items() if not CHANGING.fullmatch(key)}
    if isinstance(value, list):
        return [lasting(entry) for entry in value]
    return value


def difference(found: Contents, wanted: Contents) -> str:
    """How the contents differ, in a few words; empty if they are the same."""
    told = {
        "left behind": sorted(found.keys() - wanted.keys()),
        "missing": sorted(wanted.keys() - found.keys()),
        "other bits": sorted(
            name for name in found.keys() & wanted.keys() if found[name] != wanted[name]
        ),
    }
    return "; ".join(f"{what} {', '.join(names[:3])}" for what, names in told.items() if names)


def copy(source: Path, target: Path) -> Path:
    """A copy of a file or folder."""
    if source.is_dir():
        return Path(shutil.copytree(source, target, symlinks=True))
    return Path(shutil.copyfile(source, target))
