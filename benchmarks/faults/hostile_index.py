"""Indexes whose manifest was edited and sealed again, and lists that lie under right checksums."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numpy import ndarray

from benchmarks.faults.contents import copy
from benchmarks.faults.hostile_cases import Case, edited
from benchmarks.faults.trials import Place

DTYPES = ("|O", "<U4", "|S8", "<c16", "<f2", ">i8", "|V8", "<M8[s]", "x", "", "O8", "i4,i4", None)
SHAPES: tuple[object, ...] = ([-1], [2**62], [2**40, 2**40], [], [0], [1.5], ["3"], [[1]], None, 7)
# array, and what becomes of its values
LIES: tuple[tuple[str, Callable[[ndarray], ndarray]], ...] = (
    ("scales/3/shards/0/offsets", lambda a: a + 10**9),
    ("scales/3/shards/0/offsets", lambda a: a[::-1].copy()),
    ("scales/5/shards/0/offsets", lambda a: np.where(np.arange(len(a)) == 5, a[-1] + 10**6, a)),
    ("scales/3/shards/0/offsets", lambda a: a - 100),
    ("scales/3/shards/0/ids", lambda a: a * 0 + np.iinfo(a.dtype).max),
    ("scales/5/shards/0/ids", lambda a: a[::-1].copy()),
    ("scales/3/signature_lists", lambda a: a + 10**6),
    ("scales/3/signature_lists", lambda a: -a),
    ("scales/3/centroids", lambda a: a * np.nan),
    ("scales/3/code_span", lambda a: a * np.inf),
    ("scales/3/pca", lambda a: a * np.nan),
    ("scales/3/explained_variance", lambda a: a * np.nan),
    ("scales/3/shards/0/codes_crc32c", lambda a: a[::-1].copy()),
    ("labels", lambda a: a - 10**12),
    ("images", lambda a: 255 - a),
)


def bad_index(place: Place, variant: int) -> Case:
    """A sealed index that lies, and a command that reads it."""
    root = copy(place.stage.index, place.folder / "index.zarr")
    kinds = (edit_dtype, edit_shape, tell_lie, edit_any, tell_lie)
    kind = kinds[variant % len(kinds)]
    told = kind(root, place.rng, variant // len(kinds) * 2 + variant % len(kinds) // 4)
    sample = ("run", "--index", "index.zarr", "--num", "1", "--steps", "3", "--scales", "3,5",
              "--nprobe", "4", "--tail", "64", "--out", "found")  # fmt: skip
    uses: tuple[tuple[Any, tuple[str, ...]], ...] = (
        ("patchindex", ("verify", "index.zarr")),
        ("sampler", sample),
        ("sampler", (*sample, "--exact")),
        ("patchindex", ("info", "index.zarr")),
    )
    program, arguments = uses[int(place.rng.choice(4, p=[0.35, 0.35, 0.2, 0.1]))]
    lies = kind is tell_lie and arguments[0] == "verify"
    refuse = lies and any(name in told for name in ("offsets", "ids", "signature_lists"))
    return Case(f"index: {told}, {arguments[0]}", program, arguments, must_refuse=refuse)


def edit_dtype(root: Path, rng: np.random.Generator, variant: int) -> str:
    """Another dtype of one array."""
    dtype = DTYPES[variant % len(DTYPES)]

    def edit(manifest: dict[str, Any]) -> str:
        name = any_array(manifest, rng)
        manifest["arrays"][name]["dtype"] = dtype
        return f"dtype of {name} = {dtype!r}"

    return reseal(root, edit)


def edit_shape(root: Path, rng: np.random.Generator, variant: int) -> str:
    """Another shape of one array."""
    shape = SHAPES[variant % len(SHAPES)]

    def edit(manifest: dict[str, Any]) -> str:
        name = any_array(manifest, rng)
        manifest["arrays"][name]["shape"] = shape
        return f"shape of {name} = {shape!r}"

    return reseal(root, edit)


def edit_any(root: Path, rng: np.random.Generator, _variant: int) -> str:
    """Another value of anything."""
    return reseal(root, lambda manifest: edited(manifest, rng))


def tell_lie(root: Path, _rng: np.random.Generator, variant: int) -> str:
    """Other values of one array, with their right checksum."""
    name, change = LIES[variant % len(LIES)]

    def edit(manifest: dict[str, Any]) -> str:
        entry = manifest["arrays"][name]
        path = chunk(root, name, entry)
        values = np.frombuffer(path.read_bytes(), entry["dtype"])
        with np.errstate(all="ignore"):
            data = change(values).astype(values.dtype).tobytes()
        path.write_bytes(data)
        entry["crc32c"] = f"{google_crc32c.value(data):08x}"
        return f"{name} other"

    return f"{reseal(root, edit)} values {variant % len(LIES)}"


def any_array(manifest: dict[str, Any], rng: np.random.Generator) -> str:
    """Name of one array."""
    names: list[str] = sorted(manifest["arrays"])
    return names[int(rng.integers(len(names)))]


def chunk(root: Path, name: str, entry: dict[str, Any]) -> Path:
    """File of an array's only chunk."""
    return root.joinpath(name, "c", *["0"] * len(entry["shape"]))


def reseal(root: Path, edit: Callable[[dict[str, Any]], str]) -> str:
    """Edit the manifest, and make its own checksum right again; what was done."""
    from patchindex.index import with_own_hash  # noqa: PLC0415 - as its builder does

    path = root / "zarr.json"
    group = json.loads(path.read_text())
    attributes = group["attributes"]
    attributes.pop("manifest_sha256", None)
    told = edit(attributes)
    group["attributes"] = with_own_hash(attributes)
    path.write_text(json.dumps(group))
    return told
