"""All that is known before the first state: the noise levels of a run, and their patch sizes.

alpha_bar is the share of the signal that is left at time t, from 1 (clean, t = 0) to about 0;
sigma = sqrt((1 - alpha_bar) / alpha_bar) is the same level as noise in data units.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, pairwise
from math import atan, cos, exp, isfinite, log, log1p, pi, sqrt
from operator import mul
from pathlib import Path

from patchindex.paths import is_file
from sampler.errors import SamplerConfigError, shown

OFFSET = 0.008
MOST_STEPS = 100_000  # many more than any schedule can tell apart in float32
# cosine_offset reaches 0 at t = 1, where a state in data units would be infinite
SMALLEST_ALPHA_BAR = 1e-6
SMALLEST_SIGMA, LARGEST_SIGMA = 1e-4, 1e3
DDPM_STEPS, DDPM_BETAS = 1000, (1e-4, 0.02)  # arXiv 2006.11239, section 4
EDM_RHO, EDM_SIGMAS = 7, (0.002, 80.0)  # arXiv 2206.00364, table 1
BISECTIONS = 60  # halvings of [0, 1] down to the last bit of a double


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


class DiscreteSchedule:
    """alpha_bar at t = k/n after step k = 1, ..., n; between steps its logarithm is linear in t.

    Args:
        alphas_cumprod: alpha_bar after each step, falling.

    Raises:
        SamplerConfigError: shares that do not fall from below 1 to above 0.

    Example:
        >>> DiscreteSchedule([0.9, 0.5, 0.1])(2 / 3)
        0.5
    """

    def __init__(self, alphas_cumprod: Sequence[float]) -> None:
        shares = [1.0, *map(float, alphas_cumprod)]
        if len(shares) < 2 or not all(0 < after < before for before, after in pairwise(shares)):
            raise SamplerConfigError(
                "the schedule's list of alpha_bar does not fall from below 1 to above 0. Give the "
                "cumulative product of 1 - beta after each step."
            )
        self._logs = [log(share) for share in shares]

    def __len__(self) -> int:
        """The number of steps."""
        return len(self._logs) - 1

    def __call__(self, t: float) -> float:
        """The share of the signal at time t in [0, 1]."""
        before = min(int(t * len(self)), len(self) - 1)
        low, high = self._logs[before], self._logs[before + 1]
        return exp(low + (high - low) * (t * len(self) - before))


@cache
def _ddpm_shares() -> DiscreteSchedule:
    """The process of arXiv 2006.11239, section 4: 1,000 steps of linear betas."""
    first, last = DDPM_BETAS
    rise = (last - first) / (DDPM_STEPS - 1)
    kept = (1 - (first + rise * step) for step in range(DDPM_STEPS))
    return DiscreteSchedule(list(accumulate(kept, mul)))


def _ddpm(t: float) -> float:
    """alpha_bar after 1000 t steps of DDPM (arXiv 2006.11239, section 4)."""
    return _ddpm_shares()(t)


def _edm(t: float) -> float:
    """Sigma's seventh root is linear in t, from 0.002 to 80 (arXiv 2206.00364, equation 5)."""
    low, high = (sigma ** (1 / EDM_RHO) for sigma in EDM_SIGMAS)
    return signal_share((low + t * (high - low)) ** EDM_RHO)


SCHEDULES: Mapping[str, Callable[[float], float]] = {
    "cosine": _cosine,
    "cosine_offset": _cosine_offset,
    "linear": _linear,
    "exponential": _exponential,
    "ddpm": _ddpm,
    "edm": _edm,
}
# A name, or a function from t in [0, 1] to alpha_bar that does not rise.
Schedule = str | Callable[[float], float]
# The noise levels of a run: of a schedule at equal steps of t, or each sigma, in falling order.
NoiseLevels = Schedule | Sequence[float]


