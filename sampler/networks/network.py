"""A network from its configuration."""

from dataclasses import dataclass, replace

import torch
from torch import nn

from sampler.networks.config import NetworkConfig
from sampler.networks.resnet import ResNet
from sampler.networks.unet import UNet


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A module that predicts noise, `module(xt, t, label)`, and what it is.

    Attributes:
        schedule: of the noise it was trained with.
        name: where it comes from, for people.
    """

    module: nn.Module
    config: NetworkConfig
    schedule: str = "cosine"
    name: str = "network"

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
    # begin at eps = 0, whose loss is 1: random weights predict ten times too much, and the first
    # steps would be spent on undoing that
    nn.init.zeros_(module.last.weight)
    if module.last.bias is not None:
        nn.init.zeros_(module.last.bias)
    return module


def num_parameters(module: nn.Module) -> int:
    """How many numbers training can change."""
    return sum(parameter.numel() for parameter in module.parameters())
