"""The Pareto shape of importance weights: the slow formulas, known distributions, poor tails."""

from math import inf, sqrt

import numpy as np
import pytest
import torch
from arviz_stats.base import array_stats
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.pareto_shape import k_hat as reference_k_hat
from reference.pareto_shape import zhang_stephens

from sampler.estimator.intervals import pareto_k_hat, tail_length


def pareto_draws(rng: np.random.Generator, k: float, shape: tuple[int, int]) -> torch.Tensor:
    """Draws of the generalized Pareto distribution with scale 1, by inverting its tail."""
    return torch.from_numpy((rng.random(shape) ** -k - 1) / k)


def log_normal(rng: np.random.Generator, spread: float, shape: tuple[int, int]) -> torch.Tensor:
    return torch.from_numpy(np.exp(spread * rng.standard_normal(shape)))


@pytest.mark.parametrize("num_draws", [21, 60, 200, 1000, 5000])
@pytest.mark.parametrize("spread", [0.01, 1.0, 6.0])
def test_the_fit_is_that_of_the_papers_formulas(rng, num_draws, spread) -> None:
    weights = log_normal(rng, spread, (3, num_draws))
    expected = [reference_k_hat(row) for row in weights.tolist()]
    # both are float64; products of up to 8 terms before the logarithm cost a few units
    np.testing.assert_allclose(pareto_k_hat(weights), expected, rtol=1e-9, atol=1e-9)


# where a tail is as long rounded down, as ArviZ has it, as rounded up, as the papers have it
@pytest.mark.parametrize("num_draws", [60, 200, 400, 900, 4900])
@pytest.mark.parametrize("spread", [0.01, 1.0, 6.0])
def test_the_fit_is_that_of_arviz(rng, num_draws, spread) -> None:
    weights = log_normal(rng, spread, (3, num_draws))
    expected = [array_stats.psislw(-np.log(row))[1] for row in weights.numpy()]
    np.testing.assert_allclose(pareto_k_hat(weights), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("k", [0.2, 0.5, 1.0])
def test_the_shape_of_a_known_distribution_is_found(rng, k) -> None:
    q, m = 200, 5000
    tail = tail_length(m)
    found = pareto_k_hat(pareto_draws(rng, k, (q, m)))
    expected = (tail * k + 5) / (tail + 10)
    # the fit's asymptotic standard deviation is (1 + k) / sqrt(tail), its bias about 1 / tail
    deviation = (1 + k) / sqrt(tail)
    assert abs(float(found.mean()) - expected) < 4 * deviation / sqrt(q) + 2 / tail
    assert 0.7 * deviation < float(found.std()) < 1.3 * deviation


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.sampled_from([1e-290, 1e-3, 1.0, 7.0, 1e290]),
)
def test_unit_and_order_of_the_weights_change_nothing(seed, scale) -> None:
    rng = np.random.default_rng(seed)
    weights = log_normal(rng, 1.5, (2, 300))
    shuffled = weights[:, torch.from_numpy(rng.permutation(300))]
    np.testing.assert_allclose(pareto_k_hat(scale * shuffled), pareto_k_hat(weights), atol=1e-8)


def test_a_query_does_not_depend_on_the_others(rng) -> None:
    weights = log_normal(rng, 2, (5, 400))
    weights[1], weights[2], weights[3, 7:] = 1, 0, 0
    alone = torch.cat([pareto_k_hat(row[None]) for row in weights])
    np.testing.assert_allclose(pareto_k_hat(weights), alone, rtol=1e-12)


@pytest.mark.parametrize("num_draws", [0, 1, 4, 20])
def test_too_few_draws_say_nothing(num_draws) -> None:
    assert pareto_k_hat(torch.ones(2, num_draws)).tolist() == [inf, inf]


@pytest.mark.parametrize("nonzero", [0, 1, 4])
def test_few_draws_with_all_the_weight_are_unsafe(nonzero) -> None:
    weights = torch.zeros(1, 500)
    weights[0, :nonzero] = torch.arange(1, nonzero + 1)
    assert pareto_k_hat(weights).item() == inf


def test_equal_weights_are_bounded_and_safe() -> None:
    weights = torch.full((2, 500), 0.3)
    weights[1, :300] = 0  # many patches dropped, the others alike
    assert pareto_k_hat(weights).tolist() == [-inf, -inf]


def test_few_weights_above_equal_ones_are_unsafe() -> None:
    weights = torch.ones(1, 500)
    weights[0, :3] = torch.tensor([2.0, 5.0, 1000.0])
    assert pareto_k_hat(weights).item() == inf


def test_nearly_equal_largest_weights_are_safe() -> None:
    weights = torch.ones(1, 500)
    weights[0, :67] = 3  # the quartile and the largest are one value
    assert -inf < pareto_k_hat(weights).item() < 0


def test_ties_with_the_threshold_do_not_count(rng) -> None:
    """Of 68 in the tail, 40 exceed; the fit is that of 40 exceedances, the grid a little finer."""
    exceedances = np.sort(rng.pareto(2, 40))
    weights = torch.from_numpy(np.concatenate([np.ones(460), 1 + exceedances]))
    expected = (40 * zhang_stephens(exceedances.tolist()) + 5) / 50
    assert pareto_k_hat(weights[None]).item() == pytest.approx(expected, abs=0.01)


def test_weights_over_hundreds_of_decades_are_unsafe_and_finite() -> None:
    weights = (-torch.linspace(0, 700, 400, dtype=torch.float64)).exp()
    mostly_zero = weights.clone()
    mostly_zero[12:] = 0
    found = pareto_k_hat(torch.stack([weights, mostly_zero]))
    assert torch.isfinite(found).all()
    assert (found > 0.7).all()


def test_an_exponential_tail_on_the_grid_is_no_division_by_zero() -> None:
    """101 in the tail: 40 grid points, and theta = 0 at j = 3 where quartile and largest agree."""
    weights = torch.zeros(1, 1112)
    weights[0, : tail_length(1112)] = 2
    assert torch.isfinite(pareto_k_hat(weights)).all()


def test_single_precision_weights_are_fitted_in_double(rng) -> None:
    weights = log_normal(rng, 1, (2, 300)).float()
    found = pareto_k_hat(weights)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, pareto_k_hat(weights.double()), rtol=0, atol=0)
