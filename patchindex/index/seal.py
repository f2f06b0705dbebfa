"""Closing an index: checksums of its arrays as they are finished, and at last the manifest."""

from datetime import UTC, datetime
from typing import Any

import zarr

from patchindex.environment import library_versions
from patchindex.images import ImageSet
from patchindex.index.config import IndexConfig
from patchindex.index.manifest import FORMAT, SCHEMA_VERSION, describe_array, hash_json, sealed
from patchindex.index.store import chunk_path, is_stray
from patchindex.index.workdir import IMAGES, WorkDir
from patchindex.paths import sync


def describe_job(images: ImageSet, config: IndexConfig) -> dict[str, Any]:
    """All that decides the arrays of an index, and its names."""
    return {
        "schema_version": SCHEMA_VERSION,
        "dataset": images.name,
        "class_names": list(images.class_names),
        "images_sha256": images.sha256,
        "config": config.to_json(),
    }


def finish_arrays(work: WorkDir, name: str, arrays: list[str], seconds: float) -> None:
    """Put arrays on the disk for good, and note their checksums under NAME.json."""
    described = {}
    for array in arrays:
        described[array] = describe_array(work.store, array)
        sync(chunk_path(work.store / array, len(described[array]["shape"])))
    work.write_json(name, {"arrays": described, "seconds": seconds})


def seal(work: WorkDir, images: ImageSet, config: IndexConfig, job: dict[str, Any]) -> None:
    """Write the manifest: from here on the store is an index."""
    notes = {name: work.read_json(name) for name in [IMAGES, *map(str, config.scales)]}
    seconds = {name: note["seconds"] for name, note in notes.items()}
    attributes = {
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
            name: entry for note in notes.values() for name, entry in note["arrays"].items()
        },
    }
    zarr.open_group(work.store, mode="r+").attrs.put(sealed(attributes))
    for path in filter(is_stray, work.store.rglob("*.partial")):
        path.unlink()
    sync(work.store / "zarr.json")
