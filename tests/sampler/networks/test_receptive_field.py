"""What a network can see: as told, as computed by hand, and as a changed pixel shows."""

import pytest
import torch
from small_networks import equal_weights, network_config, random_network

from sampler.networks import Network, NetworkConfig, make_network, preset_sizes, receptive_field


def fresh(config: NetworkConfig) -> Network:
    return Network(make_network(config), config)


def test_the_small_resnet_sees_17_by_17_pixels_as_the_papers() -> None:
    config = NetworkConfig(
        architecture="resnet",
        padding="zeros",
        channels=1,
        height=32,
        width=32,
        sizes=preset_sizes("resnet", "small"),
        num_classes=10,
    )
    assert receptive_field(fresh(config)) == (17, 17)
    assert preset_sizes("resnet", "paper").depth == preset_sizes("resnet", "small").depth == 6


@pytest.mark.parametrize("padding", ["zeros", "circular"])
@pytest.mark.parametrize("depth", [1, 2, 6, 9])
def test_a_resnet_sees_two_pixels_more_for_every_convolution(depth, padding) -> None:
    network = random_network(network_config("resnet", padding, widths=(4,), depth=depth, side=28))
    field = 2 * (depth + 2) + 1
    assert receptive_field(network) == (field, field)


def test_no_field_is_larger_than_the_image() -> None:
    assert receptive_field(fresh(network_config("resnet", depth=6, side=8))) == (8, 8)


def rows_seen(side: int, num_scales: int, depth: int) -> int:
    """Rows that the middle one of a UNet depends on, from what each layer looks at."""

    def up(low: int, high: int, scale: int) -> tuple[int, int]:
        if scale == num_scales - 1:
            return down(low, high, scale)
        low, high = low - depth, high + depth
        beside, below = down(low, high, scale), up(low // 2, high // 2, scale + 1)
        return min(beside[0], below[0]), max(beside[1], below[1])

    def down(low: int, high: int, scale: int) -> tuple[int, int]:
        low, high = max(low - depth, 0), min(high + depth, (side >> scale) - 1)
        return (low, high) if scale == 0 else down(2 * low, 2 * high + 1, scale - 1)

    low, high = up(side // 2 - 1, side // 2 + 1, 0)
    return high - low + 1


@pytest.mark.parametrize(
    ("side", "num_scales", "depth"),
    [(16, 2, 1), (12, 2, 1), (24, 2, 2), (24, 3, 1), (64, 3, 2), (32, 3, 2)],
)
@pytest.mark.parametrize("padding", ["zeros", "circular"])
def test_a_unet_sees_what_its_layers_look_at(side, num_scales, depth, padding) -> None:
    widths = (4,) * num_scales
    network = fresh(network_config("unet", padding, widths=widths, depth=depth, side=side))
    expected = rows_seen(side, num_scales, depth)
    assert receptive_field(network) == (expected, expected)


def test_the_unets_of_the_presets_see_a_whole_image_of_32_pixels() -> None:
    for preset in ("small", "paper"):
        sizes = preset_sizes("unet", preset)
        assert rows_seen(64, len(sizes.widths), sizes.depth) > 32


@pytest.mark.parametrize("side", [8, 32])
def test_attention_sees_the_whole_image(side) -> None:
    network = fresh(network_config("unet_attention", widths=(4, 4), side=side))
    assert receptive_field(network) == (side, side)


@pytest.mark.parametrize("padding", ["zeros", "circular"])
def test_pixels_count_inside_the_field_and_nowhere_else(padding) -> None:
    network = random_network(network_config("resnet", padding, depth=2, side=16))
    field, _ = receptive_field(network)
    xt = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0)).double()
    moved = xt.repeat(256, 1, 1, 1)
    pixels = torch.arange(256)
    moved[pixels, 0, pixels // 16, pixels % 16] += 1
    module = network.module.double()
    centers = module(moved, torch.full((256,), 0.5).double())[:, 0, 8, 8]
    before = module(xt, torch.full((1,), 0.5).double())[0, 0, 8, 8]
    change = (centers - before).abs().reshape(16, 16)
    inside = torch.zeros(16, 16, dtype=torch.bool)
    inside[8 - field // 2 : 8 + field // 2 + 1, 8 - field // 2 : 8 + field // 2 + 1] = True
    assert field == 9
    # float64: what a convolution adds up in another order is about 1e-15
    assert change[~inside].max() < 1e-12
    assert change[inside].min() > 1e-8


def test_measuring_the_field_leaves_the_network_alone() -> None:
    network, same = (random_network(network_config("resnet", "circular")) for _ in range(2))
    receptive_field(network)
    assert equal_weights(network.module, same.module)
    assert network.module.first.padding_mode == "circular"
