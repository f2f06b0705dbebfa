"""The published reverse process in float64, written out step by step (paper.md section 7.2)."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy import ndarray

Denoiser = Callable[[ndarray, float, int], ndarray]  # (xt, alpha_bar, patch_size) -> mean


def legacy_cosine(t: float) -> float:
    """alpha_bar(t) = cos(pi t / 2.016)^2, the schedule of the authors' code."""
    return float(np.cos(np.pi * t / 2.016) ** 2)


def reverse_process(
    denoiser: Denoiser,
    noise: ndarray,
    scales: Sequence[int],
    *,
    steps: int,
    reference_steps: bool = False,
) -> ndarray:
    """The image at t = 0; scales[i - 1] belongs to t = i / steps.

    Args:
        reference_steps: start at t = 1 - 1/steps and use scales[i], as the authors' code does.
    """
    x = np.asarray(noise, dtype=np.float64)
    for i in range(steps - 1 if reference_steps else steps, 0, -1):
        patch_size = scales[i] if reference_steps else scales[i - 1]
        now, after = legacy_cosine(i / steps), legacy_cosine((i - 1) / steps)
        mean = denoiser(x, now, patch_size)
        score = (np.sqrt(now) * mean - x) / (1 - now)
        eps = -np.sqrt(1 - now) * score
        x = np.sqrt(after / now) * x + (np.sqrt(1 - after) - np.sqrt(after / now * (1 - now))) * eps
    return x
