"""Copies of an index on a worker's own disk, from a shared folder or from object storage."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patchindex.errors import ClusterError, LockedError
from patchindex.index import chunk_path, crc32c, hash_json, read_manifest
from patchindex.paths import locked_folder, sync

NAMED_BY = 16  # digits of the digest
PATIENCE = 3600.0  # seconds for another worker of this host that copies the same index
COPY_BYTES = 2**24


@dataclass(frozen=True)
class Stage:
    """Where workers copy indices to, and where from.

    Attributes:
        folder: on each worker's own disk.
        sources: addresses of those indices that the calling process has copied, by their paths
            there; all others are copied from where they lie.
    """

    folder: Path
    sources: dict[str, str]

    def place_of(self, path: str, digest: str) -> str:
        """The folder of this worker's copy."""
        return str(staged(self.sources.get(path, path), digest, self.folder))


def staged(source: str, digest: str | None, folder: Path) -> Path:
    """The folder of a copy of the index, which is made if it is not there.

    Every file is compared with its checksum before the copy gets its name; workers of one host
    share one copy.

    Args:
        source: a folder, or an address that fsspec knows, such as s3://bucket/faces.zarr.
        digest: of the index; None takes the one that is found.
        folder: of all copies.

    Raises:
        ClusterError: there is no index, it is another, or a file did not arrive whole.
    """
    if digest is not None and (folder / f"{digest[:NAMED_BY]}.zarr").exists():
        return folder / f"{digest[:NAMED_BY]}.zarr"
    with _reading(source) as files:
        attributes = files.attributes()
        found = hash_json({k: v for k, v in attributes.items() if k != "manifest_sha256"})
        if digest not in (None, found):
            raise ClusterError(
                f"{source} is not the index that was asked for: it was replaced. Start again."
            )
        target = folder / f"{found[:NAMED_BY]}.zarr"
        with _alone(folder, target.name):
            if not target.exists():
                _copy(files, attributes, target)
    return target


def is_address(path: str | Path) -> bool:
    """Whether a path is one of object storage."""
    return "://" in str(path)


class _Files:
    """The files of an index, anywhere that fsspec reads."""

    def __init__(self, system: Any, root: str, source: str) -> None:
        self._system, self._root, self._source = system, root.rstrip("/"), source

    def attributes(self) -> dict[str, Any]:
        """Of the index's Zarr group."""
        with self._system.open(f"{self._root}/zarr.json", "rb") as file:
            try:
                attributes: dict[str, Any] = json.load(file)["attributes"]
                attributes["arrays"].keys()
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                raise ClusterError(
                    f"{self._source} is no index. Give one that `patchindex build` made."
                ) from error
        return attributes

    def names(self) -> list[str]:
        """Of all files, below the root."""
        start = len(self._root) + 1
        return sorted(path[start:] for path in self._system.find(self._root))

    def copy(self, name: str, target: Path) -> None:
        """One file to the disk."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._system.open(f"{self._root}/{name}", "rb") as file, target.open("wb") as out:
            shutil.copyfileobj(file, out, COPY_BYTES)


@contextmanager
def _reading(source: str) -> Iterator[_Files]:
    """The files of a source; failures of whatever storage are the user's to mend."""
    from fsspec.core import url_to_fs  # noqa: PLC0415 - comes with the extra

    try:
        system, root = url_to_fs(source)
        yield _Files(system, root, source)
    except (OSError, ImportError, ValueError) as error:
        if isinstance(error, ClusterError | LockedError):
            raise
        raise ClusterError(f"{source} cannot be copied: {error}. Give what can be read.") from error


@contextmanager
def _alone(folder: Path, name: str) -> Iterator[None]:
    """Wait until no other process of this host copies the same index."""
    with locked_folder(folder, name=f"{name}.lock", patience=PATIENCE):
        yield


def _copy(files: _Files, attributes: dict[str, Any], target: Path) -> None:
    """Copy the index beside its place, look at every byte, and give it its name."""
    beside = target.with_name(f"{target.name}.copying")
    shutil.rmtree(beside, ignore_errors=True)
    for name in files.names():
        files.copy(name, beside / name)
    for name, entry in attributes["arrays"].items():
        path = chunk_path(beside / name, len(entry["shape"]))
        if not path.is_file() or crc32c(path) != entry["crc32c"]:
            shutil.rmtree(beside)
            raise ClusterError(f"{name} did not arrive whole at {target.parent}. Try again.")
    read_manifest(beside)
    sync(beside)
    beside.rename(target)
