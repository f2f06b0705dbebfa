"""How much signal is left at time t: alpha_bar, from 1 (clean, t = 0) to about 0 (noise, t = 1)."""

from collections.abc import Callable
from math import cos, exp, pi, sqrt
from typing import Literal

from sampler.errors import SamplerConfigError

Schedule = Literal["cosine", "cosine_offset", "linear", "exponential"]

OFFSET = 0.008
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


SCHEDULES: dict[str, Callable[[float], float]] = {
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
