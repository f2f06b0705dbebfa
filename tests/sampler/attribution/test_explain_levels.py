"""Numbers as levels: read back, they are within half a level of what they were."""

import numpy as np

from sampler.attribution.viewer.payload import linear_levels, log_levels, share_levels


def test_linear_levels_reach_from_end_to_end(rng) -> None:
    values = rng.uniform(-3, 2, 1000).astype(np.float32)
    levels = linear_levels(values, -2.5, 2.0)
    back = -2.5 + levels * 4.5 / 255
    np.testing.assert_allclose(back, values.clip(-2.5, 2), atol=4.5 / 255 / 2 + 1e-6)


def test_logarithmic_levels_keep_zero_apart(rng) -> None:
    values = 10 ** rng.uniform(-5, 3, 1000)
    values[::7] = 0
    levels, (low, high) = log_levels(values)
    assert ((levels == 0) == (values == 0)).all()
    back = 10 ** (low + (high - low) * (levels[values > 0] - 1.0) / 254)
    np.testing.assert_allclose(back, values[values > 0], rtol=0.04)


def test_equal_values_and_none_have_a_range(rng) -> None:
    del rng
    for values in (np.full(5, 2.0), np.zeros(5)):
        levels, (low, high) = log_levels(values)
        assert high > low
        assert (levels == (values > 0)).all()


def test_shares_and_their_rest_sum_to_one(rng) -> None:
    weights = rng.dirichlet(np.ones(5), 200)[:, :4]
    levels, rest = share_levels(weights)
    assert (levels.sum(-1, dtype=np.int64) + rest == 65535).all()
    np.testing.assert_allclose(levels / 65535, weights, atol=1e-5)
