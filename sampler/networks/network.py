"""Our own networks, built from their configuration; and whether any network fits images."""

from dataclasses import dataclass, replace

import torch
from torch import nn

from patchindex import Boundary, ImageSet, PatchIndex
from sampler.errors import NetworkError, SamplerConfigError
from sampler.networks.adapters import NetworkDenoiser
from sampler.networks.architectures import ResNet, UNet
from sampler.networks.config import NetworkConfig
from sampler.networks.predictors import NoisePredictor, Predictor, VelocityPredictor


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


def check_fit(network: NetworkDenoiser, images: ImageSet) -> None:
    """Raise NetworkError unless network and images have one shape, and labels where needed."""
    shape = (images.channels, images.height, images.width)
    if network.image_shape not in (None, shape):
        raise NetworkError(
            f"{network.name} was trained on images of {'x'.join(map(str, network.image_shape))}, "
            f"but those of {images.name} are {'x'.join(map(str, shape))}. Give the images it was "
            "trained on, or another network."
        )
    if network.num_classes and images.num_classes != network.num_classes:
        raise NetworkError(
            f"{network.name} was trained with {network.num_classes} classes, but {images.name} has "
            f"{images.num_classes or 'no labels'}. Give the images it was trained on, or a network "
            "without labels."
        )


def matching_boundary(
    network: NetworkDenoiser, training_set: ImageSet | PatchIndex, asked: Boundary | None
) -> Boundary:
    """The boundary of the machine that is held against the network.

    Args:
        asked: what the user wants; None for what suits the network.

    Raises:
        SamplerConfigError: an index was built for another boundary, or another one is asked for.
    """
    boundary = network.boundary
    padding = "zeros" if boundary == "zeros" else "circular"
    if isinstance(training_set, PatchIndex) and training_set.boundary != boundary:
        raise SamplerConfigError(
            f"{network.name} pads with {padding}, but the index was built for "
            f"boundary {training_set.boundary}. Give an index built with --boundary {boundary}."
        )
    if asked not in (None, boundary):
        raise SamplerConfigError(
            f"{network.name} pads with {padding}, but boundary {asked} was asked for. "
            f"Leave it out, or give {boundary}."
        )
    return boundary
