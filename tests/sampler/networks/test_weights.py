"""Weights on disk: what was written comes back, and what is no pair of files is refused."""

import json
from pathlib import Path

import pytest
import torch
from small_networks import equal_weights, network_config, random_network

from sampler.errors import NetworkError
from sampler.networks import Network, load_network, weight_file


def write(folder: Path, network: Network, *, half: bool = False, **others: object) -> Path:
    """The two files, as training leaves them."""
    weights, checksum = weight_file(network.module, half=half)
    values = {"network": network.config.values(), "schedule": "cosine", "weights_sha256": checksum}
    path = folder / "network.safetensors"
    path.write_bytes(weights)
    path.with_suffix(".json").write_text(json.dumps(values | others))
    return path


@pytest.fixture
def network() -> Network:
    return random_network(network_config("unet_attention", "circular", widths=(8, 12)))


@pytest.fixture
def path(tmp_path: Path, network: Network) -> Path:
    return write(tmp_path, network)


@pytest.mark.parametrize(
    ("architecture", "widths"), [("resnet", (12,)), ("unet", (8, 12)), ("unet_attention", (8, 32))]
)
def test_float32_weights_come_back_bit_for_bit(architecture, widths, tmp_path) -> None:
    network = random_network(network_config(architecture, widths=widths, num_classes=3))
    found = load_network(write(tmp_path, network, schedule="linear"))
    assert equal_weights(found.module, network.module)
    assert found.config == network.config
    assert found.schedule == "linear"
    assert found.name == str(tmp_path / "network.safetensors")


def test_weights_in_another_memory_layout_come_back(tmp_path, network) -> None:
    # trained networks lie in memory channel by channel, which the format does not know
    turned = Network(network.module.to(memory_format=torch.channels_last), network.config)
    assert equal_weights(load_network(write(tmp_path, turned)).module, network.module)


def test_half_weights_are_half_as_large_and_rounded_to_float16(tmp_path, path, network) -> None:
    (tmp_path / "half").mkdir()
    half = write(tmp_path / "half", network, half=True)
    found = load_network(half).module.state_dict()
    for name, value in network.module.state_dict().items():
        assert found[name].dtype == torch.float32
        assert found[name].equal(value.half().float())
        # 10 bits of mantissa, rounded; below 6e-5 the spacing is 2**-24
        torch.testing.assert_close(found[name], value, rtol=2**-11, atol=2**-25)
    header = int.from_bytes(half.read_bytes()[:8], "little")
    assert half.stat().st_size == 8 + header + 2 * sum(
        value.numel() for value in network.module.state_dict().values()
    )


def test_a_loaded_network_is_only_for_asking(path) -> None:
    module = load_network(path).module
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_weights_without_their_account_are_refused(path) -> None:
    path.with_suffix(".json").unlink()
    with pytest.raises(
        NetworkError,
        match=r"network.json, which says what .* cannot be read .* with its .json beside it",
    ):
        load_network(path)


def test_an_account_without_weights_is_refused(path) -> None:
    path.unlink()
    with pytest.raises(NetworkError, match=r"weights .*network.safetensors cannot be read .*Give"):
        load_network(path)


@pytest.mark.parametrize("damage", ["empty", "cut", "header", "text"])
def test_damaged_weights_are_refused(path, damage) -> None:
    content = path.read_bytes()
    damaged = {
        "empty": b"",
        "cut": content[:-100],
        "header": content[:8] + b"!" + content[9:],
        "text": b"these are no weights, they are words",
    }
    path.write_bytes(damaged[damage])
    with pytest.raises(NetworkError, match=r"cannot be read .* Give a .safetensors file that `sam"):
        load_network(path)


@pytest.mark.parametrize(
    "other",
    [
        network_config("unet", widths=(8, 12)),
        network_config("unet_attention", widths=(8, 16)),
        network_config("unet_attention", widths=(8, 12), num_classes=2),
        network_config("unet_attention", widths=(8, 12), depth=2),
        network_config("resnet"),
    ],
)
def test_weights_of_another_network_are_refused(path, other) -> None:
    account = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(account | {"network": other.values()}))
    with pytest.raises(
        NetworkError,
        match=rf"do not fit the {other.architecture} with .* Give the pair that was written tog",
    ):
        load_network(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "network.json, which says what the weights are of, cannot be read"),
        ("[1, 2]", "network.json describes no network. Give one that `sampler train` wrote"),
        ('{"schedule": "cosine"}', "network.json describes no network"),
        ('{"network": 3, "schedule": "cosine"}', "network.json describes no network"),
        ('{"network": {}, "schedule": "cosine"}', r"describes no network \('sizes'\). It must"),
        ('{"network": {}, "schedule": "sine"}', "names the schedule 'sine'. .* one of cosine, "),
        ('{"network": {}}', "names the schedule None"),
        ('{"network": {}, "schedule": ["cosine"]}', r"names the schedule \['cosine'\]"),
    ],
)
def test_accounts_that_describe_no_network_are_refused(path, text, message) -> None:
    path.with_suffix(".json").write_text(text)
    with pytest.raises(NetworkError, match=message):
        load_network(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": "red"}, "describes no network .*colour.* It must have the keys architecture"),
        ({"padding": "reflect"}, "padding is 'reflect'. Give one of zeros, circular"),
        ({"height": 9}, "images of 9x8 cannot be halved 1 times"),
        ({"channels": "one"}, r"describes no network: .*'one'.* Give whole numbers"),
    ],
)
def test_accounts_of_networks_that_cannot_be_are_refused(path, changes, message, unchecked) -> None:
    account = json.loads(path.with_suffix(".json").read_text())
    account["network"] |= changes
    path.with_suffix(".json").write_text(json.dumps(account))
    with pytest.raises(NetworkError, match=message):
        load_network(path)


def test_a_flipped_bit_is_found(path) -> None:
    weights = bytearray(path.read_bytes())
    weights[-5] ^= 1
    path.write_bytes(bytes(weights))
    with pytest.raises(NetworkError, match=r"or are damaged: their checksum differs. Give the"):
        load_network(path)


def test_weights_without_a_checksum_are_read_all_the_same(path) -> None:
    beside = path.with_suffix(".json")
    account = json.loads(beside.read_text())
    del account["weights_sha256"]
    beside.write_text(json.dumps(account))
    load_network(path)
