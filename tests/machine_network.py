"""A network that is a machine in disguise: what the theory predicts perfectly."""

from collections.abc import Sequence
from math import sqrt

import torch
from torch import Tensor, nn

from patchindex import ImageSet
from sampler.networks import Network, NetworkConfig, NetworkDenoiser, NetworkSizes
from sampler.schedule import alpha_bar, scale_at
from sampler.score_machine import ScoreMachine


class MachineModule(nn.Module):
    """Predicts the noise that is left when a machine's posterior mean is taken away."""

    def __init__(self, machine: ScoreMachine, scales: Sequence[int]) -> None:
        super().__init__()
        self.machine, self.scales = machine, scales
        self.unused = nn.Parameter(torch.zeros(1))  # a network is where its parameters are

    def forward(self, xt: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        time = float(t[0])
        signal = alpha_bar(time)
        patch_size = scale_at(self.scales, time)
        values = [None] * len(xt) if label is None else label.tolist()
        means = [
            self.machine.posterior(state[None], signal, patch_size, label=value).mean
            for state, value in zip(xt, values, strict=True)
        ]
        return (xt - sqrt(signal) * torch.cat(means)) / sqrt(1 - signal)


def machine_network(
    machine: ScoreMachine, scales: Sequence[int], *, num_classes: int = 0, padding: str = "zeros"
) -> NetworkDenoiser:
    images: ImageSet = machine.images
    config = NetworkConfig(
        architecture="resnet",
        padding=padding,
        channels=images.channels,
        height=images.height,
        width=images.width,
        sizes=NetworkSizes(widths=(1,), depth=1, embedding=1),
        num_classes=num_classes,
    )
    return Network(MachineModule(machine, scales), config, name="a machine").denoiser
