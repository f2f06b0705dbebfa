"""Wiener filter and nearest training image, against numpy in float64."""

import numpy as np
import pytest
import torch
from asked import at
from small_index import small_images

from patchindex.images import to_unit
from sampler.schedule import plan_steps
from sampler.studies.baselines import WienerFilter, nearest_images, wiener_denoiser

IMAGES = small_images(200, 6, channels=2)


def numpy_wiener(images: np.ndarray, y: np.ndarray, sigma: float) -> np.ndarray:
    flat = (images.astype(np.float64) / 127.5 - 1).reshape(len(images), -1)
    mean = flat.mean(axis=0)
    covariance = (flat - mean).T @ (flat - mean) / len(flat)
    noisy = covariance + sigma**2 * np.eye(len(mean))
    found = mean + (y.reshape(len(y), -1) - mean) @ np.linalg.solve(noisy, covariance)
    return found.reshape(y.shape)


@pytest.mark.parametrize("sigma", [0.08, 1.0, 80.0])
def test_the_wiener_filter_is_the_gaussian_posterior_mean(sigma, rng) -> None:
    y = rng.standard_normal((5, 2, 6, 6)).astype(np.float32) * (0.3 + sigma)
    found = WienerFilter.of(IMAGES).denoise(torch.from_numpy(y), sigma)
    # float32 sums of 200 images: rounding of the covariance, over the noise that it is added to
    tolerance = 2e-5 * max(1, sigma) / min(1, sigma**2)
    np.testing.assert_allclose(found, numpy_wiener(IMAGES.pixels, y, sigma), atol=tolerance)


def test_each_sample_meets_the_filter_of_its_own_class(rng) -> None:
    xt = torch.from_numpy(rng.standard_normal((3, 2, 6, 6)).astype(np.float32))
    (step, *_) = plan_steps((3,), 2, "cosine")
    found = at(wiener_denoiser(IMAGES, torch.tensor([4, 1, 4])), xt, step)
    sigma = np.sqrt((1 - step.alpha_bar) / step.alpha_bar)
    for i, label in enumerate([4, 1, 4]):
        members = IMAGES.pixels[IMAGES.labels == label]
        y = xt[i : i + 1].numpy() / np.sqrt(step.alpha_bar)
        np.testing.assert_allclose(found[i : i + 1], numpy_wiener(members, y, sigma), atol=1e-2)


def test_the_nearest_image_is_the_nearest_of_all(rng, monkeypatch) -> None:
    monkeypatch.setattr("sampler.studies.baselines.BLOCK_IMAGES", 64)
    images = rng.uniform(-1, 1, (7, 2, 6, 6)).astype(np.float32)
    where, distance = nearest_images(torch.from_numpy(images), IMAGES)
    unit = IMAGES.pixels.astype(np.float64) / 127.5 - 1
    expected = np.sqrt(((images[:, None] - unit[None]) ** 2).sum(axis=(2, 3, 4)))
    np.testing.assert_array_equal(where, expected.argmin(axis=1))
    np.testing.assert_allclose(distance, expected.min(axis=1), rtol=1e-5)


def test_a_training_image_is_its_own_nearest_at_distance_zero() -> None:
    where, distance = nearest_images(to_unit(IMAGES.tensor[150:153]), IMAGES)
    assert where.tolist() == [150, 151, 152]
    assert distance.max() == 0
