"""What a manifest says, and what it must say before any file that it names is opened.

Whoever shares an index writes its manifest. A dtype of objects would make pointers of a file's
bytes, a shape that does not fit the configuration reads past the end of another array.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypedDict, get_args

from patchindex.choices import Crop
from patchindex.geometry import PatchGeometry
from patchindex.index.config import IndexConfig
from patchindex.index.lists import list_counts, num_patches, shard_ranges


class ArrayEntry(TypedDict):
    """An array: NumPy dtype, shape, and CRC-32C of its chunk and of its zarr.json."""

    dtype: str
    shape: list[int]
    crc32c: str
    metadata_crc32c: str


class Job(TypedDict):
    """All that decides the arrays of an index, and its names."""

    schema_version: int
    dataset: str
    class_names: list[str]
    images_sha256: str
    names_sha256: str | None
    config: dict[str, Any]  # as `IndexConfig.to_json` has it


class Manifest(Job):
    """The attributes of an index, whose meaning `patchindex.index.store` tells."""

    format: str
    status: str
    config_hash: str
    resolution: list[int]
    crop: Crop
    normalization: str
    versions: dict[str, str]
    created: str
    seconds: dict[str, float]
    arrays: dict[str, ArrayEntry]


FACTS = {
    "dataset": str, "images_sha256": str, "normalization": str, "config_hash": str, "created": str,
    "class_names": list, "resolution": list,
    "config": dict, "versions": dict, "seconds": dict, "arrays": dict,
}  # fmt: skip
KIND_NAMES = {str: "a text", list: "a list", dict: "a table"}
ARRAY_NAME = re.compile(
    r"images|labels|names|scales/[1-9][0-9]{0,5}/(shards/(0|[1-9][0-9]{0,5})/)?[a-z0-9_]+"
)
CHECKSUM = re.compile(r"[0-9a-f]{8}")
DTYPES = ("|u1", "<u4", "<u8", "<i8", "<f4", "<f8")
OPTIONAL = ("labels", "names")
MOST_ROWS = 2**48
MOST_SIDE = 2**16  # pixels
MOST_SECONDS = 1e12

ArrayKind = tuple[str, tuple[int, ...] | None]


class SchemaError(ValueError):
    """What a manifest says wrong."""


def _require(condition: bool, fault: str) -> None:
    """Raise SchemaError unless the condition holds."""
    if not condition:
        raise SchemaError(f"{fault}.")


def check_facts(manifest: Mapping[str, Any]) -> None:
    """Raise SchemaError unless everything but shapes is as it must be."""
    for name, kind in FACTS.items():
        _require(isinstance(manifest.get(name), kind), f"its {name} is not {KIND_NAMES[kind]}")
    _require(_all_are(str, manifest["class_names"]), "its class_names are not texts")
    _require(_all_are(str, manifest["versions"].values()), "its versions are not texts")
    seconds = manifest["seconds"].values()
    _require(all(_is_duration(value) for value in seconds), "its seconds are not numbers")
    _require(manifest.get("crop") in get_args(Crop), "its crop is none that there is")
    names_hash = manifest.get("names_sha256")
    _require(names_hash is None or isinstance(names_hash, str), "its names_sha256 is no text")
    for name, entry in manifest["arrays"].items():
        _require(ARRAY_NAME.fullmatch(name) is not None, f"no array can be named {name[:99]!r}")
        _require(isinstance(entry, dict), f"it describes {name} by no table")
        _require(entry.get("dtype") in DTYPES, f"no array is of dtype {entry.get('dtype')!r:.99}")
        _require(
            _is_shape(entry.get("shape")), f"the shape of {name} is {entry.get('shape')!r:.99}"
        )
        for key in ("crc32c", "metadata_crc32c"):
            value = entry.get(key)
            valid = isinstance(value, str) and CHECKSUM.fullmatch(value) is not None
            _require(valid, f"the {key} of {name} is {value!r:.99}")


def check_arrays(manifest: Mapping[str, Any]) -> None:
    """Raise SchemaError unless exactly the arrays of the images and the configuration are there.

    Raises:
        IndexConfigError: it is the configuration that cannot be.
        GeometryError: the images have no such patches.
    """
    arrays, seconds = manifest["arrays"], manifest["seconds"]
    config = IndexConfig.from_json(manifest["config"])
    for key in ("total", *map(str, config.scales)):
        _require(key in seconds, f"its seconds lack {key}")
    _require("images" in arrays, "it lists no images")
    shape = arrays["images"]["shape"]
    _require(len(shape) == 4 and max(shape[2:]) <= MOST_SIDE, f"images have the shape {shape}")
    _require(manifest["resolution"] == shape[2:], "its resolution is not that of the images")
    known = ("names" in arrays) == (manifest["names_sha256"] is not None)
    _require(known, "it has a hash of names without names, or names without")
    wanted = dict(_expected_arrays(arrays, config))
    for name, (dtype, expected) in wanted.items():
        _require(name in OPTIONAL or name in arrays, f"it lists no {name}")
        found = arrays.get(name)
        if found is not None:
            fits = found["dtype"] == dtype and expected in (None, tuple(found["shape"]))
            told = f"{name} is {found['dtype']} {found['shape']}"
            _require(fits, f"{told}, but must be {dtype} {list(expected or ['any'])}")
    unknown = sorted(arrays.keys() - wanted.keys())
    _require(not unknown, f"it lists {', '.join(unknown)[:99]}, which this program does not know")


def _expected_arrays(
    arrays: Mapping[str, Any], config: IndexConfig
) -> Iterator[tuple[str, ArrayKind]]:
    """Name, dtype and shape of every array that there may be; None for any one axis."""
    n, c, h, w = shape = arrays["images"]["shape"]
    yield "images", ("|u1", tuple(shape))
    yield "labels", ("<i8", (n,))
    yield "names", ("|u1", None)
    for patch_size in config.scales:
        geometry = PatchGeometry(height=h, width=w, patch_size=patch_size, boundary=config.boundary)
        prefix = f"scales/{patch_size}"
        # few, before any is looked at: a side of the image has at most so many
        told = arrays.get(f"{prefix}/signature_lists", {}).get("shape")
        _require(told == [_most_signatures(geometry) + 1], f"{prefix}/signature_lists are {told}")
        dims, chosen = config.code_dims(c, patch_size), arrays.get(f"{prefix}/pca_bias", {})
        r = chosen.get("shape", [0])[0]
        _require(r in dims, f"{prefix} has {r} dimensions, not {dims[0]}..{dims[-1]}")
        nlist = sum(list_counts(geometry, n, config))
        for name, kind in _scale_arrays(geometry, c, config, r=r, nlist=nlist).items():
            yield f"{prefix}/{name}", kind
        for number, images in enumerate(shard_ranges(geometry, n, config)):
            p = num_patches(geometry, len(images))
            for name, kind in _shard_arrays(p, r, nlist).items():
                yield f"{prefix}/shards/{number}/{name}", kind


def _most_signatures(geometry: PatchGeometry) -> int:
    """Border signatures of a geometry, without making them."""
    if geometry.query_wraps:
        return 1
    return min(geometry.height, geometry.patch_size) * min(geometry.width, geometry.patch_size)


def _scale_arrays(
    geometry: PatchGeometry, channels: int, config: IndexConfig, *, r: int, nlist: int
) -> dict[str, ArrayKind]:
    """Dtype and shape of the arrays of a scale that its shards share."""
    d = channels * geometry.patch_size**2
    return {
        "signature_lists": ("<i8", (len(geometry.signatures) + 1,)),
        "pca": ("<f4", (r, d)),
        "pca_bias": ("<f4", (r,)),
        "explained_variance": ("<f8", (r,)),
        "centroids": ("<f4", (nlist, min(d, r, config.list_dims))),
        "code_min": ("<f4", (r,)),
        "code_span": ("<f4", (r,)),
    }


def _shard_arrays(p: int, r: int, nlist: int) -> dict[str, ArrayKind]:
    """Dtype and shape of the arrays of a shard of p patches."""
    return {
        "ids": ("<u4", (p,)),
        "codes": ("|u1", (p, r)),
        "offsets": ("<i8", (nlist + 1,)),
        "codes_crc32c": ("<u4", (nlist,)),
        "ids_crc32c": ("<u4", (nlist,)),
    }


def _all_are(kind: type, values: Any) -> bool:
    """Whether each of the values is of this type."""
    return all(isinstance(value, kind) for value in values)


def _is_duration(value: Any) -> bool:
    """Whether this is a number of seconds."""
    return type(value) in (int, float) and 0 <= value < MOST_SECONDS


def _is_shape(value: Any) -> bool:
    """Whether this is the shape of an array that holds something, and no absurd amount."""
    axes = isinstance(value, list) and 0 < len(value) <= 4 and all(type(n) is int for n in value)
    return axes and min(value) >= 1 and math.prod(value) < MOST_ROWS
