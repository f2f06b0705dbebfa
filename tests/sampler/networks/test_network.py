"""Networks by configuration: seeds, presets, and what is no network."""

import pytest
import torch
from small_networks import equal_weights, network_config

from sampler.errors import NetworkError
from sampler.networks import (
    NetworkConfig,
    NetworkSizes,
    make_network,
    num_parameters,
    preset_sizes,
)

ARCHITECTURES = ["resnet", "unet", "unet_attention"]


def widths_for(architecture: str) -> tuple[int, ...]:
    return (12,) if architecture == "resnet" else (8, 12)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_equal_seeds_give_equal_weights_and_others_do_not(architecture) -> None:
    config = network_config(architecture, widths=widths_for(architecture))
    one, same, other = (make_network(config, seed) for seed in (7, 7, 8))
    assert equal_weights(one, same)
    assert not equal_weights(one, other)


def test_no_global_generator_is_touched() -> None:
    before = torch.get_rng_state()
    make_network(network_config(), 7)
    assert torch.get_rng_state().equal(before)


def test_the_global_generator_does_not_change_a_network() -> None:
    one = make_network(network_config(), 7)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        assert equal_weights(one, make_network(network_config(), 7))


# counted once; a change here makes every network that was trained before unreadable
@pytest.mark.parametrize(
    ("architecture", "preset", "num_classes", "expected"),
    [
        ("resnet", "small", 0, 252_801),
        ("resnet", "small", 10, 253_441),
        ("resnet", "paper", 0, 4_009_473),
        ("unet", "small", 0, 508_481),
        ("unet", "paper", 10, 2_113_153),
        ("unet_attention", "small", 0, 608_321),
        ("unet_attention", "paper", 0, 2_506_881),
    ],
)
def test_presets_keep_their_number_of_parameters(
    architecture, preset, num_classes, expected
) -> None:
    config = NetworkConfig(
        architecture=architecture,
        padding="zeros",
        channels=1,
        height=32,
        width=32,
        sizes=preset_sizes(architecture, preset),
        num_classes=num_classes,
    )
    assert num_parameters(make_network(config)) == expected


def test_a_resnet_has_the_parameters_that_its_layers_need() -> None:
    def conv(channels: int, out: int) -> int:
        return 9 * channels * out + out

    width, embedding, depth = 12, 10, 3
    shift = embedding * width + width + 2 * width
    expected = conv(3, width) + depth * conv(width, width) + conv(width, 3) + (depth + 1) * shift
    config = network_config(depth=depth, channels=3, num_classes=5)
    assert num_parameters(make_network(config)) == expected + 5 * embedding


@pytest.mark.parametrize(
    ("architecture", "preset", "message"),
    [
        ("vit", "small", "architecture is 'vit'. Give one of resnet, unet, unet_attention"),
        ("resnet", "huge", "preset is 'huge'. Give one of small, paper"),
    ],
)
def test_presets_that_are_not_there_are_refused(architecture, preset, message) -> None:
    with pytest.raises(NetworkError, match=message):
        preset_sizes(architecture, preset)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"architecture": "mlp"},
            "architecture is 'mlp'. Give one of resnet, unet, unet_",
        ),
        ({"padding": "reflect"}, "padding is 'reflect'. Give one of zeros, circular"),
        ({"channels": 0}, "are not all positive. Give whole numbers above zero"),
        ({"num_classes": -1}, "are not all positive"),
        ({"sizes": {"widths": [12], "depth": 0, "embedding": 10}}, "are not all positive"),
        ({"sizes": {"widths": [], "depth": 1, "embedding": 10}}, "are not all positive"),
        (
            {"sizes": {"widths": [8, 8], "depth": 1, "embedding": 10}},
            r"a ResNet has one width, but widths are \(8, 8\). Give one",
        ),
        ({"sizes": {"widths": [8], "depth": 1}}, "X.json describes no network .*embedding"),
        ({"sizes": [8, 1, 10]}, "X.json describes no network"),
        ({"colour": "red"}, "X.json describes no network .*colour.* It must have the keys archi"),
    ],
)
def test_configurations_that_cannot_be_are_refused(changes, message, unchecked) -> None:
    with pytest.raises(NetworkError, match=message):
        NetworkConfig.from_values(network_config().values() | changes, "X.json")


def test_a_configuration_without_a_key_is_refused() -> None:
    values = network_config().values()
    del values["sizes"]
    with pytest.raises(NetworkError, match=r"X.json describes no network \('sizes'\)"):
        NetworkConfig.from_values(values, "X.json")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_configuration_comes_back_from_its_values(architecture) -> None:
    config = network_config(architecture, widths=widths_for(architecture), num_classes=4)
    assert NetworkConfig.from_values(config.values(), "values") == config
    assert isinstance(config.sizes, NetworkSizes)
