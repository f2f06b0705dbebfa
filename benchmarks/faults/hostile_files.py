"""npz, npy, safetensors and checkpoint files that are none, or hold what they should not."""

import hashlib
import json
import os
import struct
import zipfile
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import torch

from benchmarks.faults.contents import copy
from benchmarks.faults.hostile_cases import CANARY, WILD, Case, compare_with
from benchmarks.faults.trials import Place

Rng = np.random.Generator


class Touch:
    """Unpickled, it makes the canary."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {CANARY}",)


def npy(values: Any, *, lie: tuple[int, ...] | None = None) -> bytes:
    """An npy file; with a header that tells of another shape on request."""
    content = BytesIO()
    if lie is None:
        np.lib.format.write_array(content, np.asanyarray(values), allow_pickle=True)
    else:
        header = {"descr": "<f4", "fortran_order": False, "shape": lie}
        np.lib.format.write_array_header_1_0(content, header)
        content.write(bytes(64))
    return content.getvalue()


def archive(members: list[tuple[str, bytes]]) -> bytes:
    """A zip file; names may come twice."""
    content = BytesIO()
    with zipfile.ZipFile(content, "w") as parts:
        for name, data in members:
            info = zipfile.ZipInfo(name)
            parts.writestr(info, data) if name not in parts.namelist() else append(
                parts, info, data
            )
    return content.getvalue()


def append(parts: zipfile.ZipFile, info: zipfile.ZipInfo, data: bytes) -> None:
    """Write a name a second time, which zipfile warns of."""
    import warnings  # noqa: PLC0415 - for this one use

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts.writestr(info, data)


def patched(data: bytes, *changes: tuple[bytes, int, bytes]) -> bytes:
    """The bytes with some replaced, at a distance from each occurrence of a mark."""
    found = bytearray(data)
    for mark, distance, new in changes:
        at = found.find(mark)
        while at >= 0:
            found[at + distance : at + distance + len(new)] = new
            at = found.find(mark, at + 1)
    return bytes(found)


def npz_files(rng: Rng) -> dict[str, bytes]:
    """Archives of images that are none."""
    good = rng.integers(0, 256, (20, 1, 8, 8), np.uint8)
    images = ("images.npy", npy(good))
    whole = archive([images])
    locals_at, central = b"PK\x03\x04", b"PK\x01\x02"
    found = {
        "objects": archive([("images.npy", npy(np.array([Touch()], dtype=object)))]),
        "objects as labels": archive([images, ("labels.npy", npy(np.array([Touch()] * 20)))]),
        "noise": rng.bytes(500),
        "cut": whole[: len(whole) // 2],
        "a lying header": archive([("images.npy", npy(None, lie=(2**40, 1, 8, 8)))]),
        "a negative header": archive([("images.npy", npy(None, lie=(-5, 1, 8, 8)))]),
        "an overflowing header": archive([("images.npy", npy(None, lie=(2**33, 2**33, 8, 8)))]),
        "twice": archive([images, ("images.npy", npy(good[:5]))]),
        "climbing": archive([("../../images.npy", npy(good))]),
        "text": archive([("images.npy", b"no array")]),
        "a member without an ending": archive([("images", b"raw bytes")]),
        "a folder": archive([("images.npy/", b"")]),
        "encrypted": patched(whole, (locals_at, 6, b"\x01"), (central, 8, b"\x01")),
        "an unknown compression": patched(whole, (locals_at, 8, b"\x63"), (central, 10, b"\x63")),
        "a wrong checksum": patched(
            whole, (locals_at, 14, b"\x00" * 4), (central, 16, b"\x00" * 4)
        ),
        "an odd header": archive([("images.npy", npy(good).replace(b"'shape'", b"'shade'"))]),
        "a deep header": archive([("images.npy", deep_header())]),
    }
    labels: dict[str, Any] = {
        "too few": np.arange(3), "2^64 - 1": np.full(20, 2**64 - 1, np.uint64),
        "negative": -np.arange(20), "nan": np.full(20, np.nan), "text": np.array(["a"] * 20),
        "huge": np.full(20, 2**62), "pairs": np.zeros((20, 2), int), "half": np.full(20, 0.5),
    }  # fmt: skip
    arrays: dict[str, Any] = {
        "none": good[:0], "no axis": np.uint8(3), "nan": np.full((20, 1, 8, 8), np.nan, "f4"),
        "complex": good * 1j, "strings": np.array([["a"]]), "records": np.zeros(20, "i4,i4"),
        "bools": good > 9, "five axes": good[None], "16 bits": good.astype(np.uint16) * 256,
        "big end": good.astype(">u4"), "one pixel": good[..., :1, :1], "no width": good[..., :0],
        "days": np.zeros((20, 1, 8, 8), "M8[s]"), "seven channels": np.repeat(good, 7, 1),
        "above one": good.astype("f4") / 100, "fortran": np.asfortranarray(good),
    }  # fmt: skip
    for name, array in labels.items():
        found[f"labels {name}"] = archive([images, ("labels.npy", npy(array))])
    for name, array in arrays.items():
        found[f"images {name}"] = archive([("images.npy", npy(array))])
    return found


def deep_header() -> bytes:
    """An npy file whose header is deeply nested."""
    header = ("(" * 3000 + ")" * 3000 + "\n").encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


def bad_npz(place: Place, variant: int) -> Case:
    """A build from an archive of no images."""
    files = npz_files(place.rng)
    name = list(files)[variant % len(files)]
    (place.folder / "x.npz").write_bytes(files[name])
    arguments = ("build", "--dataset", "npz:x.npz", "--scales", "3", "--out", "found.zarr")
    refuse = name.startswith(("objects", "noise", "cut", "labels nan", "labels 2^64", "images nan"))
    return Case(f"npz: {name}", "patchindex", arguments, must_refuse=refuse)


def bad_noise(place: Place, variant: int) -> Case:
    """A run from noise that is none."""
    shape = (1, 1, 12, 12)
    good = place.rng.standard_normal(shape).astype(np.float32)
    files: dict[str, bytes] = {
        "nan": npy(np.where(np.arange(12) == 3, np.nan, good)),
        "infinite": npy(good + np.float32(np.inf)),
        "objects": npy(np.array([Touch()], dtype=object)),
        "a lying header": npy(None, lie=(2**40, 1, 12, 12)),
        "a negative header": npy(None, lie=(-1, 1, 12, 12)),
        "another shape": npy(good[..., :5]),
        "none": npy(good[:0]),
        "complex": npy(good * 1j),
        "halves": npy(good.astype(np.float16)),
        "big end": npy(good.astype(">f8")),
        "fortran": npy(np.asfortranarray(good)),
        "huge": npy(good.clip(-1, 1) * np.float32(1e38)),
        "beyond float32": npy(good.astype(np.float64) * 1e300),
        "whole numbers": npy(good.astype(int)),
        "text": b"1 2 3",
        "nothing": b"",
        "cut": npy(good)[:200],
        "an archive": archive([("x.npy", npy(good))]),
        "version 9": npy(good).replace(b"NUMPY\x01", b"NUMPY\x09"),
        "a deep header": deep_header(),
    }
    name = list(files)[variant % len(files)]
    (place.folder / "noise.npy").write_bytes(files[name])
    arguments = ("run", "--index", str(place.stage.index), "--steps", "2", "--scales", "3,5",
                 "--noise", "noise.npy", "--out", "found")  # fmt: skip
    refuse = name in {"nan", "infinite", "objects", "beyond float32"}
    return Case(f"noise: {name}", "sampler", arguments, must_refuse=refuse)


def bad_weights(place: Place, variant: int) -> Case:
    """A network whose weights are none, with their right checksum beside them."""
    folder = copy(place.stage.known["train"].folder / "net", place.folder / "net")
    path = folder / "network.safetensors"
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    name = next(key for key in header if key != "__metadata__")
    tensor = header[name]

    def with_header(**changes: Any) -> bytes:
        return packed(header | {name: tensor | changes}, body)

    floats = np.frombuffer(body, np.float32)
    files: dict[str, bytes] = {
        "nan": packed(header, np.where(np.arange(len(floats)) % 99 == 5, np.nan, floats)
                      .astype(np.float32).tobytes()),
        "infinite": packed(header, np.full_like(floats, np.inf).tobytes()),
        "huge": packed(header, (floats * np.float32(1e30)).astype(np.float32).tobytes()),
        "a huge header": struct.pack("<Q", 2**63) + data[8:],
        "no header": struct.pack("<Q", 5) + b"[1,2]" + body,
        "a deep header": struct.pack("<Q", 100_000) + b"[" * 100_000 + body,
        "overlapping": with_header(data_offsets=[0, len(body)]),
        "backwards": with_header(data_offsets=tensor["data_offsets"][::-1]),
        "outside": with_header(data_offsets=[2**60, 2**60 + 4]),
        "an unknown dtype": with_header(dtype="F3"),
        "whole numbers": with_header(dtype="I32"),
        "another shape": with_header(shape=[*tensor["shape"], 1]),
        "a huge shape": with_header(shape=[2**40, 2**40]),
        "one more": packed(header | {"more": tensor}, body),
        "one less": packed({key: value for key, value in header.items() if key != name}, body),
        "none": packed({}, b""),
        "nothing": b"",
        "cut": data[: len(data) // 2],
    }  # fmt: skip
    told = list(files)[variant % len(files)]
    path.write_bytes(files[told])
    account = json.loads((folder / "network.json").read_text())
    account["weights_sha256"] = hashlib.sha256(files[told]).hexdigest()
    (folder / "network.json").write_text(json.dumps(account))
    refuse = told in {"nan", "infinite", "whole numbers"}
    return Case(f"weights: {told}", "sampler", compare_with(place, "net"), must_refuse=refuse)


def packed(header: dict[str, Any], body: bytes) -> bytes:
    """A safetensors file."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def bad_checkpoint(place: Place, variant: int) -> Case:
    """A training that goes on from what is no checkpoint."""
    source = place.stage.root / "subject-checkpoint" / "net"
    path = copy(source, place.folder / "net") / "checkpoint.pt"
    good = torch.load(path, weights_only=True)
    edits: tuple[tuple[str, Callable[[], Any]], ...] = (
        ("code", Touch),
        ("code inside", lambda: good | {"more": Touch()}),
        ("a list", lambda: [1, 2]),
        ("no state", lambda: {"job": good["job"]}),
        ("an empty state", lambda: good | {"state": {}}),
        ("a state of text", lambda: good | {"state": "x"}),
        ("no job", lambda: {"state": good["state"]}),
    )
    if variant == len(edits):
        told = "noise"
        path.write_bytes(place.rng.bytes(3000))
    elif variant == len(edits) + 1:
        told = "an archive of nothing"
        path.write_bytes(archive([("x", b"")]))
    else:
        told, make = edits[variant] if variant < len(edits) else ("", lambda: wild(good, place.rng))
        value = make()
        if not told:
            value, told = value
        torch.save(value, path)
    return Case(f"checkpoint: {told}", "sampler", place.stage.train(12, 4))


def wild(good: dict[str, Any], rng: Rng) -> tuple[dict[str, Any], str]:
    """The checkpoint with one value replaced by a wild one, or a tensor by another."""
    value, path = good["state"], ["state"]
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = keys[int(rng.integers(len(keys)))]
        path.append(str(key))
        child = value[key]
        if not isinstance(child, dict | list) or not child:
            break
        value = child
    others = (*WILD, torch.zeros(3), torch.zeros(0), torch.tensor(float("nan")))
    value[key] = others[int(rng.integers(len(others)))]
    return good, f"{'.'.join(path)} = {value[key]!r:.40}"