def alpha_bar(t: float, schedule: Schedule = "cosine") -> float:
    """Signal share at time t in [0, 1]: xt = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps.

    Raises:
        SamplerConfigError: no such schedule, t outside [0, 1], or a function that returns anything
            but shares.
    """
    if isinstance(schedule, str) and schedule not in SCHEDULES:
        raise SamplerConfigError(f"schedule is {schedule!r}. Give one of {', '.join(SCHEDULES)}.")
    if not 0 <= t <= 1:
        raise SamplerConfigError(f"time t is {t}. Give a value in [0, 1]; 1 is pure noise.")
    share = float((SCHEDULES[schedule] if isinstance(schedule, str) else schedule)(t))
    if not 0 <= share <= 1:
        raise SamplerConfigError(
            f"the schedule says alpha_bar = {share} at t = {t}. Give a function to the share of "
            "the signal, in [0, 1]."
        )
    return max(share, SMALLEST_ALPHA_BAR)


def noise_level(alpha_bar: float) -> float:
    """Sigma = sqrt((1 - alpha_bar) / alpha_bar): the noise of y = xt / sqrt(alpha_bar)."""
    return sqrt((1 - alpha_bar) / alpha_bar)


def signal_share(sigma: float) -> float:
    """alpha_bar = 1 / (1 + sigma^2), the inverse of `noise_level`."""
    return exp(-log1p(sigma**2))


def time_at(sigma: float, schedule: Schedule = "cosine") -> float:
    """The time in [0, 1] at which the schedule has this noise level, or is nearest to it.

    Example:
        >>> round(time_at(noise_level(alpha_bar(0.35))), 9)
        0.35
    """
    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if noise_level(alpha_bar(middle, schedule)) < sigma:
            low = middle
        else:
            high = middle
    return (low + high) / 2


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

    @property
    def sigma(self) -> float:
        """The noise before the step, in data units."""
        return noise_level(self.alpha_bar)

    @property
    def sigma_next(self) -> float:
        """The noise after the step; exactly 0 at the end."""
        return noise_level(self.alpha_bar_next)


def plan_steps(
    scales: Sequence[int | None],
    steps: int,
    schedule: NoiseLevels,
    *,
    reference_steps: bool = False,
    sigmas: Sequence[float] | None = None,
) -> list[Step]:
    """The noise levels t = 1, 1 - 1/steps, ..., 1/steps with their scales.

    `edm` has its levels at t = 1, ..., 0 instead, as arXiv 2206.00364 has them, and a list of
    sigmas where it says; then t only numbers the steps.

    Args:
        steps: how many; a list of sigmas has its own number.
        sigmas: the noise level of each scale, rising; None where they are evenly spaced over the
            run's own steps.

    Raises:
        SamplerConfigError: too few steps or too many, no scales, or noise levels that do not fall.
    """
    if not (isinstance(schedule, str) or callable(schedule)):
        schedule = checked_sigmas(schedule)
        steps = len(schedule)
    check_steps(steps, fewest=2 if reference_steps else 1)
    if not scales:
        raise SamplerConfigError("there are no scales. Give at least one odd patch size.")
    levels = _rising_levels(schedule, steps)
    shift = 1 if reference_steps else 0

    def patch_size(i: int) -> int | None:
        if sigmas is None:
            return scale_at(scales, i / steps)
        return scales[nearest_level(sigmas, noise_level(levels[i - 1]))]

    return [
        Step(
            t=i / steps,
            t_next=(i - 1) / steps,
            patch_size=patch_size(i + shift),
            alpha_bar=levels[i - 1],
            alpha_bar_next=1.0 if i == 1 else levels[i - 2],
        )
        for i in range(steps - shift, 0, -1)
    ]


def rising_sigmas(schedule: NoiseLevels, steps: int) -> tuple[float, ...]:
    """The noise levels of a run in so many steps, the lowest first."""
    return tuple(noise_level(share) for share in _rising_levels(schedule, steps))


