"""The work folder of a build, and the last step that turns it into an index.

    NAME.zarr.building/
      lock                 held by the process that builds
      job.json             config and hash of the images; another job here is thrown away
      store/               the index to be; renamed to NAME.zarr when complete
      images.json          marks that the images are in the store; a scale has {P}.json, and
                           each of its shards {P}-{K}.json
      units-X/             what units of a crew are writing, see `finish_unit`
      replaced/            the old index on its way out

Every mark appears whole or not at all (written beside, then renamed), and only once the arrays that
it names are on the disk; arrays without one are written again. What is here belongs to nobody once
job.json is gone, which is therefore removed before anything that a build relies on.

Workers share this folder, but no lock. Each unit writes into a folder of its own in units-X, and
leaves it by being renamed. The process that holds the lock moves units-X away before it looks at
what is finished: whatever worker it has lost sight of can change nothing from then on.
"""

import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict
from uuid import uuid4

import zarr

from patchindex.environment import library_versions
from patchindex.images import ImageSet
from patchindex.index.config import IndexConfig
from patchindex.index.schema import ArrayEntry, Job, Manifest
from patchindex.index.store import (
    FORMAT,
    SCHEMA_VERSION,
    canonical_json,
    chunk_path,
    describe_array,
    hash_json,
    is_stray,
    with_own_hash,
)
from patchindex.paths import LOCK, locked_folder, sync, whole_file

logger = logging.getLogger(__name__)

IMAGES = "images"  # marks in IMAGES.json that the store was begun
UNITS = "units-"  # begins the name of the folder of units
ARRAYS, NOTE = "arrays", "note.json"  # in a unit's own folder


@dataclass(frozen=True, slots=True)
class WorkDir:
    """The work folder of one target; use `locked` to get one."""

    path: Path

    @property
    def store(self) -> Path:
        """The index to be."""
        return self.path / "store"

    @property
    def replaced(self) -> Path:
        """The old index on its way out."""
        return self.path / "replaced"

    def adopt(self, job: Job) -> None:
        """Keep what is here if it belongs to this job, else start clean."""
        self._drop_units()
        found = self.read_json("job")
        if found == job and not self.was_emptied():
            logger.info("resuming the build in %s", self.path)
            return
        if found not in (None, job):
            logger.warning("%s belongs to another build; starting from the beginning", self.path)
        self.clear()
        self.write_json("job", job)

    @contextmanager
    def units(self) -> Iterator[Path]:
        """A new folder for what units write, until the end of the block.

        Units that were begun earlier change nothing here any more, wherever they still run.
        """
        self._drop_units()
        folder = self.path / f"{UNITS}{uuid4().hex}"
        folder.mkdir()
        try:
            yield folder
        finally:
            self._drop_units()

    def _drop_units(self) -> None:
        """Remove what units have left.

        Listing the folder and renaming in it also have an NFS client forget what was not there.
        """
        for folder in self.path.glob(f"{UNITS}*"):
            moved = folder.rename(self.path / f"{UNITS}{uuid4().hex}")
            shutil.rmtree(moved, ignore_errors=True)  # NFS keeps what is open; next time it goes

    def swap_in(self, target: Path) -> None:
        """Put the finished store where `target` is, and only then remove what was there."""
        if target.exists():
            self.remove(self.replaced.name)
            target.rename(self.replaced)
        self.store.rename(target)
        sync(target.parent)
        self.clear()

    def finish_swap(self, target: Path, job: Job) -> bool:
        """Do what is left of a swap that was cut short; True if this job's index is in place now.

        A swap of another job is finished too: until then neither index is where it is looked for.
        """
        owner = self.read_json("job")
        if self.replaced.exists() and self.store.exists() and not target.exists():
            self.store.rename(target)
            sync(target.parent)
        done = target.exists() and self.was_emptied() and owner == job
        if done or owner is None:
            self.clear()
        return done

    def was_emptied(self) -> bool:
        """Whether a store was begun here, and is not here any more: it was swapped in."""
        return self.read_json(IMAGES) is not None and not self.store.exists()

    def clear(self) -> None:
        """Remove everything but the lock."""
        self.remove(self.replaced.name)  # large; until it is gone, the swap can still be finished
        self.remove("job.json")
        for name in sorted({entry.name for entry in self.path.iterdir()} - {LOCK}):
            self.remove(name)

    def num_bytes(self) -> int:
        """Bytes of all files here."""
        return sum(path.stat().st_size for path in self.path.rglob("*") if path.is_file())

    def read_json(self, name: str) -> Any:
        """Content of NAME.json; None if it is not there, or torn."""
        try:
            return json.loads((self.path / f"{name}.json").read_bytes())
        except (FileNotFoundError, ValueError):
            return None

    def write_json(self, name: str, value: Any) -> None:
        """Write NAME.json."""
        with whole_file(self.path / f"{name}.json") as path:
            path.write_text(canonical_json(value))

    def remove(self, name: str) -> None:
        """Remove a file or folder, if it is there; of a link only the link."""
        path = self.path / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def work_of(target: Path) -> WorkDir:
    """The work folder of a target, whether it is there or not."""
    return WorkDir(target.with_name(f"{target.name}.building"))


