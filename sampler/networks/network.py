"""Our own networks: a module and what it is, built from its configuration."""

from dataclasses import dataclass, replace

import torch
from torch import nn

from sampler.networks.adapters import NoisePredictor, Predictor, VelocityPredictor
from sampler.networks.architectures import ResNet, UNet
from sampler.networks.config import NetworkConfig


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

    @property
    def denoiser(self) -> Predictor:
        """The network as a denoiser of states at any noise level."""
        config = self.config
        kind = NoisePredictor if config.prediction == "noise" else VelocityPredictor
        return kind(
            self.module,
            schedule=self.schedule,
            name=self.name,
            image_shape=config.image_shape,
            num_classes=config.num_classes,
            boundary="zeros" if config.padding == "zeros" else "circular",
            config=config,
        )

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
