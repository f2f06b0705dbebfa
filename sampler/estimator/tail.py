"""Draws from a dictionary with known probabilities, to stand for what retrieval left out."""

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from patchindex import BorderSignature, PatchGeometry


def uniform_draws(
    members: Int[ndarray, " n"],
    signature: BorderSignature,
    geometry: PatchGeometry,
    num_draws: int,
    rng: np.random.Generator,
) -> Int[ndarray, " m"]:
    """Ids of patches drawn without replacement, each set of them equally likely; ascending.

    Args:
        members: images that may be drawn from.
        num_draws: at most the number of legal patches, which then are all drawn.
    """
    num_patches = len(members) * signature.num_centers
    drawn = rng.choice(num_patches, num_draws, replace=False, shuffle=False)
    image, center = np.divmod(drawn, signature.num_centers)
    row, col = np.divmod(center, len(signature.cols.centers))
    rows, cols = signature.rows.centers.start + row, signature.cols.centers.start + col
    return np.sort((members[image] * geometry.height + rows) * geometry.width + cols)
