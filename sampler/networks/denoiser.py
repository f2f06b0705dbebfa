"""A network as a denoiser: from the noise it predicts to the posterior mean."""

from math import sqrt

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sampler.errors import NetworkError
from sampler.networks.network import Network
from sampler.reverse import Denoiser, Step

BLOCK_IMAGES = 64


def network_denoiser(network: Network, label: Int[Tensor, " b"] | None) -> Denoiser:
    """The network's posterior mean (xt - sqrt(1 - alpha_bar) eps) / sqrt(alpha_bar) at any step.

    Args:
        label: class of each sample; None for a network without labels.

    Raises:
        NetworkError: labels for a network that knows none, none for one that needs them, or
            others than it knows.
    """
    check_labels(network, label)

    def mean(xt: Float[Tensor, "b c h w"], step: Step) -> Float[Tensor, "b c h w"]:
        eps = predicted_noise(network, xt, step.t, label)
        return (xt - sqrt(1 - step.alpha_bar) * eps) / sqrt(step.alpha_bar)

    return mean


@torch.no_grad()
def predicted_noise(
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


def check_labels(network: Network, label: Int[Tensor, " b"] | None) -> None:
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
