"""The index on disk: its arrays, and the manifest that describes and seals them.

    NAME.zarr/                 attributes: the manifest, described below
      images                   u1 [N, C, H, W]
      labels                   i8 [N], if the images have labels
      names                    u1, if they have names: bytes of each file's name, and a zero byte
      scales/{P}/
        signature_lists        i8 [signatures + 1]  first list of each border signature
        pca, pca_bias          f4 [r, d], [r]       vector = pca @ window + pca_bias
        explained_variance     f8 [r]               share of the leading dimensions up to each
        centroids              f4 [nlist, lead]     by the leading dimensions of the vector
        code_min, code_span    f4 [r]               value = min + (code + 0.5) / 255 * span
        shards/{K}/            the patches of consecutive images, see `shard_ranges`
          offsets              i8 [nlist + 1]       first patch of each list
          ids                  u4 [M]               (image - first of the shard) * H * W
                                                    + y * W + x, ascending in a list
          codes                u1 [M, r]
          ids_crc32c           u4 [nlist]           checksum of each list's ids, and codes
          codes_crc32c         u4 [nlist]

A list's members are those of all shards. Every array is one chunk without compression, so that the
chunk's file *is* the array: readers map it, the build fills it through a map, and neither copies
it. Chunks of 16 to 64 MiB would make each slice of a list a search over files, and a partial write
a rewrite.

format, schema_version, status      "patchindex", 2, "complete" (written last)
dataset, class_names, resolution    where the images come from, [H, W]
crop                                "none" or "center", before they got that size
images_sha256, normalization        of the training set; how bytes become [-1, 1]
names_sha256                        of `names`, or null
config, config_hash                 `IndexConfig`; hash of it and of the images
versions, created, seconds          libraries; UTC time; build seconds, total and by scale
arrays                              name -> dtype, shape, crc32c, metadata_crc32c (its zarr.json)
manifest_sha256                     of all the above, as canonical JSON
"""

import errno
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import google_crc32c
import numpy as np
import zarr
from jaxtyping import Shaped, UInt8
from numpy import ndarray

from patchindex.errors import GeometryError, IndexConfigError, StoreError
from patchindex.index.schema import (
    ArrayEntry,
    Manifest,
    SchemaError,
    check_arrays,
    check_facts,
)

CRC_BLOCK_BYTES = 2**24
READ_REMEDY = "Make it readable, or build the index again with `patchindex build --overwrite`."
FALLOCATE_UNSUPPORTED = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)
FORMAT, SCHEMA_VERSION = "patchindex", 2
REBUILD = "Build it again with `patchindex build --overwrite`."


def create_array(
    group: zarr.Group, name: str, shape: tuple[int, ...], dtype: np.typing.DTypeLike
) -> np.memmap[Any, Any]:
    """A new array of a group on local disk, as a writable map over its preallocated only chunk."""
    array = group.create_array(
        name, shape=shape, dtype=dtype, chunks=shape, compressors=None, filters=None,
        fill_value=0, overwrite=True,
    )  # fmt: skip
    path = chunk_path(root_of(group) / array.path, len(shape))
    path.parent.mkdir(parents=True, exist_ok=True)
    preallocate(path, array.dtype.itemsize * int(np.prod(shape)))
    return np.memmap(path, dtype=array.dtype, mode="r+", shape=shape)


def write_array(group: zarr.Group, name: str, values: ndarray) -> None:
    """Store a whole array."""
    create_array(group, name, values.shape, values.dtype)[...] = values


def join_names(names: Sequence[str]) -> UInt8[ndarray, " bytes"]:
    """Names of files as one array: their bytes, a zero byte behind each."""
    return np.frombuffer(b"".join(os.fsencode(name) + b"\0" for name in names), dtype=np.uint8)


def split_names(joined: UInt8[ndarray, " bytes"]) -> tuple[str, ...]:
    """The names that `join_names` was given."""
    return tuple(os.fsdecode(name) for name in joined.tobytes().split(b"\0")[:-1])


def root_of(group: zarr.Group) -> Path:
    """Directory of the store that a group on local disk lies in."""
    store = group.store
    if not isinstance(store, zarr.storage.LocalStore):
        raise TypeError(f"an index is written to local disk, not to {store}")
    return Path(store.root)


def chunk_path(array_path: Path, ndim: int) -> Path:
    """File of the only chunk of an array with so many axes."""
    return array_path.joinpath("c", *["0"] * ndim)


def is_stray(path: Path) -> bool:
    """Whether this is metadata that Zarr was writing when it was interrupted."""
    return path.match("zarr.*.partial")


def preallocate(path: Path, num_bytes: int) -> None:
    """Make a file of zeros whose disk space is reserved: a full disk shows here, not as SIGBUS."""
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(file.fileno(), 0, num_bytes)
            except OSError as error:
                if error.errno not in FALLOCATE_UNSUPPORTED:
                    raise
            else:
                return
        zeros = bytes(min(num_bytes, CRC_BLOCK_BYTES))
        for start in range(0, num_bytes, CRC_BLOCK_BYTES):
            file.write(zeros[: num_bytes - start])


def crc32c(path: Path) -> str:
    """CRC-32C of a file, as eight hexadecimal digits."""
    value = 0
    with path.open("rb") as file:
        while block := file.read(CRC_BLOCK_BYTES):
            value = google_crc32c.extend(value, block)
    return f"{value:08x}"


def crc32c_value(array: Shaped[ndarray, "..."]) -> int:
    """CRC-32C of the bytes of a contiguous array, which are not copied."""
    return int(google_crc32c.value(array))


