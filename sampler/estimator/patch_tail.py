r"""A tail of single patches, for a few pixels: each costs the time of a distance.

With head H and m of the dictionary's n patches drawn uniformly without replacement, of which those
in H are dropped,

    Z = \sum_H w + (n / m) \sum_{tail} w,      N = \sum_H w c + (n / m) \sum_{tail} w c

are unbiased whatever H is; mean = N / Z.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor

from patchindex import BorderSignature, PatchGeometry, PosteriorRecord
from patchindex.kernels import centers_of, patch_distances
from patchindex.records import shifted_weights
from sampler.estimator.intervals import pareto_k_hat
from sampler.estimator.query import Candidates


def uniform_draws(
    label_indices: Int[ndarray, " n"],
    signature: BorderSignature,
    geometry: PatchGeometry,
    num_draws: int,
    rng: np.random.Generator,
) -> Int[ndarray, " m"]:
    """Ids of patches drawn without replacement, each set of them equally likely; ascending.

    Args:
        label_indices: images that may be drawn from.
        num_draws: at most the number of legal patches, which then are all drawn.
    """
    num_patches = len(label_indices) * signature.num_centers
    drawn = rng.choice(num_patches, num_draws, replace=False, shuffle=False)
    image, center = np.divmod(drawn, signature.num_centers)
    row, col = np.divmod(center, len(signature.cols.centers))
    rows, cols = signature.rows.centers.start + row, signature.cols.centers.start + col
    return np.sort((label_indices[image] * geometry.height + rows) * geometry.width + cols)


def patch_tail(
    candidates: Candidates,
    windows: Float[Tensor, "q c s s"],
    sigma: float,
    head_ids: Int[Tensor, "q k"],
    drawn: Int[Tensor, " m"],
) -> PosteriorRecord:
    """Unbiased sums over all patches outside the head, and the variance that drawing adds."""
    dist_sq = patch_distances(
        candidates.pixels, windows, drawn, candidates.geometry, candidates.signature
    ).double()
    in_head = is_in_head(head_ids, drawn)
    log_max, weights = shifted_weights((-dist_sq / (2 * sigma**2)).masked_fill(in_head, -torch.inf))
    centers = centers_of(candidates.pixels, drawn).double()
    moments = torch.cat([torch.ones_like(centers[:, :1]), centers, centers**2], dim=1)
    c = centers.shape[1]
    sum_w, sum_wc = (weights @ moments[:, : 1 + c]).tensor_split([1], dim=1)
    sum_w2, sum_w2c, sum_w2c2 = (weights**2 @ moments).tensor_split([1, 1 + c], dim=1)

    exact = torch.full_like(log_max, -torch.inf)
    m, inverse = len(drawn), candidates.num_patches / len(drawn)
    # variance of a total under simple random sampling without replacement, dropped draws as zeros
    spread = inverse**2 * m / max(m - 1, 1) * (1 - 1 / inverse)
    return PosteriorRecord(
        log_max=log_max,
        sum_w=inverse * sum_w[:, 0],
        sum_wc=inverse * sum_wc,
        sum_w2=inverse * sum_w2[:, 0],
        sum_head=torch.zeros_like(log_max) if m < candidates.num_patches else sum_w[:, 0],
        var_w=spread * (sum_w2 - sum_w**2 / m)[:, 0],
        cov_wc=spread * (sum_w2c - sum_w * sum_wc / m),
        var_wc=spread * (sum_w2c2 - sum_wc**2 / m),
        num_scored=(~in_head).sum(-1),
        k_hat=pareto_k_hat(weights) if m < candidates.num_patches else exact,
        rounds=torch.zeros_like(log_max, dtype=torch.int64),
    )


def is_in_head(head_ids: Int[Tensor, "q k"], drawn: Int[Tensor, " m"]) -> Bool[Tensor, "q m"]:
    """Which draws are in the head of which query; `drawn` ascends."""
    place = torch.searchsorted(drawn, head_ids).clamp(max=len(drawn) - 1)
    hit = drawn[place] == head_ids
    # a miss scatters False where a hit may scatter True: add up instead of overwriting
    counts = place.new_zeros(len(head_ids), len(drawn), dtype=torch.int8)
    return counts.scatter_add_(1, place, hit.to(torch.int8)).bool()
