"""A network from its configuration."""

from dataclasses import dataclass, replace
from math import sqrt

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sampler.networks.config import NetworkConfig
from sampler.networks.resnet import ResNet
from sampler.networks.unet import UNet
from sampler.schedules import alpha_bar


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A module that is asked as `module(xt, t, label)`, and what it is.

    Attributes:
        schedule: of the noise it was trained with.
        name: where it comes from, for people.
    """

    module: nn.Module
    config: NetworkConfig
    schedule: str = "cosine"
    name: str = "network"

    def noise(
        self, xt: Float[Tensor, "b c h w"], t: float, label: Int[Tensor, " b"] | None
    ) -> Float[Tensor, "b c h w"]:
        """The eps that it sees in states of time t, all on the module's device."""
        times = torch.full((len(xt),), t, device=xt.device)
        found: Tensor = self.module(xt, times, label)
        if self.config.prediction == "noise":
            return found
        signal = alpha_bar(t, self.schedule)
        return sqrt(1 - signal) * xt + sqrt(signal) * found

    def to(self, device: torch.device) -> "Network":
        """The same on another device."""
        return replace(self, module=self.module.to(device))


def make_network(config: NetworkConfig, seed: int = 0) -> nn.Module:
    """A fresh network; equal seeds give equal weights."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # manual_seed would reseed the GPUs as well
        module = (
            ResNet(config)
            if config.architecture == "resnet"
            else UNet(config, attention=config.architecture == "unet_attention")
        )
    # begin at 0, whose loss is at most 1: random weights predict ten times too much, and the first
    # steps would be spent on undoing that
    nn.init.zeros_(module.last.weight)
    if module.last.bias is not None:
        nn.init.zeros_(module.last.bias)
    return module


def num_parameters(module: nn.Module) -> int:
    """How many numbers training can change."""
    return sum(parameter.numel() for parameter in module.parameters())
