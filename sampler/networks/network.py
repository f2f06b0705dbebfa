"""A network as a denoiser: built from its configuration, checked against images."""

from dataclasses import dataclass, replace
from math import sqrt

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from patchindex import Boundary, ImageSet, PatchIndex
from sampler.errors import NetworkError, SamplerConfigError
from sampler.networks.architectures import ResNet, UNet
from sampler.networks.config import NetworkConfig
from sampler.schedule import Denoiser, Step, alpha_bar

BLOCK_IMAGES = 64  # that a network is asked about at once


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


def network_denoiser(network: Network, label: Int[Tensor, " b"] | None) -> Denoiser:
    """The network's posterior mean (xt - sqrt(1 - alpha_bar) eps) / sqrt(alpha_bar) at any step.

    Args:
        label: class of each sample; None for a network without labels.

    Raises:
        NetworkError: labels for a network that knows none, none for one that needs them, or
            others than it knows.
    """
    _check_labels(network, label)

    def mean(xt: Float[Tensor, "b c h w"], step: Step) -> Float[Tensor, "b c h w"]:
        eps = _predicted_noise(network, xt, step.t, label)
        return (xt - sqrt(1 - step.alpha_bar) * eps) / sqrt(step.alpha_bar)

    return mean


@torch.no_grad()
def _predicted_noise(
    network: Network, xt: Float[Tensor, "b c h w"], t: float, label: Int[Tensor, " b"] | None
) -> Float[Tensor, "b c h w"]:
    """Eps as the network sees it in the states, block by block, on the device it lives on."""
    device = next(network.module.parameters()).device
    blocks = []
    for start in range(0, len(xt), BLOCK_IMAGES):
        part = slice(start, start + BLOCK_IMAGES)
        state = xt[part].to(device)
        labels = None if label is None else label[part].to(device)
        blocks.append(network.noise(state, t, labels).to(xt))
    return torch.cat(blocks)


def _check_labels(network: Network, label: Int[Tensor, " b"] | None) -> None:
    """Raise NetworkError unless the network can be asked with these labels."""
    known = network.config.num_classes
    if known == 0 and label is not None:
        raise NetworkError(
            f"{network.name} was trained without class labels. Leave the label out, "
            "or give a network that was trained with --conditional."
        )
    if known and label is None:
        raise NetworkError(
            f"{network.name} was trained with class labels and needs one for each sample. "
            f"Give labels from 0 to {known - 1}, and images that have labels."
        )
    if label is not None and not (int(label.min()) >= 0 and int(label.max()) < known):
        raise NetworkError(
            f"{network.name} knows labels 0 to {known - 1}, but labels from {int(label.min())} to "
            f"{int(label.max())} were given. Give labels that it was trained with."
        )


def check_fit(network: Network, images: ImageSet) -> None:
    """Raise NetworkError unless network and images have one shape, and labels where needed."""
    shape = (images.channels, images.height, images.width)
    config = network.config
    if shape != config.image_shape:
        raise NetworkError(
            f"{network.name} was trained on images of {'x'.join(map(str, config.image_shape))}, "
            f"but those of {images.name} are {'x'.join(map(str, shape))}. Give the images it was "
            "trained on, or another network."
        )
    if config.num_classes and images.num_classes != config.num_classes:
        raise NetworkError(
            f"{network.name} was trained with {config.num_classes} classes, but {images.name} has "
            f"{images.num_classes or 'no labels'}. Give the images it was trained on, or a network "
            "without labels."
        )


def _boundary_for(network: Network) -> Boundary:
    """The boundary of the machine that sees borders as the network's padding does."""
    return "zeros" if network.config.padding == "zeros" else "circular"


def matching_boundary(
    network: Network, training_set: ImageSet | PatchIndex, asked: Boundary | None
) -> Boundary:
    """The boundary of the machine that is held against the network.

    Args:
        asked: what the user wants; None for what suits the network.

    Raises:
        SamplerConfigError: an index was built for another boundary, or another one is asked for.
    """
    boundary, padding = _boundary_for(network), network.config.padding
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