def _rising_levels(schedule: NoiseLevels, steps: int) -> list[float]:
    """alpha_bar of a run's steps, the lowest noise first."""
    if not (isinstance(schedule, str) or callable(schedule)):
        return [signal_share(sigma) for sigma in reversed(schedule)]
    if schedule == "edm" and steps > 1:
        return [alpha_bar(i / (steps - 1), schedule) for i in range(steps)]
    levels = [alpha_bar(i / steps, schedule) for i in range(1, steps + 1)]
    if not isinstance(schedule, str) and not all(
        0 < after < before for before, after in pairwise((1.0, *levels))
    ):
        raise SamplerConfigError(
            f"the schedule's alpha_bar does not fall from below 1 at {steps} equal steps of t: "
            f"{', '.join(f'{level:g}' for level in levels[:4])}, ... Give a function that does, or "
            "fewer steps."
        )
    return levels


def nearest_level(sigmas: Sequence[float], sigma: float) -> int:
    """The place of the noise level nearest to this one, by the time of the cosine schedule.

    Its sigma is tan(pi t / 2.016). Of two that are as near, the first.

    Args:
        sigmas: rising.
    """
    time = _cosine_time(sigma)
    gaps = [round(abs(_cosine_time(level) - time), 9) for level in sigmas]
    return gaps.index(min(gaps))


def _cosine_time(sigma: float) -> float:
    """When the cosine schedule has this noise, also beyond its end."""
    return 2 * (1 + OFFSET) / pi * atan(sigma)


def checked_sigmas(sigmas: Sequence[float]) -> tuple[float, ...]:
    """The sigmas; a 0 at the end, where every run ends, is left out.

    Raises:
        SamplerConfigError: none, or such as no falling list of noise levels has.
    """
    levels = tuple(map(float, sigmas))
    if levels and levels[-1] == 0:
        levels = levels[:-1]
    falling = all(after < before for before, after in pairwise(levels))
    in_range = all(isfinite(s) and SMALLEST_SIGMA <= s <= LARGEST_SIGMA for s in levels)
    if not levels or not falling or not in_range:
        shown = ", ".join(f"{sigma:g}" for sigma in levels[:5]) or "none"
        raise SamplerConfigError(
            f"sigmas are {shown}{', ...' if len(levels) > 5 else ''}. Give falling noise levels in "
            f"data units, from {LARGEST_SIGMA:g} to {SMALLEST_SIGMA:g}, such as 80,10,1,0.1."
        )
    return levels


def parse_sigmas(text: str) -> tuple[float, ...]:
    """Noise levels from a list like "80,10,1,0.1", or from a file of numbers.

    Raises:
        SamplerConfigError: no such list, or a file that cannot be read.
    """
    words = text
    try:
        if is_file(text):
            words = Path(text).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise SamplerConfigError(
            f"sigmas file {text} cannot be read ({error}). Give a file of falling numbers."
        ) from error
    try:
        sigmas = [float(word) for word in words.replace(",", " ").split()]
    except ValueError as error:
        raise SamplerConfigError(
            f"sigmas {shown(text)} are no list of numbers, and no file. Give falling noise levels, "
            "such as 80,10,1,0.1."
        ) from error
    return checked_sigmas(sigmas)


def check_steps(steps: int, fewest: int = 1) -> None:
    """Raise SamplerConfigError unless a run can have so many steps."""
    if steps < fewest:
        raise SamplerConfigError(f"steps is {steps}. Give at least {fewest}.")
    if steps > MOST_STEPS:
        raise SamplerConfigError(f"steps is {steps}. Give at most {MOST_STEPS:,}.")


def scale_at(scales: Sequence[int | None], t: float) -> int | None:
    """The scale calibrated nearest to time t, where scales[j] belongs to t = (j + 1) / len."""
    return scales[min(max(round(t * len(scales)), 1), len(scales)) - 1]
