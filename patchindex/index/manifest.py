"""The attributes of an index: what it is, what it was built from, and the checksum of every part.

format, schema_version, status      "patchindex", 1, "complete" (written last)
dataset, class_names, resolution    where the images come from, [H, W]
images_sha256, normalization        of the training set; how bytes become [-1, 1]
config, config_hash                 `IndexConfig`; hash of it and of the images
versions, created, seconds          libraries; UTC time; build seconds, total and by scale
arrays                              name -> dtype, shape, crc32c, metadata_crc32c (its zarr.json)
manifest_sha256                     of all the above, as canonical JSON
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from patchindex.errors import StoreError
from patchindex.index.store import chunk_path, crc32c

FORMAT, SCHEMA_VERSION = "patchindex", 1
REBUILD = "Build it again with `patchindex build --overwrite`."

Manifest = Mapping[str, Any]


def canonical_json(value: Any) -> str:
    """JSON with one spelling for each value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def hash_json(value: Any) -> str:
    """SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def sealed(attributes: dict[str, Any]) -> dict[str, Any]:
    """The attributes with their own hash."""
    return attributes | {"manifest_sha256": hash_json(attributes)}


def describe_array(root: Path, name: str) -> dict[str, Any]:
    """The manifest's entry of an array that is written."""
    array = zarr.open_array(root / name, mode="r")
    return {
        "dtype": array.dtype.str,
        "shape": list(array.shape),
        "crc32c": crc32c(chunk_path(root / name, array.ndim)),
        "metadata_crc32c": crc32c(root / name / "zarr.json"),
    }


def read_manifest(path: Path) -> Manifest:
    """The manifest of a complete, undamaged index; reads attributes and file sizes only.

    Raises:
        StoreError: there is no index, or it is not complete, not ours to read, or damaged.
    """
    attributes = read_attributes(path)
    if attributes.get("format") != FORMAT:
        raise StoreError(
            f"{path} is a Zarr group, but not an index. Give a folder that `patchindex build` made."
        )
    version = attributes.get("schema_version")
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"{path} has schema version {version}, but this program reads {SCHEMA_VERSION}. "
            f"{REBUILD}"
        )
    if attributes.get("status") != "complete":
        raise StoreError(
            f"{path} is not complete: its status is {attributes.get('status')!r}. "
            "Run the `patchindex build` command that made it once more; it resumes."
        )
    found = {key: value for key, value in attributes.items() if key != "manifest_sha256"}
    if attributes.get("manifest_sha256") != hash_json(found):
        raise StoreError(f"{path / 'zarr.json'} is damaged: its own checksum differs. {REBUILD}")
    for name, entry in found["arrays"].items():
        check_size(path, name, entry)
    return found


def read_attributes(path: Path) -> dict[str, Any]:
    """Attributes of the Zarr group at `path`."""
    if not path.exists():
        raise StoreError(f"there is no index at {path}. Build one with `patchindex build`.")
    metadata = path / "zarr.json"
    if not metadata.is_file():
        raise StoreError(f"{path} is not an index. Give a folder that `patchindex build` made.")
    try:
        group = json.loads(metadata.read_bytes())
        attributes = group["attributes"]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{metadata} is damaged: it is not a group's JSON. {REBUILD}") from error
    if (group.get("zarr_format"), group.get("node_type")) != (3, "group"):
        raise StoreError(f"{metadata} is damaged: it is not a Zarr v3 group. {REBUILD}")
    if not isinstance(attributes, dict):
        raise StoreError(f"{metadata} is damaged: its attributes are no table. {REBUILD}")
    return attributes


def check_size(path: Path, name: str, entry: Manifest) -> None:
    """Raise StoreError unless the array's chunk is there with all its bytes."""
    chunk = chunk_path(path / name, len(entry["shape"]))
    expected = num_bytes(entry)
    if not chunk.is_file():
        raise StoreError(f"{path} lacks the data of {name}: {chunk} is missing. {REBUILD}")
    found = chunk.stat().st_size
    if found != expected:
        raise StoreError(
            f"{name} of {path} is damaged: it has {found} bytes, but {expected} were written. "
            f"{REBUILD}"
        )


def num_bytes(entry: Manifest) -> int:
    """Bytes of an array."""
    return int(np.dtype(entry["dtype"]).itemsize * np.prod(entry["shape"], dtype=np.int64))


def map_array(path: Path, name: str, manifest: Manifest) -> np.memmap[Any, Any]:
    """An array of the index, for reading only.

    A private writable map would be counted as memory that the process may need, so that an index
    larger than the machine's memory could not be opened.
    """
    entry = manifest["arrays"][name]
    shape = tuple(entry["shape"])
    chunk = chunk_path(path / name, len(shape))
    return np.memmap(chunk, dtype=np.dtype(entry["dtype"]), mode="r", shape=shape)
