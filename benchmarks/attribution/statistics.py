"""Rank correlation and its uncertainty."""

from collections.abc import Callable
from math import nan

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

LEAST_PAIRS = 3


def ranks(values: Float[ndarray, " n"]) -> Float[ndarray, " n"]:
    """1 for the smallest value; equal values share the mean of their ranks.

    Example:
        >>> ranks(np.array([5.0, 2.0, 5.0]))
        array([2.5, 1. , 2.5])
    """
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    of_value: Float[ndarray, " m"] = last - (counts - 1) / 2
    return of_value[inverse]


def spearman(values: Float[ndarray, " n"], others: Float[ndarray, " n"]) -> float:
    """Correlation of the ranks; nan for fewer than three pairs, or where all of one are equal.

    Example:
        >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([1.0, 4.0, 9.0]))
        1.0
    """
    if len(values) < LEAST_PAIRS:
        return nan
    first, second = ranks(values), ranks(others)
    first, second = first - first.mean(), second - second.mean()
    scale = np.sqrt((first @ first) * (second @ second))
    return float(first @ second / scale) if scale > 0 else nan


def finite_mean(values: Float[ndarray, " n"]) -> float:
    """Mean of the values that are not nan; nan if none is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else nan


def bootstrap_interval(
    statistic: Callable[[Int[ndarray, " num"]], float],
    num: int,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % percentile interval of a statistic over units that are drawn with replacement.

    Args:
        statistic: of the units at these positions, some of which come more than once; draws for
            which it is nan are left out.
        num: how many units there are. They should be independent: all pairs of one state are one.

    Returns:
        The lower and upper end; nan and nan where no draw had a value.

    Example:
        >>> bootstrap_interval(lambda chosen: float(values[chosen].mean()), len(values))
    """
    rng = np.random.default_rng(seed)
    found = np.array([statistic(rng.integers(num, size=num)) for _ in range(draws)])
    found = found[np.isfinite(found)]
    if not len(found):
        return nan, nan
    low, high = np.quantile(found, (0.025, 0.975)).tolist()
    return low, high
