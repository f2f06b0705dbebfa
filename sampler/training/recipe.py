"""How a network is trained: the recipe, and the batch of each step."""

from dataclasses import asdict, dataclass, replace
from math import ceil, cos, pi
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchindex import ImageSet
from patchindex.images import to_unit
from sampler.choices import Precision
from sampler.errors import NetworkError
from sampler.networks import NetworkConfig, checked_choice
from sampler.schedule import SCHEDULES, alpha_bar

Decay = Literal["exponential", "cosine"]
# torch seeds with 64 bits, and steps in float32; of more it says nothing that helps
MAX_SEED, MAX_RATE = 2**63 - 1, 1e30


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Everything that determines training, besides network and images.

    Attributes:
        steps: gradient steps, on `batch_size` images each.
        learning_rate: at the first step, of AdamW without weight decay.
        decay: `exponential` multiplies it by `decay_per_step` each step; `cosine` ends at 0.
        averaging: the weights kept are a moving average, which forgets by this factor each step;
            0 keeps the last ones.
        precision: of products; `auto` takes bfloat16 where the device computes it fast.
        schedule: of the noise.
        save_every: steps between checkpoints: what an interruption can lose.
    """

    steps: int
    batch_size: int = 128
    learning_rate: float = 1e-4
    decay: Decay = "exponential"
    decay_per_step: float = 0.999965
    averaging: float = 0.0
    precision: Precision = "auto"
    schedule: str = "cosine"
    save_every: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch_size", 1), ("save_every", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise NetworkError(f"{name} is {getattr(self, name)}. Give at least {least}.")
        if self.seed > MAX_SEED:
            raise NetworkError(f"seed is {self.seed}. Give at most {MAX_SEED}.")
        if not 0 < self.learning_rate <= MAX_RATE:
            raise NetworkError(
                f"learning_rate is {self.learning_rate}. Give a number above zero, and at most "
                f"{MAX_RATE:g}."
            )
        if not 0 <= self.averaging < 1 or not 0 < self.decay_per_step <= 1:
            raise NetworkError(
                f"averaging is {self.averaging} and decay_per_step {self.decay_per_step}. Give "
                "factors below 1, the second above 0."
            )
        checked_choice("precision", self.precision, get_args(Precision))
        checked_choice("decay", self.decay, get_args(Decay))
        checked_choice("schedule", self.schedule, tuple(SCHEDULES))

    def values(self) -> dict[str, Any]:
        """Everything as JSON can hold it."""
        return asdict(self)

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if self.decay == "cosine":
            return self.learning_rate * (1 + cos(pi * step / self.steps)) / 2
        return self.learning_rate * self.decay_per_step**step


PAPER_EPOCHS = 300
SMALL = TrainConfig(
    steps=5000,
    batch_size=64,
    learning_rate=2e-3,
    decay="cosine",
    averaging=0.998,
    save_every=250,
)


def recipe(preset: str, num_images: int, **changes: Any) -> TrainConfig:
    """The recipe that belongs to a preset, with some settings changed.

    `paper` is arXiv 2412.20292, appendix C.1: Adam, 1e-4 times 0.999965 a step, 300 epochs of
    batches of 128 images. `small` has larger and fewer steps, and averages the weights.

    Raises:
        NetworkError: no such preset, or a setting out of range.
    """
    checked_choice("preset", preset, ("small", "paper"))
    if preset == "small":
        return replace(SMALL, **changes)
    config = replace(TrainConfig(steps=1), **changes)
    return (
        config
        if "steps" in changes
        else replace(config, steps=PAPER_EPOCHS * ceil(num_images / config.batch_size))
    )


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
