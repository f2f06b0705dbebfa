"""How far a network can see at all, whatever its weights."""

from copy import deepcopy

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from sampler.networks.network import Network

PROBES = 8


def receptive_field(network: Network) -> tuple[int, int]:
    """Height and width of the pixels that can change the prediction at the image's center.

    Found on a copy with positive weights, in which nothing cancels and every ReLU lets pass. Zero
    padding keeps windows from wrapping round; the answer is at most the image.
    """
    seen = pixels_seen(network)
    rows, cols = seen.any(1).nonzero(), seen.any(0).nonzero()
    return int(rows.max() - rows.min()) + 1, int(cols.max() - cols.min()) + 1


def pixels_seen(network: Network) -> Bool[Tensor, "h w"]:
    """Where the prediction at the image's center has a gradient, over a few random inputs."""
    module = positive_copy(network.module)
    config = network.config
    generator = torch.Generator().manual_seed(0)
    # several: maximum pooling looks at one pixel of four, at another one in each input
    states = torch.rand(PROBES, *config.image_shape, generator=generator).requires_grad_()
    label = torch.zeros(PROBES, dtype=torch.long) if config.num_classes else None
    noise = module(states, torch.full((PROBES,), 0.5), label)
    center = noise[:, :, config.height // 2, config.width // 2].sum()
    (gradient,) = torch.autograd.grad(center, states)
    return (gradient != 0).any(0).any(0)


def positive_copy(module: nn.Module) -> nn.Module:
    """The same network on the CPU with weights and biases all positive, and zero padding."""
    copy = deepcopy(module).cpu().requires_grad_(requires_grad=False)
    for parameter in copy.parameters():
        parameter.copy_(parameter.abs() + 1e-3)
    for part in copy.modules():
        if isinstance(part, nn.Conv2d) and part.padding_mode != "zeros":
            part.padding_mode = "zeros"
    return copy.float()
