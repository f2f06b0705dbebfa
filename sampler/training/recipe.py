"""How a network is trained: the paper's recipe, and one that ends within half an hour on a CPU."""

from dataclasses import asdict, dataclass, replace
from math import ceil, cos, pi
from typing import Any, Literal, get_args

from sampler.errors import NetworkError
from sampler.networks.config import checked_choice
from sampler.schedules import SCHEDULES

Precision = Literal["auto", "float32", "bfloat16"]
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
