"""ResNet, UNet and UNet with attention against float64 numpy, and what they can and cannot do."""

import numpy as np
import pytest
import torch
from reference.networks import predicted_noise
from small_networks import network_config, random_network

from sampler.errors import NetworkError
from sampler.networks import Network, make_network

# groups of normalization: 12 channels make one, 32 make eight
SMALL = [
    ("resnet", (12,), 2),
    ("resnet", (32,), 1),
    ("unet", (12, 32), 1),
    ("unet", (8, 12, 16), 2),
    ("unet_attention", (8, 64), 1),
    ("unet_attention", (8, 12, 32), 2),
]
# float32 sums of some hundred terms, a few layers deep
RTOL = 2e-5


def states(num: int, network: Network, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num, *network.config.image_shape, generator=generator)


def ask(network: Network, xt: torch.Tensor, t: float = 0.3, label: int | None = None) -> np.ndarray:
    labels = None if label is None else torch.full((len(xt),), label)
    return network.module(xt, torch.full((len(xt),), t, dtype=xt.dtype), labels).numpy()


@pytest.mark.parametrize("padding", ["zeros", "circular"])
@pytest.mark.parametrize(("architecture", "widths", "depth"), SMALL)
@pytest.mark.parametrize(("channels", "label"), [(1, None), (3, 2)])
def test_a_network_equals_float64_numpy(
    architecture, widths, depth, padding, channels, label
) -> None:
    num_classes = 0 if label is None else 4
    network = random_network(
        network_config(
            architecture,
            padding,
            widths=widths,
            depth=depth,
            channels=channels,
            num_classes=num_classes,
        )
    )
    xt = states(2, network)
    weights = {name: value.numpy() for name, value in network.module.state_dict().items()}
    found = ask(network, xt, 0.7, label)
    for b, state in enumerate(xt.numpy()):
        expected = predicted_noise(architecture, weights, state, 0.7, padding=padding, label=label)
        np.testing.assert_allclose(found[b], expected, atol=RTOL * np.abs(expected).max(), rtol=0)


def test_a_circular_resnet_commutes_with_shifts() -> None:
    network = random_network(network_config("resnet", "circular", depth=2))
    xt = states(2, network)
    shifted = ask(network, xt.roll((3, -2), (2, 3)))
    np.testing.assert_allclose(shifted, np.roll(ask(network, xt), (3, -2), (2, 3)), atol=1e-5)


def test_a_resnet_with_zero_padding_does_not_commute_with_shifts() -> None:
    network = random_network(network_config("resnet", "zeros", depth=2))
    xt = states(2, network)
    shifted = ask(network, xt.roll((3, -2), (2, 3)))
    assert np.abs(shifted - np.roll(ask(network, xt), (3, -2), (2, 3))).max() > 0.1


@pytest.mark.parametrize("architecture", ["unet", "unet_attention"])
def test_a_circular_unet_commutes_with_shifts_of_its_coarsest_pixel_only(architecture) -> None:
    network = random_network(network_config(architecture, "circular", widths=(8, 12, 16)))
    xt = states(2, network)
    before = ask(network, xt)
    np.testing.assert_allclose(
        ask(network, xt.roll((4, -4), (2, 3))), np.roll(before, (4, -4), (2, 3)), atol=1e-4
    )
    assert np.abs(ask(network, xt.roll(1, 2)) - np.roll(before, 1, 2)).max() > 0.1


@pytest.mark.parametrize("side", [4, 12, 20])
@pytest.mark.parametrize(("architecture", "widths"), [("unet", (8, 8, 8)), ("resnet", (8,))])
def test_noise_has_the_shape_of_the_state(architecture, widths, side) -> None:
    network = random_network(network_config(architecture, widths=widths, side=side, channels=3))
    assert ask(network, states(2, network)).shape == (2, 3, side, side)


def test_a_resnet_takes_odd_sizes() -> None:
    network = random_network(network_config("resnet", side=7))
    assert ask(network, states(1, network)).shape == (1, 1, 7, 7)


@pytest.mark.parametrize("side", [7, 10])
@pytest.mark.parametrize("architecture", ["unet", "unet_attention"])
def test_a_unet_refuses_sizes_that_cannot_be_halved(architecture, side) -> None:
    with pytest.raises(
        NetworkError,
        match=rf"images of {side}x{side} cannot be halved 2 times, .* Give a --resolution that 4",
    ):
        network_config(architecture, widths=(8, 8, 8), side=side)


@pytest.mark.parametrize(("architecture", "widths", "depth"), SMALL)
def test_time_changes_what_a_network_predicts(architecture, widths, depth) -> None:
    network = random_network(network_config(architecture, widths=widths, depth=depth))
    xt = states(1, network)
    assert np.abs(ask(network, xt, 0.05) - ask(network, xt, 0.10)).max() > 1e-2


@pytest.mark.parametrize(("architecture", "widths", "depth"), SMALL)
def test_a_label_changes_what_a_conditional_network_predicts(architecture, widths, depth) -> None:
    config = network_config(architecture, widths=widths, depth=depth, num_classes=3)
    network = random_network(config)
    xt = states(1, network)
    assert np.abs(ask(network, xt, label=0) - ask(network, xt, label=2)).max() > 1e-2


@pytest.mark.parametrize(("architecture", "widths", "depth"), SMALL)
def test_a_fresh_network_predicts_no_noise(architecture, widths, depth) -> None:
    config = network_config(architecture, widths=widths, depth=depth)
    network = Network(make_network(config).requires_grad_(requires_grad=False), config)
    assert not ask(network, states(2, network)).any()
