"""What a network's center pixel looks at, against kernels that are known."""

import pytest
import torch
from small_networks import network_config, random_network
from torch import nn

from patchindex import ImageSet
from sampler import ELSMachine
from sampler.denoiser import of_class
from sampler.errors import NetworkError
from sampler.networks import Network
from sampler.networks.receptive_field import effective_width, gradient_map
from sampler.schedule import plan_steps
from sampler.studies.calibrate import gradient_maps
from sampler.trajectory import in_data_units


class OneConvolution(nn.Module):
    """Noise that is one convolution of the state."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 5, padding=2, bias=False)

    def forward(self, xt, t, label=None):
        return self.layer(xt)


@pytest.fixture
def noise() -> torch.Tensor:
    return torch.randn(3, 1, 12, 12, generator=torch.Generator().manual_seed(1))


def test_the_map_of_a_convolution_is_its_kernel_without_the_center(noise) -> None:
    module = OneConvolution()
    network = Network(module, network_config(side=12))
    (step, *_) = plan_steps((3,), 2, "cosine")
    heat = gradient_map(network.denoiser, in_data_units(noise, step.alpha_bar), step.sigma)
    kernel = module.layer.weight[0, 0].detach().abs() / (1 - step.alpha_bar) ** 0.5
    kernel[2, 2] = 0
    torch.testing.assert_close(heat[4:9, 4:9], kernel)
    assert heat.sum().item() == pytest.approx(kernel.sum().item(), rel=1e-5)


def test_maps_follow_the_networks_own_trajectory(noise) -> None:
    network = random_network(network_config(side=12, num_classes=4))
    steps, label = plan_steps((3,), 3, "cosine"), torch.tensor([0, 3, 1])
    denoiser = of_class(network.denoiser, label)
    maps = gradient_maps(denoiser, noise, steps)
    assert maps is not None
    assert maps.shape == (3, 12, 12)
    first, later = (
        gradient_map(denoiser, in_data_units(noise, step.alpha_bar), step.sigma)
        for step in (steps[0], steps[2])
    )
    torch.testing.assert_close(maps[0], first)
    assert not torch.allclose(maps[2], later), "the last map must be that of the last state"


def test_a_map_stays_within_what_the_network_can_see(noise) -> None:
    network = random_network(network_config(side=12))  # three convolutions: 7 x 7
    heat = gradient_maps(network.denoiser, noise, plan_steps((3,), 2, "cosine"))[0]
    inside = torch.zeros(12, 12, dtype=torch.bool)
    inside[3:10, 3:10] = True
    assert heat[~inside].abs().max() == 0
    assert (heat[inside] > 0).sum() > 24


def test_a_machine_has_no_gradient_and_says_so(noise) -> None:
    machine = ELSMachine(ImageSet.load("sample", limit=3, resolution=12), scales=[3])
    with pytest.raises(NetworkError, match="gives torch no gradient of what it"):
        gradient_map(machine, noise, 0.5)
    assert gradient_maps(machine, noise, plan_steps((3,), 2, "cosine")) is None


@pytest.mark.parametrize("side", [3, 5, 9])
def test_the_effective_width_of_a_box_is_its_side(side) -> None:
    heat, radius = torch.zeros(16, 16), side // 2
    heat[8 - radius : 9 + radius, 8 - radius : 9 + radius] = 1
    assert effective_width(heat, share=1.0) == side
    assert effective_width(heat * 7, share=0.999) == side


def test_the_effective_width_leaves_out_what_is_beyond_the_share() -> None:
    heat = torch.zeros(16, 16)
    heat[8, 9], heat[8, 12] = 9.1, 0.9
    assert effective_width(heat, share=0.9) == 3
    assert effective_width(heat, share=0.95) == 9
