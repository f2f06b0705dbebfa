"""Plain float64 score machines, one pixel at a time, sharing no code with patchindex or sampler.

Slow on purpose: every dictionary is written out window by window, then averaged. A training patch
is legal where its window leaves the image in the same cells as the query's: no case analysis.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy import ndarray
from numpy.lib.stride_tricks import sliding_window_view


@dataclass(frozen=True)
class Posterior:
    """Arrays over the pixels asked for: mean and score [c, ...], the others [...]."""

    mean: ndarray
    log_mass: ndarray
    effective_sample_size: ndarray
    score: ndarray


def posterior(
    xt: ndarray,
    alpha_bar: float,
    images: ndarray,
    patch_size: int | None,
    *,
    machine: str = "ELS",
    boundary: str = "zeros",
) -> Posterior:
    """The exact posterior of every pixel of one state [c, h, w]; images are uint8 [n, c, h, w]."""
    height, width = xt.shape[1:]
    pixels = [(y, x) for y in range(height) for x in range(width)]
    at = posterior_at(pixels, xt, alpha_bar, images, patch_size, machine=machine, boundary=boundary)
    return Posterior(
        at.mean.reshape(xt.shape),
        at.log_mass.reshape(height, width),
        at.effective_sample_size.reshape(height, width),
        at.score.reshape(xt.shape),
    )


def posterior_at(
    pixels: Iterable[tuple[int, int]],
    xt: ndarray,
    alpha_bar: float,
    images: ndarray,
    patch_size: int | None,
    *,
    machine: str = "ELS",
    boundary: str = "zeros",
) -> Posterior:
    """The posterior of some pixels (y, x) only, along one axis."""
    pixels = list(pixels)
    state = np.asarray(xt, dtype=np.float64)
    y, sigma_sq = state / np.sqrt(alpha_bar), (1 - alpha_bar) / alpha_bar
    dictionary = ideal_dictionary if machine == "IS" else local_dictionary(machine, boundary)
    found = []
    for pixel in pixels:
        dist_sq, centers = dictionary(y, as_unit(images), pixel, patch_size)
        found.append(weighted(-dist_sq / (2 * sigma_sq), centers))
    mean = np.stack([entry[0] for entry in found], axis=1)
    here = np.stack([state[:, i, j] for i, j in pixels], axis=1)
    return Posterior(
        mean,
        np.array([entry[1] for entry in found]),
        np.array([entry[2] for entry in found]),
        (np.sqrt(alpha_bar) * mean - here) / (1 - alpha_bar),
    )


def as_unit(images: ndarray) -> ndarray:
    """Pixels 0..255 in [-1, 1]."""
    return images.astype(np.float64) / 127.5 - 1


def weighted(log_weights: ndarray, centers: ndarray) -> tuple[ndarray, float, float]:
    """(mean, log of the summed weights, effective sample size) of centers [p, c]."""
    largest = log_weights.max()
    weights = np.exp(log_weights - largest)
    share = weights / weights.sum()
    return share @ centers, largest + np.log(weights.sum()), 1 / (share**2).sum()


def ideal_dictionary(
    y: ndarray, images: ndarray, pixel: tuple[int, int], patch_size: int | None
) -> tuple[ndarray, ndarray]:
    """Squared distances [n] to whole images, and each image's value [n, c] at the pixel."""
    del patch_size
    return ((images - y) ** 2).sum(axis=(1, 2, 3)), images[:, :, pixel[0], pixel[1]]


def local_dictionary(machine: str, boundary: str) -> Callable[..., tuple[ndarray, ndarray]]:
    """The function that returns squared distances [p] and centers [p, c] of one pixel's patches."""

    def dictionary(
        y: ndarray, images: ndarray, pixel: tuple[int, int], patch_size: int
    ) -> tuple[ndarray, ndarray]:
        query = padded_windows(y[None], patch_size, boundary)[0][:, pixel[0], pixel[1]]
        windows = padded_windows(images, patch_size, boundary)
        legal = legal_centers(machine, boundary, pixel, patch_size, y.shape[1:])
        patches = np.moveaxis(windows[:, :, legal], 1, 2)
        dist_sq = ((patches - query) ** 2).sum(axis=(2, 3, 4))
        centers = np.moveaxis(images[:, :, legal], 1, 2)
        return dist_sq.ravel(), centers.reshape(dist_sq.size, -1)

    return dictionary


def padded_windows(images: ndarray, patch_size: int, boundary: str) -> ndarray:
    """The window around every pixel [n, c, h, w, s, s]; zeros or wrapped cells outside."""
    radius = patch_size // 2
    around = [(0, 0), (0, 0), (radius, radius), (radius, radius)]
    padded = np.pad(images, around, mode="constant" if boundary == "zeros" else "wrap")
    return sliding_window_view(padded, (patch_size, patch_size), axis=(2, 3))


def legal_centers(
    machine: str, boundary: str, pixel: tuple[int, int], patch_size: int, size: tuple[int, int]
) -> ndarray:
    """Which places [h, w] of a training image may stand for this pixel."""
    here = np.zeros(size, dtype=bool)
    here[pixel] = True
    if machine == "LS":
        return here
    if boundary == "circular":
        return np.ones(size, dtype=bool)
    outside = padded_windows(np.ones((1, 1, *size)), patch_size, "zeros")[0, 0] == 0
    wanted = outside[pixel] if boundary == "zeros" else np.zeros_like(outside[pixel])
    return (outside == wanted).all(axis=(2, 3))