def crc32c_bytes(array: Shaped[ndarray, "..."]) -> str:
    """CRC-32C of the bytes of a contiguous array, written like that of a file."""
    return f"{crc32c_value(array):08x}"


@contextmanager
def translate_write_errors(path: Path, remedy: str) -> Iterator[None]:
    """Turn the operating system's refusal to write below `path` into a StoreError."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        where = error.filename or path
        raise StoreError(f"cannot write {where}: {reason}. {remedy}") from error


@contextmanager
def translate_read_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to read below `path` into a StoreError."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        where = error.filename or path
        raise StoreError(f"cannot read {where}: {reason}. {READ_REMEDY}") from error


def canonical_json(value: Any) -> str:
    """JSON with one spelling for each value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def hash_json(value: Any) -> str:
    """SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def with_own_hash(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes with their own hash."""
    return {**attributes, "manifest_sha256": hash_json(attributes)}


def describe_array(root: Path, name: str) -> ArrayEntry:
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
    with translate_read_errors(path):
        attributes = _read_attributes(path)
        manifest = _checked_attributes(path, attributes)
        try:
            check_facts(manifest)
            for name, entry in manifest["arrays"].items():
                _check_size(path, name, entry)
            check_arrays(manifest)
        except (SchemaError, IndexConfigError, GeometryError) as error:
            raise StoreError(f"{path / 'zarr.json'} is damaged: {error} {REBUILD}") from error
    return cast(Manifest, manifest)


def _checked_attributes(path: Path, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes without their own hash, if they are those of a complete index of ours."""
    if attributes.get("format") != FORMAT:
        raise StoreError(
            f"{path} is a Zarr group, but not an index. Give a folder that `patchindex build` made."
        )
    version = attributes.get("schema_version")
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"{path} has schema version {version!r:.99}, but this program reads {SCHEMA_VERSION}. "
            f"{REBUILD}"
        )
    if attributes.get("status") != "complete":
        raise StoreError(
            f"{path} is not complete: its status is {attributes.get('status')!r:.99}. "
            "Run the `patchindex build` command that made it once more; it resumes."
        )
    found = {key: value for key, value in attributes.items() if key != "manifest_sha256"}
    if attributes.get("manifest_sha256") != hash_json(found):
        raise StoreError(f"{path / 'zarr.json'} is damaged: its own checksum differs. {REBUILD}")
    return found


def _read_attributes(path: Path) -> dict[str, Any]:
    """Attributes of the Zarr group at `path`."""
    if not path.exists():
        raise StoreError(f"there is no index at {path}. Build one with `patchindex build`.")
    metadata = path / "zarr.json"
    if not metadata.is_file():
        raise StoreError(f"{path} is not an index. Give a folder that `patchindex build` made.")
    try:
        group = json.loads(metadata.read_bytes())
        attributes = group["attributes"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreError(f"{metadata} is damaged: it is not a group's JSON. {REBUILD}") from error
    if (group.get("zarr_format"), group.get("node_type")) != (3, "group"):
        raise StoreError(f"{metadata} is damaged: it is not a Zarr v3 group. {REBUILD}")
    if not isinstance(attributes, dict):
        raise StoreError(f"{metadata} is damaged: its attributes are no table. {REBUILD}")
    return attributes


def _check_size(path: Path, name: str, entry: ArrayEntry) -> None:
    """Raise StoreError unless the array's chunk is there with all its bytes."""
    chunk = chunk_path(path / name, len(entry["shape"]))
    if not chunk.is_file():
        raise StoreError(f"{path} lacks the data of {name}: {chunk} is missing. {REBUILD}")
    _check_bytes(path, name, entry, chunk.stat().st_size)


def _check_bytes(path: Path, name: str, entry: ArrayEntry, found: int) -> None:
    """Raise StoreError unless this is how many bytes the array has."""
    expected = num_bytes(entry)
    if found != expected:
        raise StoreError(
            f"{name} of {path} is damaged: it has {found} bytes, but {expected} were written. "
            f"{REBUILD}"
        )


def num_bytes(entry: ArrayEntry) -> int:
    """Bytes of an array."""
    return np.dtype(entry["dtype"]).itemsize * math.prod(entry["shape"])


def map_array(path: Path, name: str, entry: ArrayEntry) -> Shaped[ndarray, "..."]:
    """An array of the index, mapped for reading only; its folder may go away from here on.

    A private writable map would be counted as memory that the process may need, so that an index
    larger than the machine's memory could not be opened.
    """
    with chunk_path(path / name, len(entry["shape"])).open("rb") as file:
        _check_bytes(path, name, entry, os.fstat(file.fileno()).st_size)
        shape = tuple(entry["shape"])
        # a plain view: slicing a memmap takes ten times as long
        return np.asarray(np.memmap(file, dtype=np.dtype(entry["dtype"]), mode="r", shape=shape))


def read_array(path: Path, name: str, manifest: Manifest) -> Shaped[ndarray, "..."]:
    """An array of the index, read into memory; its checksum is right.

    Raises:
        StoreError: it is damaged.
    """
    entry = manifest["arrays"][name]
    content = chunk_path(path / name, len(entry["shape"])).read_bytes()
    _check_bytes(path, name, entry, len(content))
    array = np.frombuffer(content, dtype=np.dtype(entry["dtype"])).reshape(entry["shape"])
    check_checksum(path, name, manifest, array)
    return array


def check_checksum(
    path: Path, name: str, manifest: Manifest, array: Shaped[ndarray, "..."]
) -> None:
    """Raise StoreError unless the array has the bytes that were written."""
    if crc32c_bytes(array) != manifest["arrays"][name]["crc32c"]:
        raise StoreError(f"{name} of {path} is damaged: its checksum differs. {REBUILD}")
