"""What a training step sees: images, times and noise, determined by the seed and the step."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchindex import ImageSet
from patchindex.images import to_unit
from sampler.networks import NetworkConfig
from sampler.schedules import alpha_bar
from sampler.training.recipe import TrainConfig

NUM_TIMES = 1000


@dataclass(frozen=True, slots=True)
class Batch:
    """Noisy images, and what the network should make of them."""

    xt: Float[Tensor, "b c h w"]
    t: Float[Tensor, " b"]
    label: Int[Tensor, " b"] | None
    target: Float[Tensor, "b c h w"]

    def to(self, *args: Any, **kwargs: Any) -> "Batch":
        """The same elsewhere; arguments as for `Tensor.to`."""
        label = None if self.label is None else self.label.to(*args)
        xt, target = self.xt.to(*args, **kwargs), self.target.to(*args, **kwargs)
        return Batch(xt, self.t.to(*args), label, target)


def training_batch(
    images: ImageSet, network: NetworkConfig, config: TrainConfig, step: int
) -> Batch:
    """Images drawn with replacement, times from 1/1000 to 1, and standard normal noise.

    Drawn on the CPU, so that every device sees the same, and a resumed run what it would have.
    """
    rng = np.random.default_rng([config.seed, step])
    chosen = np.sort(rng.integers(len(images), size=config.batch_size))  # ascending: a memory map
    x0 = to_unit(np.asarray(images.pixels[chosen]))
    eps = torch.from_numpy(rng.standard_normal(x0.shape, np.float32))
    times = torch.from_numpy(rng.integers(1, NUM_TIMES + 1, size=config.batch_size)) / NUM_TIMES
    levels = [alpha_bar(float(t), config.schedule) for t in times]
    signal = torch.tensor(levels)[:, None, None, None]
    label = None
    if network.num_classes and images.labels is not None:
        label = torch.from_numpy(images.labels[chosen])
    target = eps
    if network.prediction == "velocity":
        target = signal.sqrt() * eps - (1 - signal).sqrt() * x0
    return Batch(signal.sqrt() * x0 + (1 - signal).sqrt() * eps, times, label, target)
