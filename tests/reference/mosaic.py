"""Mosaics by plain float64 search, one pixel at a time: nearest patches, and majorities."""

import numpy as np
from numpy import ndarray
from reference.score_machines import as_unit, local_dictionary


def nearest_centers(
    image: ndarray, training: ndarray, patch_size: int, boundary: str = "zeros"
) -> tuple[ndarray, ndarray]:
    """(center [c, h, w], squared distance [h, w]) of the legal patch nearest to each window.

    Args:
        image: [c, h, w] in [-1, 1]; training: uint8 [n, c, h, w].
    """
    channels, height, width = image.shape
    dictionary = local_dictionary("ELS", boundary)
    found, distance = np.empty((channels, height, width)), np.empty((height, width))
    for y in range(height):
        for x in range(width):
            dist_sq, centers = dictionary(
                image.astype(np.float64), as_unit(training), (y, x), patch_size
            )
            nearest = dist_sq.argmin()
            found[:, y, x], distance[y, x] = centers[nearest], dist_sq[nearest]
    return found, distance


def majority(image: ndarray) -> ndarray:
    """+1 or -1 [h, w]: the sign that most of each 3 x 3 window has; windows wrap around."""
    height, width = image.shape
    votes = np.empty((height, width))
    for y in range(height):
        for x in range(width):
            around = [
                image[(y + i) % height, (x + j) % width] for i in (-1, 0, 1) for j in (-1, 0, 1)
            ]
            votes[y, x] = 1 if sum(value > 0 for value in around) > 4 else -1
    return votes
