"""Plain float64 denoisers of two theories of locality, a coordinate or a crop at a time.

They share no code with sampler: images are values in [-1, 1], [n, c, h, w]; y is one state.
"""

import numpy as np
from numpy import ndarray


def softmax_mean(distance_sq: ndarray, sigma: float, values: ndarray) -> ndarray:
    """Mean over images of values [n, ...] under weights exp(-distance_sq / (2 sigma^2))."""
    exponent = -(distance_sq - distance_sq.min()) / (2 * sigma**2)
    weights = np.exp(exponent)
    return np.tensordot(weights / weights.sum(), values, axes=1)


def mask_denoiser(images: ndarray, y: ndarray, sigma: float, threshold: float) -> ndarray:
    """Each coordinate's mean by the distance where its row of the Wiener filter is large."""
    flat = images.reshape(len(images), -1).astype(np.float64)
    state = y.reshape(-1).astype(np.float64)
    variance, axes = np.linalg.eigh(np.cov(flat.T, bias=True))
    wiener = axes @ np.diag(variance / (variance + sigma**2)) @ axes.T
    rows = np.array([row / row[m] if abs(row[m]) >= 1e-6 else row for m, row in enumerate(wiener)])
    largest = np.abs(rows).max()
    mean = np.empty_like(state)
    for m, row in enumerate(rows):
        kept = np.abs(row) >= threshold * largest
        distance_sq = ((state[kept] - flat[:, kept]) ** 2).sum(axis=1)
        mean[m] = softmax_mean(distance_sq, sigma, flat[:, m])
    return mean.reshape(y.shape)


def crops_denoiser(images: ndarray, y: ndarray, sigma: float, side: int) -> ndarray:
    """The average over all crops of their posterior means, pixel by pixel."""
    images, y = images.astype(np.float64), y.astype(np.float64)
    height, width = y.shape[1:]
    tall, wide = min(side, height), min(side, width)
    total, count = np.zeros_like(y), np.zeros_like(y)
    for top in range(height - tall + 1):
        for left in range(width - wide + 1):
            crop = (slice(None), slice(top, top + tall), slice(left, left + wide))
            theirs = images[(slice(None), *crop)]
            distance_sq = ((y[crop] - theirs) ** 2).sum(axis=(1, 2, 3))
            total[crop] += softmax_mean(distance_sq, sigma, theirs)
            count[crop] += 1
    return total / count
