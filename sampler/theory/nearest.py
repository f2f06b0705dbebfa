"""The training image nearest to each of some images."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchindex import ImageSet
from patchindex.images import to_unit

BLOCK_IMAGES = 4096


def nearest_images(
    images: Float[Tensor, "b c h w"], training: ImageSet
) -> tuple[Int[Tensor, " b"], Float[Tensor, " b"]]:
    """Position of the nearest training image, and the Euclidean distance to it."""
    flat = images.flatten(1)
    best = flat.new_full((len(flat),), torch.inf)
    where = torch.zeros_like(best, dtype=torch.long)
    for start, block in zip(
        range(0, len(training), BLOCK_IMAGES), training.tensor.split(BLOCK_IMAGES), strict=True
    ):
        # of differences: an expanded square would lose the small distances of memorised images
        mode = "donot_use_mm_for_euclid_dist"
        distances = torch.cdist(flat, to_unit(block.to(flat.device)).flatten(1), compute_mode=mode)
        found, position = distances.min(1)
        nearer = found < best
        best, where = torch.where(nearer, found, best), torch.where(nearer, position + start, where)
    return where, best
