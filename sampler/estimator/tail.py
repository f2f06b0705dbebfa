r"""The tail of an estimate: random whole images, or random single patches.

With head H and m of the dictionary's n patches drawn uniformly without replacement, of which those
in H are dropped,

    Z = \sum_H w + (n / m) \sum_{tail} w,      N = \sum_H w c + (n / m) \sum_{tail} w c

are unbiased whatever H is; mean = N / Z. Anchors: DEANN (arXiv 2107.02736) and vAttention
(arXiv 2510.05688).

Single patches serve sets too small to draw whole images from. Otherwise images are drawn at random,
and every patch of them stands for all other images: one scan sums the patches of an image for all
pixels at a cost per patch that does not depend on the patch size, about a fifth of that of single
patches rescored for all pixels. Images are drawn in groups. A group's sum without the patches of
the head, which are summed apart, is one draw: with G groups of m images in all out of N,

    Z_tail = (N / m) \sum_g R_g,      var(Z_tail) = (N / m)^2 (1 - m / N) G s_R^2.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor

from patchindex import BorderSignature, PatchGeometry, PosteriorRecord
from patchindex.kernels import GroupMembers, centers_of, patch_distances
from patchindex.records import rescaling, shifted_weights
from sampler.estimator.intervals import pareto_k_hat, widening
from sampler.estimator.query import Candidates

IMAGES_PER_GROUP = 16  # fills a register of the scan
FEWEST_GROUPS = 32  # for a variance and a Pareto shape
# a group's sum less its part of the head, as a share of the sum, is rounding below this
ROUNDING = 1e-5


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


def truncated(record: PosteriorRecord, complete: Bool[Tensor, " q"]) -> PosteriorRecord:
    """A head without a tail: its error and its share are unknown unless it is the dictionary."""
    unknown = torch.where(complete, 0.0, torch.nan).double()
    return replace(
        record,
        sum_head=record.sum_head + unknown,
        var_w=record.var_w + unknown,
        cov_wc=record.cov_wc + unknown[:, None],
        var_wc=record.var_wc + unknown[:, None],
    )


def is_in_head(head_ids: Int[Tensor, "q k"], drawn: Int[Tensor, " m"]) -> Bool[Tensor, "q m"]:
    """Which draws are in the head of which query; `drawn` ascends."""
    place = torch.searchsorted(drawn, head_ids).clamp(max=len(drawn) - 1)
    hit = drawn[place] == head_ids
    # a miss scatters False where a hit may scatter True: add up instead of overwriting
    counts = place.new_zeros(len(head_ids), len(drawn), dtype=torch.int8)
    return counts.scatter_add_(1, place, hit.to(torch.int8)).bool()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageDraws:
    """Images drawn without replacement, each with the same probability.

    Attributes:
        groups: image numbers.
        num_images: images that were drawn from.
        group_of: the group of each image of the set, -1 where it was not drawn.
    """

    groups: Int[Tensor, "g m"]
    num_images: int
    group_of: Int[Tensor, " n"]

    @property
    def inverse_probability(self) -> float:
        """How many images each drawn one stands for."""
        return self.num_images / self.groups.numel()

    def to(self, device: torch.device) -> "ImageDraws":
        """The same on a device."""
        return replace(self, groups=self.groups.to(device), group_of=self.group_of.to(device))


def draw_images(
    label_indices: Int[ndarray, " n"],
    brightness: Float[ndarray, " n_all"],
    num_draws: int,
    rng: np.random.Generator,
    *,
    fewest_groups: int = FEWEST_GROUPS,
) -> ImageDraws:
    """About `num_draws` images in groups of 16, or smaller ones where these would be too few.

    Args:
        label_indices: images that may be drawn.
        brightness: of every image; draws are spread evenly over its range.
    """
    per_group = max(1, min(IMAGES_PER_GROUP, num_draws // fewest_groups))
    num_groups = num_draws // per_group
    # leaving out the odd ones at random, all images remain equally likely
    chosen = rng.permutation(label_indices)[: len(label_indices) // per_group * per_group]
    # one image of each stratum in every group: the groups are alike, and any two exchangeable, so
    # that their spread tells the variance of their sum
    strata = chosen[np.argsort(brightness[chosen], kind="stable")].reshape(per_group, -1)
    groups = np.stack([rng.permutation(stratum)[:num_groups] for stratum in strata], axis=1)
    group_of = np.full(len(brightness), -1)
    group_of[groups] = np.arange(num_groups)[:, None]
    return ImageDraws(
        groups=torch.from_numpy(np.sort(groups, axis=1)),
        num_images=len(label_indices),
        group_of=torch.from_numpy(group_of),
    )


def with_image_tail(
    head: PosteriorRecord,
    totals: PosteriorRecord,
    head_in_tail: GroupMembers,
    draws: ImageDraws,
    *,
    pixel_spread: float,
) -> PosteriorRecord:
    """The head and unbiased sums over all other patches, with the variance that drawing adds.

    Args:
        totals: the exact sums of each group over the patches of each query; fields are [g, q].
        head_in_tail: the patches of the groups that are also in the head.
        pixel_spread: standard deviation of the training pixels.
    """
    log_max = totals.log_max.amax(0)
    scale = rescaling(totals.log_max, log_max.expand_as(totals.log_max))
    sums = torch.cat(
        [
            (totals.sum_w * scale)[..., None],
            totals.sum_wc * scale[..., None],
            (totals.sum_w2 * scale**2)[..., None],
        ],
        dim=-1,
    )
    rest = sums - _sums_of(head_in_tail, log_max, sums.shape)
    rest = rest.where(rest[..., :1] > ROUNDING * sums[..., :1], 0.0)
    c = totals.sum_wc.shape[-1]
    w, wc, w2 = rest.split([1, c, 1], dim=-1)
    num_groups, inverse = len(w), draws.inverse_probability
    spread = inverse**2 * num_groups / (num_groups - 1) * (1 - 1 / inverse)
    w_off, wc_off = w - w.mean(0), wc - wc.mean(0)
    tail = PosteriorRecord(
        log_max=log_max,
        sum_w=inverse * w.sum(0)[:, 0],
        sum_wc=inverse * wc.sum(0),
        sum_w2=inverse * w2.sum(0)[:, 0],
        sum_head=torch.zeros_like(log_max),
        var_w=spread * w_off.square().sum(0)[:, 0],
        cov_wc=spread * (w_off * wc_off).sum(0),
        var_wc=spread * wc_off.square().sum(0),
        num_scored=totals.num_scored.sum(0),
        k_hat=pareto_k_hat(w[..., 0].T),
        rounds=torch.zeros_like(totals.num_scored[0]),
    )
    both = head.merge(tail)
    factor = widening(wc - both.mean * w).square()
    one_more = tail.sum_w / draws.groups.numel() * pixel_spread
    honest = replace(
        tail,
        var_w=factor * tail.var_w,
        cov_wc=factor[:, None] * tail.cov_wc,
        var_wc=factor[:, None] * tail.var_wc + one_more.square()[:, None],
    )
    return head.merge(honest)


def _sums_of(
    head_in_tail: GroupMembers, log_max: Float[Tensor, " q"], shape: torch.Size
) -> Float[Tensor, "g q c_plus_2"]:
    """What these patches add to the sums (w, w c, w^2) of their groups."""
    weights = (head_in_tail.log_weights - log_max[head_in_tail.query]).exp()[:, None]
    terms = torch.cat([weights, weights * head_in_tail.centers, weights**2], dim=-1)
    sums = terms.new_zeros(shape)
    return sums.index_put_((head_in_tail.group, head_in_tail.query), terms, accumulate=True)