@contextmanager
def locked(target: Path) -> Iterator[WorkDir]:
    """The target's work folder, for this process alone; it is gone afterwards if it is empty.

    Raises:
        LockedError: another process builds the same target.
    """
    path = work_of(target).path
    with locked_folder(path, busy=f"another process is building {target}"):
        yield WorkDir(path)
    with suppress(OSError):  # one that a killed process left, unless there is something in it
        path.rmdir()


def describe_job(images: ImageSet, config: IndexConfig) -> Job:
    """All that decides the arrays of an index, and its names."""
    return {
        "schema_version": SCHEMA_VERSION,
        "dataset": images.name,
        "class_names": list(images.class_names),
        "images_sha256": images.sha256,
        "names_sha256": None if images.names is None else hash_json(list(images.names)),
        "config": config.to_json(),
    }


class _Note(TypedDict):
    """NAME.json: arrays that are finished, and the seconds that they took."""

    arrays: dict[str, ArrayEntry]
    seconds: float


def finish_arrays(work: WorkDir, name: str, arrays: list[str], seconds: float) -> None:
    """Put arrays on the disk for good, and note their checksums under NAME.json."""
    described = {array: _flushed(work.store, array) for array in arrays}
    work.write_json(name, _Note(arrays=described, seconds=seconds))


def _flushed(root: Path, array: str) -> ArrayEntry:
    """The entry of an array, which is on the disk for good."""
    entry = describe_array(root, array)
    sync(chunk_path(root / array, len(entry["shape"])))
    sync(root / array / "zarr.json")
    return entry


@contextmanager
def unit_folder(units: Path) -> Iterator[Path]:
    """A new folder for one unit, gone at the end of the block."""
    folder = units / uuid4().hex
    folder.mkdir()  # not its parents: where those are gone, nobody waits for this unit
    (folder / NOTE).touch()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def finish_unit(work: WorkDir, folder: Path, group: str, name: str, seconds: float) -> None:
    """Put the arrays that a unit wrote into the store for good, and note them under NAME.json.

    Where another unit has put the same there, that stays.

    Args:
        folder: of the unit, in whose ARRAYS they are.
        group: where in the store they belong.
    """
    written, target = folder / ARRAYS, work.store / group
    arrays = sorted(path.parent.name for path in written.glob("*/zarr.json"))
    described = {f"{group}/{array}": _flushed(written, array) for array in arrays}
    # Zarr makes folders anew that were removed, but only one that is still wanted has this file
    with (folder / NOTE).open("r+", encoding="utf-8") as note:
        note.write(canonical_json(_Note(arrays=described, seconds=seconds)))
    sync(folder / NOTE)
    try:
        written.rename(target)
    except OSError:
        if not target.exists():
            raise
    sync(target.parent)
    (folder / NOTE).replace(work.path / f"{name}.json")


def seconds_of(work: WorkDir, names: Sequence[str]) -> float:
    """How long the arrays took that were finished under these names."""
    notes: list[_Note] = [work.read_json(name) for name in names]
    return sum(note["seconds"] for note in notes)


def finalize(
    work: WorkDir, images: ImageSet, job: Job, finished: Mapping[str, Sequence[str]]
) -> None:
    """Write the manifest: from here on the store is an index.

    Args:
        finished: names given to `finish_arrays`, by what their seconds are summed for.
    """
    notes: dict[str, list[_Note]] = {
        part: [work.read_json(name) for name in names] for part, names in finished.items()
    }
    seconds = {part: seconds_of(work, names) for part, names in finished.items()}
    attributes: Manifest = {
        "format": FORMAT,
        "status": "complete",
        **job,
        "config_hash": hash_json(job),
        "resolution": [images.height, images.width],
        "crop": images.crop,
        "normalization": "pixel / 127.5 - 1",
        "versions": library_versions(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": seconds | {"total": sum(seconds.values())},
        "arrays": {
            name: entry
            for some in notes.values()
            for note in some
            for name, entry in note["arrays"].items()
        },
    }
    zarr.open_group(work.store, mode="r+").attrs.put(with_own_hash(attributes))
    for path in filter(is_stray, work.store.rglob("*.partial")):
        path.unlink()
    sync(work.store / "zarr.json")
