"""What a network's center pixel can see, and what it does look at (gradient maps)."""

from copy import deepcopy

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sampler.denoiser import Denoiser
from sampler.errors import NoGradientError, reason
from sampler.networks.asking import NetworkCallError
from sampler.networks.network import Network
from sampler.schedule import signal_share

PROBES = 8  # random inputs that gradients are asked of
_NO_GRADIENT = (
    "the denoiser gives torch no gradient of what it returns. Give a network, or another function "
    "that torch can differentiate."
)
MASS_SHARE = 0.9  # of a gradient map, by which its width is told


def receptive_field(network: Network) -> tuple[int, int]:
    """Height and width of the pixels that can change the prediction at the image's center.

    Found on a copy with positive weights, in which nothing cancels and every ReLU lets pass. Zero
    padding keeps windows from wrapping round; the answer is at most the image.
    """
    seen = _pixels_seen(network)
    rows, cols = seen.any(1).nonzero(), seen.any(0).nonzero()
    return int(rows.max() - rows.min()) + 1, int(cols.max() - cols.min()) + 1


def _pixels_seen(network: Network) -> Bool[Tensor, "h w"]:
    """Where the prediction at the image's center has a gradient, over a few random inputs."""
    module = _positive_copy(network.module)
    config = network.config
    generator = torch.Generator().manual_seed(0)
    # several: maximum pooling looks at one pixel of four, at another one in each input
    states = torch.rand(PROBES, *config.image_shape, generator=generator).requires_grad_()
    label = torch.zeros(PROBES, dtype=torch.long) if config.num_classes else None
    noise = module(states, torch.full((PROBES,), 0.5), label)
    center = noise[:, :, config.height // 2, config.width // 2].sum()
    (gradient,) = torch.autograd.grad(center, states)
    return (gradient != 0).any(0).any(0)


def _positive_copy(module: nn.Module) -> nn.Module:
    """The same network on the CPU with weights and biases all positive, and zero padding."""
    copy = deepcopy(module).cpu().requires_grad_(requires_grad=False)
    for parameter in copy.parameters():
        parameter.copy_(parameter.abs() + 1e-3)
    for part in copy.modules():
        if isinstance(part, nn.Conv2d) and part.padding_mode != "zeros":
            part.padding_mode = "zeros"
    return copy.float()


def gradient_map(
    denoiser: Denoiser, y: Float[Tensor, "b c h w"], sigma: float
) -> Float[Tensor, "h w"]:
    """Mean |d score(center) / d xt(x')| over samples and channels; the center itself is left at 0.

    The score of xt = sqrt(alpha_bar) y is (sqrt(alpha_bar) mean - xt) / (1 - alpha_bar), whose
    gradient off the center is that of the mean by y, divided by 1 - alpha_bar (figure 4a of
    arXiv 2412.20292).

    Args:
        denoiser: through which torch finds gradients: a network, not a machine.

    Raises:
        NoGradientError: torch finds none.

    Example:
        >>> heat = gradient_map(open_network("fashion_mnist_resnet_zeros_small"), y, 0.5)
    """
    state = y.detach().clone().requires_grad_()
    try:
        with torch.enable_grad():
            mean = denoiser(state.clone(), sigma)
    except (RuntimeError, NetworkCallError) as error:
        raised = error.__cause__ if isinstance(error, NetworkCallError) else error
        if not isinstance(raised, RuntimeError):
            raise
        # it leaves torch, or overwrites what it is given
        raise NoGradientError(f"{_NO_GRADIENT} ({reason(raised)})") from error
    if not mean.requires_grad:
        raise NoGradientError(_NO_GRADIENT)
    row, col = y.shape[2] // 2, y.shape[3] // 2
    heat = torch.zeros(y.shape[2:])
    for channel in mean[:, :, row, col].sum(0):  # samples do not see each other
        (gradient,) = torch.autograd.grad(channel, state, retain_graph=True)
        heat += gradient.abs().mean((0, 1)).cpu()
    heat[row, col] = 0
    return heat / float(mean.shape[1] * (1 - signal_share(sigma)))


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
