"""Samples of several classes at once: which class each has, and a machine asked class by class."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sampler.machines import ScoreMachine
from sampler.reverse import Denoiser, Step

STREAM = 1  # apart from the random numbers that noise is drawn with


def draw_labels(num: int, num_classes: int, seed: int) -> Int[Tensor, " b"]:
    """A class for each sample; that of sample i depends on (seed, i) alone."""
    drawn = [
        int(np.random.default_rng([seed, i, STREAM]).integers(num_classes)) for i in range(num)
    ]
    return torch.tensor(drawn)


def labels_for(
    num: int, num_classes: int, *, label: int | None, seed: int
) -> Int[Tensor, " b"] | None:
    """The class of each sample: the one asked for, else one drawn; None without classes."""
    if label is not None:
        return torch.full((num,), label)
    return draw_labels(num, num_classes, seed) if num_classes else None


def machine_denoiser(machine: ScoreMachine, label: Int[Tensor, " b"] | None) -> Denoiser:
    """The machine's posterior mean, each sample's over the images of its own class.

    Args:
        label: class of each sample; None for all images.
    """

    def mean(xt: Float[Tensor, "b c h w"], step: Step) -> Float[Tensor, "b c h w"]:
        if label is None:
            return machine.posterior(xt, step.alpha_bar, step.patch_size).mean
        means = torch.empty_like(xt)
        for value in label.unique().tolist():
            members = (label == value).to(xt.device)
            found = machine.posterior(xt[members], step.alpha_bar, step.patch_size, label=value)
            means[members] = found.mean
        return means

    return mean
