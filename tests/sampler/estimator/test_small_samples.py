"""Intervals from few draws: Student's quantiles, and coverage where plain errors fall short."""

import numpy as np
import pytest
import torch

from sampler.estimator.intervals import t_quantile, widening

# published tables of the 97.5 % quantile
TABLE = {2: 4.303, 3: 3.182, 5: 2.571, 10: 2.228, 30: 2.042, 120: 1.980}


@pytest.mark.parametrize(("degrees", "quantile"), TABLE.items())
def test_quantiles_are_those_of_the_tables(degrees: int, quantile: float) -> None:
    assert float(t_quantile(torch.tensor(float(degrees)))) == pytest.approx(quantile, rel=8e-3)


def test_many_even_draws_are_not_widened() -> None:
    draws = torch.from_numpy(np.random.default_rng(0).standard_normal((20_000, 3, 1)))
    np.testing.assert_allclose(widening(draws), 1, atol=1e-3)


def test_draws_that_are_all_alike_are_not_widened() -> None:
    assert torch.equal(widening(torch.full((32, 2, 3), 0.25)), torch.ones(2))


def test_one_draw_that_carries_all_is_widened_most_whatever_the_other_channels_do() -> None:
    draws = torch.from_numpy(np.random.default_rng(0).standard_normal((80, 1, 3)))
    draws[:, :, 1] = 0
    draws[7, :, 1] = 5.0
    assert float(widening(draws)[0]) == pytest.approx(2.105, abs=0.005)  # 2.08 degrees


def test_intervals_of_a_skewed_mean_cover_more_and_nearly_enough() -> None:
    rng = np.random.default_rng(1)
    draws = torch.from_numpy(np.exp(1.2 * rng.standard_normal((60, 4000, 1))))
    error = (draws.mean(0)[:, 0] - np.exp(0.72)).abs()
    standard_error = draws.std(0)[:, 0] / 60**0.5
    plain = (error <= 1.96 * standard_error).double().mean()
    wide = (error <= 1.96 * widening(draws - draws.mean(0)) * standard_error).double().mean()
    assert plain < 0.91
    assert plain + 0.02 < wide < 0.97
