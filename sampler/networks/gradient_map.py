"""What a network does look at: the gradient of its center pixel along the reverse process."""

from collections.abc import Sequence
from math import sqrt

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sampler.networks.denoiser import network_denoiser
from sampler.networks.network import Network
from sampler.reverse import Step, step_down

MASS_SHARE = 0.9


def gradient_maps(
    network: Network,
    noise: Float[Tensor, "b c h w"],
    steps: Sequence[Step],
    label: Int[Tensor, " b"] | None = None,
) -> Float[Tensor, "t h w"]:
    """Mean |d score(center) / d xt(x')| at each step, over samples and channels.

    The map of figure 4a of arXiv 2412.20292, along the network's own trajectory; the center itself,
    which the score depends on in any case, is left at 0.
    """
    denoise = network_denoiser(network, label)
    xt, maps = noise.float(), []
    for step in steps:
        maps.append(gradient_map(network, xt, step, label))
        xt = step_down(xt, denoise(xt, step), step)
    return torch.stack(maps)


def gradient_map(
    network: Network,
    xt: Float[Tensor, "b c h w"],
    step: Step,
    label: Int[Tensor, " b"] | None,
) -> Float[Tensor, "h w"]:
    """The map at one step; score = -eps / sqrt(1 - alpha_bar)."""
    device = next(network.module.parameters()).device
    state = xt.detach().to(device).requires_grad_()
    noise = network.noise(state, step.t, None if label is None else label.to(device))
    y, x = xt.shape[2] // 2, xt.shape[3] // 2
    heat = torch.zeros(xt.shape[2:])
    for channel in noise[:, :, y, x].sum(0):  # samples do not see each other
        (gradient,) = torch.autograd.grad(channel, state, retain_graph=True)
        heat += gradient.abs().mean((0, 1)).cpu()
    heat[y, x] = 0
    return heat / float(noise.shape[1] * sqrt(1 - step.alpha_bar))


def effective_width(heat: Float[Tensor, "h w"], share: float = MASS_SHARE) -> int:
    """Side of the smallest odd square about the center that holds this share of the map."""
    y, x = heat.shape[0] // 2, heat.shape[1] // 2
    rows = (torch.arange(heat.shape[0]) - y).abs()[:, None]
    cols = (torch.arange(heat.shape[1]) - x).abs()
    distance = torch.maximum(rows, cols)
    rings = torch.zeros(int(distance.max()) + 1).index_add(
        0, distance.flatten(), heat.flatten().float()
    )
    inside = rings.cumsum(0) >= share * rings.sum()
    return 2 * int(inside.int().argmax()) + 1
