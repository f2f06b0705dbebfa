r"""Honest intervals from few effective draws: how much wider than the plain standard error.

The error of a ratio N / Z is a sum over draws of their influence u = w c - mean w. Where few draws
carry it, its spread is estimated from these few, and 1.96 standard errors are too narrow. Two
corrections, both of which vanish as draws become many:

- Student's t in place of the normal distribution. The variance of a sample variance is
  s^4 (kurtosis - 1) / G for G draws, that of nu degrees of freedom 2 s^4 / nu: hence
  nu = 2 G / (kurtosis - 1).
- One more image, with the average weight and a center one standard deviation of the training pixels
  off: what a hundred draws of plain background have not met, a hundred others may.
"""

import torch
from jaxtyping import Float
from torch import Tensor

NORMAL = 1.959964  # its 97.5 % quantile
FEWEST_DEGREES = 2.0


def widening(influence: Float[Tensor, "g q c"]) -> Float[Tensor, " q"]:
    """Student's over the normal quantile at 97.5 % for the channel with the fewest degrees."""
    offset = influence - influence.mean(0)
    second = offset.square().mean(0)
    # all draws alike: there is nothing to widen
    kurtosis = (offset**4).mean(0) / second.square().where(second > 0, 1.0)
    degrees = (
        2 * len(influence) / (kurtosis.amax(-1) - 1).clamp(min=torch.finfo(kurtosis.dtype).eps)
    )
    return t_quantile(degrees.clamp(min=FEWEST_DEGREES)) / NORMAL


def t_quantile(degrees: Float[Tensor, "*q"]) -> Float[Tensor, "*q"]:
    """97.5 % quantile of Student's t from 2 degrees on (Abramowitz and Stegun, 26.7.5)."""
    x, n = NORMAL, degrees
    first = (x**3 + x) / 4
    second = (5 * x**5 + 16 * x**3 + 3 * x) / 96
    third = (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384
    fourth = (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / 92160
    return x + first / n + second / n**2 + third / n**3 + fourth / n**4
