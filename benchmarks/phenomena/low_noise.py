"""The reverse process carried on below the lowest noise of the paper's 20 steps."""

from collections.abc import Sequence
from dataclasses import replace
from math import atan, pi

from sampler.schedule import OFFSET, Step, noise_level, plan_steps


def steps_to_low_noise(
    scales: Sequence[int], *, levels: int, ratio: float, steps: int = 20
) -> list[Step]:
    """The published steps, then `levels` more, each with `ratio` times the noise of the last.

    Where the published process ends, at t = 1 / steps, this one goes on with the same, smallest
    scale. The times are those of the cosine schedule.
    """
    plan = plan_steps(scales, steps, "cosine")
    lowest = noise_level(plan[-1].alpha_bar)
    sigmas = [lowest * ratio**level for level in range(levels + 1)]
    below = [step_between(sigma, sigma * ratio, scales[0]) for sigma in sigmas]
    return [*plan[:-1], *below[:-1], replace(below[-1], t_next=0.0, alpha_bar_next=1.0)]


def step_between(sigma: float, sigma_next: float, patch_size: int) -> Step:
    """The step from one noise in data units to another."""
    return Step(
        t=time_of(sigma),
        t_next=time_of(sigma_next),
        patch_size=patch_size,
        alpha_bar=1 / (1 + sigma**2),
        alpha_bar_next=1 / (1 + sigma_next**2),
    )


def time_of(sigma: float) -> float:
    """The t at which the cosine schedule has this noise: its sigma is tan(pi t / 2.016)."""
    return 2 * (1 + OFFSET) / pi * atan(sigma)
