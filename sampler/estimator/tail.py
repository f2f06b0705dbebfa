r"""The tail of an estimate: random pairs of image and displacement stand for all other patches.

A patch of a pixel is a pair of a training image and a displacement. Pairs are drawn in groups: some
images at random, and of each the patches at a random share of the displacements, 1 of S equal ones,
which one scan sums for all pixels. So each pixel meets about as many patches, from many images, at
a cost per patch that depends neither on the patch size nor on the size of the images; patches of
one image are alike, and fewer of more images say more. Shares are lattices: the patches of an image
lie as far apart as they can.

A group's sum without the patches of the head, which are summed apart, is one draw. With G groups of
m images in all out of N, each pair is drawn with probability m / (N S), whatever the head is, so

    Z_tail = (N S / m) \sum_g R_g,      var(Z_tail) = (N S / m)^2 (1 - m / (N S)) G s_R^2,

and likewise for w c, are unbiased; mean = N / Z. Anchors: DEANN (arXiv 2107.02736) and vAttention
(arXiv 2510.05688).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import gcd

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor

from patchindex import PosteriorRecord
from patchindex.kernels import GroupMembers, PairGroups
from patchindex.records import rescaling
from sampler.estimator.intervals import pareto_k_hat, widening
from sampler.estimator.regions import Region

IMAGES_PER_BLOCK = 16  # with one share: they fill the registers of the scan
FEWEST_GROUPS = 32  # for a variance and a Pareto shape
MOST_GROUPS = 64
# legal patches of an image in a share: with fewer, loading images would take most of the time
FEWEST_IN_SHARE, FEWEST_AT_EDGES = 16, 4
RUN = 2  # displacements side by side in a share, which share sums
GOLDEN = 0.6180339887
# a group's sum less its part of the head, as a share of the sum, is rounding below this
ROUNDING = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairDraws:
    """Pairs of image and displacement drawn without replacement, each equally likely.

    Attributes:
        inverse_probability: how many pairs each drawn one stands for.
    """

    groups: PairGroups
    inverse_probability: float

    def to(self, device: torch.device) -> "PairDraws":
        """The same on a device."""
        return replace(self, groups=self.groups.to(device))


def draw_pairs(
    region: Region,
    label_indices: Int[ndarray, " n"],
    brightness: Float[ndarray, " n_all"],
    num_patches: int,
    rng: np.random.Generator,
    *,
    most_groups: int = MOST_GROUPS,
) -> PairDraws:
    """Groups in which each pixel of the region meets about `num_patches` patches.

    Args:
        label_indices: images that may be drawn.
        brightness: of every image; draws are spread evenly over its range.
        num_patches: less than half of the region's dictionary.
    """
    num_images = len(label_indices)
    fewest = FEWEST_IN_SHARE if min(region.farthest) else FEWEST_AT_EDGES
    most_shares = max(1, region.num_centers // fewest)
    num_shares = min(most_shares, num_images * region.num_centers // num_patches)
    wanted = max(1, min(num_images, num_patches * num_shares // region.num_centers))
    per_block = max(1, min(IMAGES_PER_BLOCK, wanted // min(FEWEST_GROUPS, most_groups)))
    num_blocks = wanted // per_block
    blocks_per_group = -(-num_blocks // most_groups)
    num_groups = num_blocks // blocks_per_group
    per_group = blocks_per_group * per_block
    # leaving out the odd ones at random, all images remain equally likely
    chosen = rng.permutation(label_indices)[: num_images // per_group * per_group]
    # one image of each stratum in every group: the groups are alike, and any two exchangeable, so
    # that their spread tells the variance of their sum
    strata = chosen[np.argsort(brightness[chosen], kind="stable")].reshape(per_group, -1)
    images = np.stack([rng.permutation(stratum)[:num_groups] for stratum in strata], axis=1)
    images = rng.permuted(images, axis=1)
    rounds = -(-num_groups * blocks_per_group // num_shares)
    shares = np.concatenate([rng.permutation(num_shares) for _ in range(rounds)])
    shares = shares[: num_groups * blocks_per_group].reshape(num_groups, blocks_per_group)
    groups = PairGroups(
        images=torch.from_numpy(images),
        image_shares=torch.from_numpy(shares.repeat(per_block, axis=1).astype(np.int32)),
        displacement_shares=torch.from_numpy(shares_of_displacements(region, num_shares)),
    )
    return PairDraws(
        groups=groups, inverse_probability=num_images * num_shares / groups.images.numel()
    )


def shares_of_displacements(region: Region, num_shares: int) -> Int[ndarray, "rows cols"]:
    """A partition of the displacements into lattices of about as many each.

    Displacement (dy, dx) is at [dy + rows // 2, dx + cols // 2]; where windows wrap round, it has
    the share of those that differ by the size of the image.
    """
    dy, dx = (np.arange(-farthest, farthest + 1) for farthest in region.farthest)
    if region.geometry.query_wraps:
        dy, dx = dy % region.geometry.height, dx % region.geometry.width
    run = RUN if len(dx) > 1 else 1
    # from row to row a lattice moves by the golden section, which keeps its points apart
    step = round(GOLDEN * num_shares)
    while gcd(step, num_shares) > 1:
        step += 1
    shares = (dx // run)[None] + step * dy[:, None]
    return (shares % num_shares).astype(np.int32)


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


def side_by_side(totals: Sequence[PosteriorRecord]) -> PosteriorRecord:
    """Exact sums of as many groups over different queries as those over all queries [g, q]."""
    if len(totals) == 1:
        return totals[0]
    exact = ("log_max", "sum_w", "sum_wc", "sum_w2", "num_scored")
    return PosteriorRecord.exact(
        **{name: torch.cat([getattr(each, name) for each in totals], dim=1) for name in exact}
    )


def effective_size(totals: PosteriorRecord) -> Float[Tensor, " q"]:
    """Effective sample size of all groups [g, q] together."""
    log_max, sum_w, sum_w2 = (x.unbind() for x in (totals.log_max, totals.sum_w, totals.sum_w2))
    top, w, w2 = log_max[0], sum_w[0], sum_w2[0]
    for other_top, other_w, other_w2 in zip(log_max[1:], sum_w[1:], sum_w2[1:], strict=True):
        both = torch.maximum(top, other_top)
        a, b = rescaling(top, both), rescaling(other_top, both)
        top, w, w2 = both, w * a + other_w * b, w2 * a**2 + other_w2 * b**2
    return w**2 / w2


def with_tail(
    head: PosteriorRecord,
    totals: PosteriorRecord,
    head_in_tail: GroupMembers,
    draws: PairDraws,
    *,
    pixel_spread: float,
    num_states: int = 1,
) -> tuple[PosteriorRecord, Float[Tensor, " b"]]:
    """The head and unbiased sums over all other patches, with the variance that drawing adds.

    Beside them, for each state, the variance of its sum of squared errors over pixels and channels.

    Args:
        totals: the exact sums of each group over the patches of each query; fields are [g, q].
        head_in_tail: the patches of the groups that are also in the head; of a query behind the
            last they count for nothing.
        pixel_spread: standard deviation of the training pixels.
        num_states: that the queries belong to, as many to each.
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
    errors = spread**0.5 * (wc_off - both.mean * w_off) / both.sum_w[:, None]
    one_more = tail.sum_w / draws.groups.images.numel() * pixel_spread
    honest = replace(
        tail,
        var_w=factor * tail.var_w,
        cov_wc=factor[:, None] * tail.cov_wc,
        var_wc=factor[:, None] * tail.var_wc + one_more.square()[:, None],
    )
    return head.merge(honest), _squared_errors_variance(errors, num_states)


def _squared_errors_variance(
    errors: Float[Tensor, "g q c"], num_states: int
) -> Float[Tensor, " b"]:
    r"""Of each state's sum of squared errors, from what each draw adds to the error of a pixel.

    Pixels share the draws, so that their errors e are correlated: with covariances C of e, which
    are about normal, the variance is 2 \sum_{x, y} C_xy^2. Of what two draws g and h add, the
    products e_g e_h vary by that; those of a draw with itself do not, and would drown it.
    """
    of_states = errors.unflatten(1, (num_states, -1)).movedim(1, 0).flatten(2)
    num_groups = len(errors)
    products = (of_states @ of_states.mT).flatten(1)[:, _others(num_groups, errors.device)]
    # what draws add is relative to their mean, which shifts the products
    variances: Float[Tensor, " b"] = (products - products.mean(-1, keepdim=True)).square().sum(-1)
    return 2 * num_groups / (num_groups - 1) * variances


@lru_cache(maxsize=2 * MOST_GROUPS)
def _others(num_groups: int, device: torch.device) -> Int[Tensor, " pairs"]:
    """Positions in a matrix of all groups that are not on its diagonal."""
    return (~torch.eye(num_groups, dtype=torch.bool)).flatten().nonzero()[:, 0].to(device)


def _sums_of(
    head_in_tail: GroupMembers, log_max: Float[Tensor, " q"], shape: torch.Size
) -> Float[Tensor, "g q c_plus_2"]:
    """What these patches add to the sums (w, w c, w^2) of their groups."""
    behind = torch.nn.functional.pad(log_max, (0, 1), value=torch.inf)
    weights = (head_in_tail.log_weights - behind[head_in_tail.query]).exp()[:, None]
    terms = torch.cat([weights, weights * head_in_tail.centers, weights**2], dim=-1)
    sums = terms.new_zeros((shape[0], shape[1] + 1, shape[2]))
    # of a query behind the last, the group may be one that is not here
    at = (head_in_tail.group.clamp(max=shape[0] - 1), head_in_tail.query)
    return sums.index_put_(at, terms, accumulate=True)[:, :-1]
