r"""Confidence of the sampled tail: Pareto shape k-hat, and wider intervals for few draws.

The largest weights, less a threshold u, follow a generalized Pareto distribution with some shape k:
the weights have finite moments up to order 1/k. Below about 0.7 the estimate and its standard error
can be believed; above, a few draws carry the sum, and others as large may not have been drawn yet
(Vehtari et al., arXiv 1507.02646). The fit is that of Zhang and Stephens (Technometrics 51, 2009):
with theta = -k / scale, the profile log-likelihood of n exceedances x is

    l(theta) = n (log(-theta / k) - k - 1),      k(theta) = \sum log(1 - theta x) / n,

and theta's posterior mean over a grid, each point weighed by exp(l), is put into k(theta).

The error of a ratio N / Z is a sum over draws of their influence u = w c - mean w. Where few draws
carry it, its spread is estimated from these few, and 1.96 standard errors are too narrow. Two
corrections, both of which vanish as draws become many:

- Student's t in place of the normal distribution. The variance of a sample variance is
  s^4 (kurtosis - 1) / G for G draws, that of nu degrees of freedom 2 s^4 / nu: hence
  nu = 2 G / (kurtosis - 1).
- One more image, with the average weight and a center one standard deviation of the training pixels
  off: what a hundred draws of plain background have not met, a hundred others may.
"""

from math import ceil, isqrt, sqrt

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

FEWEST_EXCEEDANCES = 5
PRIOR_SHAPE, PRIOR_COUNT = 0.5, 10
# of the largest exceedance; less than that is as good as nothing, and FACTORS terms of the
# likelihood, each up to about 3 / SMALLEST_QUARTILE, have a product within float64
SMALLEST_QUARTILE = 1e-30
FACTORS = 8
# an exponential tail is theta = 0, where k / theta is 0 / 0
SMALLEST_THETA = 1e-9
NORMAL = 1.959964  # 97.5 % quantile of the normal distribution
# of 1 / degrees and its powers in the quantile of Student's t
T_TERMS = (
    (NORMAL**3 + NORMAL) / 4,
    (5 * NORMAL**5 + 16 * NORMAL**3 + 3 * NORMAL) / 96,
    (3 * NORMAL**7 + 19 * NORMAL**5 + 17 * NORMAL**3 - 15 * NORMAL) / 384,
    (79 * NORMAL**9 + 776 * NORMAL**7 + 1482 * NORMAL**5 - 1920 * NORMAL**3 - 945 * NORMAL) / 92160,
)
FEWEST_DEGREES = 2.0  # of freedom, where few draws carry an error


def pareto_k_hat(weights: Float[Tensor, "q m"]) -> Float[Tensor, " q"]:
    """The shape of each query's largest weights; unsafe (inf) wherever it cannot be known.

    It is inf where fewer than 5 weights exceed the threshold: too few draws, no weight at all, or
    few draws with all the weight. It is -inf where the largest weights are all equal and positive:
    they are bounded, and many draws share the bound.

    Args:
        weights: importance weights w / q of all draws, finite and not negative, in any unit; zeros
            (draws that were dropped) count as draws.
    """
    tail = tail_length(weights.shape[1])
    if tail < FEWEST_EXCEEDANCES:
        return torch.full(weights.shape[:1], torch.inf, dtype=torch.float64, device=weights.device)
    largest = _largest_ascending(weights, tail + 1)
    threshold, exceedances = largest[0], largest[1:] - largest[0]
    count = (exceedances > 0).sum(0)
    k_hat = _fitted_shape(exceedances, count).masked_fill(count < FEWEST_EXCEEDANCES, torch.inf)
    return k_hat.masked_fill((count == 0) & (threshold > 0), -torch.inf)


def tail_length(num_draws: int) -> int:
    """How many of the draws are the tail: the smaller of a fifth and 3 sqrt(m), rounded up."""
    return ceil(min(num_draws / 5, 3 * sqrt(num_draws)))


def grid_points(tail: int) -> int:
    """How many values of theta are tried for so many exceedances."""
    return 30 + isqrt(tail)


def _largest_ascending(weights: Float[Tensor, "q m"], count: int) -> Float[Tensor, "count q"]:
    """The largest weights of each query in float64; queries last, so that sums run over rows."""
    if weights.device.type != "cpu":
        return weights.double().topk(count, dim=1).values.flip(1).T.contiguous()
    # NumPy selects and sorts with vector instructions: a quarter of the time of torch's topk
    chosen = np.partition(weights.detach().numpy(), -count, axis=1)[:, -count:]
    ascending = np.ascontiguousarray(np.sort(chosen, axis=1).T, dtype=np.float64)
    return torch.from_numpy(ascending)


def _fitted_shape(
    exceedances: Float[Tensor, "tail q"], count: Int[Tensor, " q"]
) -> Float[Tensor, " q"]:
    """The fitted k, drawn towards 1/2 as if by 10 further weights (PSIS, appendix C).

    Args:
        exceedances: ascending; zeros, which are ties with the threshold, count for nothing.
        count: of those that are not zero; where there are none the result means nothing.
    """
    # in units of the largest, so that the scale of the weights cannot over- or underflow
    x = exceedances / exceedances[-1].where(count > 0, 1.0)
    count = count.clamp(min=1)
    theta = _theta_grid(x, count)
    # one grid point at a time: all of them together would leave a processor's cache
    if x.device.type == "cpu":
        k = torch.stack([_shape_given(point, x, count) for point in theta])
    else:
        k = _shape_given(theta, x, count)
    log_likelihood = count * ((-theta / k).log() - k - 1)
    mean_theta = (log_likelihood.softmax(0) * theta).sum(0)
    k_hat = _shape_given(mean_theta, x, count)
    return (count * k_hat + PRIOR_COUNT * PRIOR_SHAPE) / (count + PRIOR_COUNT)


def _theta_grid(x: Float[Tensor, "tail q"], count: Int[Tensor, " q"]) -> Float[Tensor, "points q"]:
    """1 / max(x) + (1 - sqrt(points / (j - 1/2))) / (3 quartile) for j = 1 .. points.

    The largest x is 1; the quartile of n exceedances is number floor(n/4 + 1/2), ascending.
    """
    points = grid_points(len(x))
    rank = ((count + 2) // 4).clamp(min=1)
    quartile = x.gather(0, (len(x) - count + rank - 1)[None]).clamp(min=SMALLEST_QUARTILE)
    j = torch.arange(1, points + 1, dtype=x.dtype, device=x.device)
    theta = 1 + (1 - (points / (j - 0.5)).sqrt())[:, None] / (3 * quartile)
    return theta.where(theta.abs() > SMALLEST_THETA, SMALLEST_THETA)


def _shape_given(
    theta: Float[Tensor, "*points q"], x: Float[Tensor, "tail q"], count: Int[Tensor, " q"]
) -> Float[Tensor, "*points q"]:
    """The k that is most likely for this theta, or each: the mean of log(1 - theta x)."""
    terms = (-theta[..., None, :] * x).add_(1)
    whole = len(x) // FACTORS * FACTORS
    # a logarithm costs as much as ten products
    products = terms[..., :whole, :].unflatten(-2, (FACTORS, -1)).prod(-3)
    log_sum: Float[Tensor, "*points q"] = products.log().sum(-2)
    return (log_sum + terms[..., whole:, :].log().sum(-2)) / count


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
    n, (first, second, third, fourth) = degrees, T_TERMS
    return NORMAL + first / n + second / n**2 + third / n**3 + fourth / n**4
