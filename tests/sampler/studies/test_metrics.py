"""Pearson r, its square, and R2, against numpy."""

import numpy as np
import pytest
import torch

from sampler.studies.metrics import coefficient_of_determination, pearson_r


@pytest.fixture
def truth(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((4, 3, 5, 6))


@pytest.fixture
def found(rng: np.random.Generator, truth: np.ndarray) -> np.ndarray:
    noise = np.array([0.01, 0.5, 2.0, 20.0])[:, None, None, None]
    return 0.7 * truth + 0.2 + noise * rng.standard_normal(truth.shape)


def test_pearson_r_is_numpys_correlation_of_each_image(found, truth) -> None:
    ours = pearson_r(torch.from_numpy(found), torch.from_numpy(truth))
    expected = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(found, truth, strict=True)]
    assert ours.shape == (4,)
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_pearson_r_ignores_scale_and_offset_and_sees_the_sign(truth) -> None:
    x = torch.from_numpy(truth)
    np.testing.assert_allclose(pearson_r(3 * x - 5, x), np.ones(4), atol=1e-6)
    np.testing.assert_allclose(pearson_r(-x, x), -np.ones(4), atol=1e-6)


def test_r2_is_the_share_of_variance_explained_of_each_image(found, truth) -> None:
    ours = coefficient_of_determination(torch.from_numpy(found), torch.from_numpy(truth))
    sse = ((found - truth) ** 2).sum(axis=(1, 2, 3))
    sst = ((truth - truth.mean(axis=(1, 2, 3), keepdims=True)) ** 2).sum(axis=(1, 2, 3))
    assert ours.shape == (4,)
    np.testing.assert_allclose(ours, 1 - sse / sst, rtol=1e-6)


def test_r2_sees_an_offset_that_pearson_r_does_not(truth) -> None:
    x = torch.from_numpy(truth)
    assert float(pearson_r(x + 10, x).min()) > 0.999
    assert float(coefficient_of_determination(x + 10, x).max()) < -10
    assert float(coefficient_of_determination(x, x).min()) == 1
