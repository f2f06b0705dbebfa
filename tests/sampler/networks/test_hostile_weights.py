"""Pairs of files made to harm: refused in one line, before memory is taken for them."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_networks import network_config, random_network

from sampler.errors import NetworkError
from sampler.networks import load_network, weight_file

HUGE = 10**9


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A whole pair, whose checksum is left out so that the weights may be changed."""
    network = random_network(network_config("unet", widths=(8, 12), num_classes=3))
    values = {"network": network.config.values(), "schedule": "cosine"}
    weights, _ = weight_file(network.module, half=False)
    path = tmp_path / "network.safetensors"
    path.write_bytes(weights)
    path.with_suffix(".json").write_text(json.dumps(values))
    return path


def describe(path: Path, changes: dict[str, object], sizes: dict[str, object]) -> None:
    """Edit the account."""
    beside = path.with_suffix(".json")
    account = json.loads(beside.read_text())
    account["network"] |= changes
    account["network"]["sizes"] |= sizes
    beside.write_text(json.dumps(account))


@pytest.mark.parametrize(
    ("changes", "sizes"),
    [
        ({}, {"widths": [HUGE, HUGE]}),
        ({}, {"widths": [8, 10**30]}),
        ({}, {"widths": [600, 600]}),
        ({}, {"depth": HUGE}),
        ({}, {"embedding": HUGE}),
        ({"num_classes": HUGE}, {}),
        ({"channels": HUGE}, {}),
        ({"architecture": "resnet"}, {"widths": [HUGE]}),
        ({"architecture": "resnet"}, {"widths": [8], "depth": HUGE}),
    ],
)
def test_a_huge_network_is_refused_before_memory_is_taken(path, changes, sizes) -> None:
    describe(path, changes, sizes)
    with pytest.raises(NetworkError, match=r"do not fit the .* Give the pair that was written tog"):
        load_network(path)


@pytest.mark.parametrize(
    ("changes", "sizes", "message"),
    [
        (
            {},
            {"depth": True},
            r"network.json describes no network: sizes .*depth=True.* Give whole",
        ),
        ({}, {"depth": 1.0}, "depth=1.0.* are not all positive"),
        ({}, {"embedding": "10"}, "embedding='10'"),
        ({}, {"embedding": None}, "embedding=None"),
        ({}, {"widths": "12"}, r"widths=\('1', '2'\)"),
        ({}, {"widths": [[8], 12]}, r"widths=\(\[8\], 12\)"),
        ({}, {"widths": {"8": 12}}, r"widths=\('8',\)"),
        ({}, {"widths": 8}, r"describes no network \(.* It must have the keys"),
        ({}, {"widths": []}, r"widths=\(\)"),
        ({"sizes": [1, 2]}, None, r"describes no network \("),
        ({"num_classes": False}, {}, "False classes"),
        ({"num_classes": -1}, {}, "-1 classes .* 0 for no classes"),
        ({"height": float("nan")}, {}, "nan"),
        ({"architecture": ["unet"]}, {}, r"architecture is \['unet'\]. Give one of"),
        ({"prediction": {"of": "noise"}}, {}, "prediction is"),
    ],
)
def test_what_is_no_whole_number_is_refused(path, changes, sizes, message, unchecked) -> None:
    if sizes is not None:
        describe(path, {}, sizes)
    beside = path.with_suffix(".json")
    account = json.loads(beside.read_text())
    account["network"] |= changes
    beside.write_text(json.dumps(account))
    with pytest.raises(NetworkError, match=message):
        load_network(path)


@pytest.mark.parametrize(
    "content",
    [b"[" * 200_000, b'{"network": ' * 100_000, b"\xff\xfe{}", b"1" * 10_000, b"", b"\0" * 100],
    ids=["lists", "objects", "no text", "a long number", "empty", "zeros"],
)
def test_an_account_that_is_no_json_is_refused(path, content) -> None:
    path.with_suffix(".json").write_bytes(content)
    with pytest.raises(NetworkError, match=r"network.json, which says what .* cannot be read"):
        load_network(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers_are_refused_by_name(path, value) -> None:
    tensors = load_file(path)
    tensors["up.0.convolutions.0.weight"][3, 1, 0, 2] = value
    save_file(tensors, path)
    with pytest.raises(
        NetworkError, match=r"hold NaN or infinite numbers in up.0.convolutions.0.weight, so .* Tr"
    ):
        load_network(path)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float64, torch.bfloat16])
def test_weights_of_another_type_are_refused(path, dtype) -> None:
    tensors = load_file(path)
    tensors["last.bias"] = tensors["last.bias"].to(dtype)
    save_file(tensors, path)
    with pytest.raises(NetworkError, match=r"are stored as \w+. Give weights stored as F16 or F32"):
        load_network(path)


def with_header(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


BIAS = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}


@pytest.mark.parametrize(
    "content",
    [
        (2**63).to_bytes(8, "little") + b"{}",
        (2**64 - 1).to_bytes(8, "little") + b"{}",
        with_header({"a": BIAS, "b": BIAS}, bytes(16)),
        with_header({"a": BIAS}, bytes(15)),
        with_header({"a": BIAS}, bytes(17)),
        with_header({"a": BIAS | {"shape": [2**40, 2**40]}}, bytes(16)),
        with_header({"a": BIAS | {"shape": [-4]}}, bytes(16)),
        with_header({"a": BIAS | {"dtype": "O"}}, bytes(16)),
        with_header({"a": BIAS | {"data_offsets": [16, 0]}}, bytes(16)),
        with_header(b"[" * 100_000),
        with_header(b"\xff" * 8),
        with_header([]),
    ],
)
def test_a_hostile_header_is_refused(path, content) -> None:
    path.write_bytes(content)
    with pytest.raises(
        NetworkError, match=r"weights .* cannot be read \(.*\). Give a .safetensors"
    ):
        load_network(path)


def test_a_header_without_tensors_is_refused(path) -> None:
    path.write_bytes(with_header({}))
    with pytest.raises(NetworkError, match="do not fit the unet"):
        load_network(path)
