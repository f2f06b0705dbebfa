"""All that is known before the first state: the noise levels of a run, and their patch sizes.

alpha_bar is the share of the signal that is left at time t, from 1 (clean, t = 0) to about 0.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import cos, exp, pi, sqrt

from jaxtyping import Float
from torch import Tensor

from sampler.errors import SamplerConfigError

OFFSET = 0.008
MOST_STEPS = 100_000  # many more than any schedule can tell apart in float32
# cosine_offset reaches 0 at t = 1, where a state in data units would be infinite
SMALLEST_ALPHA_BAR = 1e-6


def _cosine(t: float) -> float:
    """cos(pi t / 2.016)^2: the schedule of the paper's code, exactly 1 at t = 0."""
    return cos(pi * t / (2 * (1 + OFFSET))) ** 2


def _cosine_offset(t: float) -> float:
    """cos((t + 0.008) / 1.008 pi/2)^2 divided by its value at 0 (arXiv 2102.09672, equation 17)."""

    def signal(time: float) -> float:
        return cos((time + OFFSET) / (1 + OFFSET) * pi / 2) ** 2

    return signal(t) / signal(0.0)


def _linear(t: float) -> float:
    """1 - (0.01 + 0.97 t)."""
    return 0.99 - 0.97 * t


def _exponential(t: float) -> float:
    """exp(-2 t)."""
    return exp(-2 * t)


SCHEDULES: Mapping[str, Callable[[float], float]] = {
    "cosine": _cosine,
    "cosine_offset": _cosine_offset,
    "linear": _linear,
    "exponential": _exponential,
}


def alpha_bar(t: float, schedule: str = "cosine") -> float:
    """Signal share at time t in [0, 1]: xt = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps.

    Raises:
        SamplerConfigError: no such schedule, or t outside [0, 1].
    """
    if schedule not in SCHEDULES:
        raise SamplerConfigError(f"schedule is {schedule!r}. Give one of {', '.join(SCHEDULES)}.")
    if not 0 <= t <= 1:
        raise SamplerConfigError(f"time t is {t}. Give a value in [0, 1]; 1 is pure noise.")
    return max(SCHEDULES[schedule](t), SMALLEST_ALPHA_BAR)


def noise_level(alpha_bar: float) -> float:
    """Sigma = sqrt((1 - alpha_bar) / alpha_bar): the noise of y = xt / sqrt(alpha_bar)."""
    return sqrt((1 - alpha_bar) / alpha_bar)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One noise level of a run.

    Attributes:
        t, t_next: times in [0, 1]; `t_next` is the one that the step leads to.
        patch_size: the locality scale at t; None where whole images are compared.
        alpha_bar, alpha_bar_next: signal shares at the two times; exactly 1 at the end.
    """

    t: float
    t_next: float
    patch_size: int | None
    alpha_bar: float
    alpha_bar_next: float


# The posterior mean of each state at a step.
Denoiser = Callable[[Float[Tensor, "b c h w"], Step], Float[Tensor, "b c h w"]]


def plan_steps(
    scales: Sequence[int | None], steps: int, schedule: str, *, reference_steps: bool = False
) -> list[Step]:
    """The noise levels t = 1, 1 - 1/steps, ..., 1/steps with their scales.

    Raises:
        SamplerConfigError: too few steps or too many, or no scales.
    """
    check_steps(steps, fewest=2 if reference_steps else 1)
    if not scales:
        raise SamplerConfigError("there are no scales. Give at least one odd patch size.")
    shift = 1 if reference_steps else 0
    return [
        Step(
            t=i / steps,
            t_next=(i - 1) / steps,
            patch_size=scale_at(scales, (i + shift) / steps),
            alpha_bar=alpha_bar(i / steps, schedule),
            alpha_bar_next=1.0 if i == 1 else alpha_bar((i - 1) / steps, schedule),
        )
        for i in range(steps - shift, 0, -1)
    ]


def check_steps(steps: int, fewest: int = 1) -> None:
    """Raise SamplerConfigError unless a run can have so many steps."""
    if steps < fewest:
        raise SamplerConfigError(f"steps is {steps}. Give at least {fewest}.")
    if steps > MOST_STEPS:
        raise SamplerConfigError(f"steps is {steps}. Give at most {MOST_STEPS:,}.")


def scale_at(scales: Sequence[int | None], t: float) -> int | None:
    """The scale calibrated nearest to time t, where scales[j] belongs to t = (j + 1) / len."""
    return scales[min(max(round(t * len(scales)), 1), len(scales)) - 1]
