"""Ranks, Spearman and the bootstrap of benchmarks/attribution against SciPy and known answers."""

import math

import numpy as np
import pytest

from benchmarks.attribution.statistics import bootstrap_interval, ranks, spearman

scipy_stats = pytest.importorskip("scipy.stats")


def test_equal_values_share_the_mean_of_their_ranks() -> None:
    assert ranks(np.array([5.0, 2.0, 5.0, 9.0])).tolist() == [2.5, 1.0, 2.5, 4.0]


@pytest.mark.parametrize("distinct", [3, 1000])  # many ties, and hardly any
def test_spearman_is_that_of_scipy(rng: np.random.Generator, distinct: int) -> None:
    values = rng.integers(distinct, size=50).astype(float)
    others = values + rng.integers(distinct, size=50)
    expected = scipy_stats.spearmanr(values, others).statistic
    assert spearman(values, others) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("values", "others"),
    [([1.0, 2.0], [1.0, 2.0]), ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0])],
    ids=["two pairs", "all equal"],
)
def test_spearman_is_nan_where_it_has_no_meaning(values: list[float], others: list[float]) -> None:
    assert math.isnan(spearman(np.array(values), np.array(others)))


def test_bootstrap_intervals_of_a_mean_are_its_normal_ones(rng: np.random.Generator) -> None:
    values = rng.standard_normal(400)
    low, high = bootstrap_interval(lambda chosen: float(values[chosen].mean()), 400, draws=4000)
    error = 1.96 * values.std() / 20
    # 4,000 draws know a quantile's place to within a tenth of the interval
    assert low == pytest.approx(values.mean() - error, abs=0.1 * error)
    assert high == pytest.approx(values.mean() + error, abs=0.1 * error)


def test_equal_seeds_give_equal_intervals() -> None:
    values = np.arange(9.0)

    def mean(chosen: np.ndarray) -> float:
        return float(values[chosen].mean())

    assert bootstrap_interval(mean, 9, seed=1) == bootstrap_interval(mean, 9, seed=1)
    assert bootstrap_interval(mean, 9, seed=1) != bootstrap_interval(mean, 9, seed=2)


def test_draws_without_a_value_are_left_out() -> None:
    assert bootstrap_interval(lambda chosen: math.nan if chosen[0] else 2.0, 2) == (2.0, 2.0)
    assert all(map(math.isnan, bootstrap_interval(lambda _: math.nan, 2)))
