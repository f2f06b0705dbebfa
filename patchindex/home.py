"""Folders of this user and machine: the home of downloads and indices, and extra data folders."""

import json
import os
from pathlib import Path

COMPLETE = "complete"


def home() -> Path:
    """`$PATCHINDEX_HOME`, else `patchindex` in the user's cache folder; it need not exist yet."""
    chosen = os.environ.get("PATCHINDEX_HOME")
    if chosen:
        return Path(chosen).expanduser()
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # the XDG specification tells programs to ignore a relative path
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "patchindex"


def datasets_dir() -> Path:
    """Where downloaded datasets live, in torchvision's layout."""
    return home() / "datasets"


def indices_dir() -> Path:
    """Where indices go that were built without `--out`."""
    return home() / "indices"


def data_folders() -> tuple[Path, ...]:
    """The folders of `$PATCHINDEX_DATA`, searched for datasets before any other place."""
    listed = os.environ.get("PATCHINDEX_DATA", "").split(os.pathsep)
    return tuple(Path(folder).expanduser() for folder in listed if folder)


def index_path(
    source: str, *, height: int, width: int, boundary: str, first: int | None = None
) -> Path:
    """`DATASET-RESOLUTION-BOUNDARY.zarr` among this user's indices; of a part, `...-firstN.zarr`.

    Args:
        source: what the images were loaded from; `folder:PATH` and `npz:PATH` give the last part
            of their path, without suffix.
        height: of the images, in pixels; the resolution is HEIGHTxWIDTH unless they are square.
        width: of the images, in pixels.
        boundary: how windows meet the image border.
        first: how many images, where the source has more.
    """
    kind, _, place = source.partition(":")
    dataset = Path(place).expanduser().resolve() if place else Path(kind)
    stem = dataset.stem if kind == "npz" else dataset.name
    safe = "".join(char if char.isalnum() or char in "._" else "_" for char in stem) or kind
    resolution = f"{height}" if height == width else f"{height}x{width}"
    part = "" if first is None else f"-first{first}"
    return indices_dir() / f"{safe}-{resolution}-{boundary}{part}.zarr"


def finished_indices() -> list[Path]:
    """The complete indices of this user, the one that was completed last first."""
    finished = [path for path in indices_dir().glob("*.zarr") if looks_complete(path)]
    return sorted(
        finished,
        key=lambda path: ((path / "zarr.json").stat().st_mtime_ns, path.name),
        reverse=True,
    )


def looks_complete(path: Path) -> bool:
    """Whether the Zarr group at `path` says of itself that its build was finished."""
    try:
        group = json.loads((path / "zarr.json").read_text(encoding="utf-8"))
        return bool(group["attributes"]["status"] == COMPLETE)
    except (OSError, ValueError, LookupError, TypeError):
        return False  # a file that is missing or garbled marks a build that never ended
