"""A machine as the denoiser of trajectories that others draw, each for its own class."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchindex.crew import portion
from sampler.denoiser import groups
from sampler.estimator import CarriedHead
from sampler.score_machine import ScoreMachine

LABEL_STREAM = 1  # third seed entry, so that labels and noise are independent


def draw_labels(num: int, num_classes: int, seed: int) -> Int[Tensor, " b"]:
    """A class for each sample; that of sample i depends on (seed, i) alone."""
    drawn = [
        int(np.random.default_rng([seed, i, LABEL_STREAM]).integers(num_classes))
        for i in range(num)
    ]
    return torch.tensor(drawn)


def labels_for(
    num: int, num_classes: int, *, label: int | None, seed: int
) -> Int[Tensor, " b"] | None:
    """The class of each sample: the one asked for, else one drawn; None without classes."""
    if label is not None:
        return torch.full((num,), label)
    return draw_labels(num, num_classes, seed) if num_classes else None


class Follower:
    """A machine as the denoiser of the same trajectories, step after step.

    What retrieval has found for the states before serves as in `follow`, for each patch size
    and class.

    Args:
        label: class of each sample; None for all images.
        sizes: patch size by sigma, for those who ask without; None for the machine's own.
    """

    def __init__(
        self,
        machine: ScoreMachine,
        label: Int[Tensor, " b"] | None,
        sizes: Mapping[float, int | None] | None = None,
    ) -> None:
        self._machine, self._label, self._sizes = machine, label, sizes
        self._known: dict[tuple[int | None, int | None], CarriedHead | None] = {}

    def __call__(
        self, y: Float[Tensor, "b c h w"], sigma: float, patch_size: int | None = None
    ) -> Float[Tensor, "b c h w"]:
        """The machine's posterior mean, each sample's over the images of its own class."""
        if patch_size is None and self._sizes is not None:
            patch_size = self._sizes[sigma]
        means = torch.empty_like(y)
        parts = list(groups(len(y), sigma, self._label))
        for number, (states, level, value) in enumerate(parts):
            chosen = slice(None) if states is None else states.to(y.device)
            with portion(number, len(parts)):
                found = self._machine.posterior_of(
                    y[chosen], level, patch_size, label=value,
                    known=self._known.get((patch_size, value)),
                )  # fmt: skip
            self._known[patch_size, value] = found.head
            means[chosen] = found.mean
        return means
