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

from patchindex import PatchGeometry, PosteriorRecord
from patchindex.geometry import AxisSignature
from patchindex.kernels import GroupMembers, GroupSums, PairGroups
from patchindex.records import rescaling
from sampler.estimator.intervals import pareto_k_hat, widening
from sampler.estimator.query import CACHED_GEOMETRIES
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadInTail:
    """Patches of the head that are in groups, by pixel.

    Attributes:
        members: their query is a position in the flattened states; behind the last for none.
        order: of the members by query.
        firsts: the first of each pixel in this order, and the end.
    """

    members: GroupMembers
    order: Int[Tensor, " members"]
    firsts: Int[Tensor, " pixels_plus_1"]

    @classmethod
    def of(cls, members: GroupMembers, num_pixels: int) -> "HeadInTail":
        """Sorted by pixel; those of one pixel stay in their order."""
        query, order = members.query.sort(stable=True)
        every = torch.arange(num_pixels + 1, device=query.device)
        return cls(members=members, order=order, firsts=torch.searchsorted(query, every))


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


def num_met(region: Region, draws: PairDraws) -> Int[ndarray, " pixels"]:
    """How many patches of all groups each pixel of the region meets, row after row.

    Args:
        draws: of the region, on the host.
    """
    shares = draws.groups.displacement_shares.numpy()
    images = np.bincount(draws.groups.image_shares.numpy().reshape(-1))
    scan = region.scan_of(draws.groups)
    moves = _moves_of_shares(
        region.geometry, scan.own_rows, scan.own_cols, shares.shape, shares.tobytes()
    )
    # in float64, which adds whole numbers exactly, and by BLAS
    met: Int[ndarray, " pixels"] = (images @ moves[: len(images)]).astype(np.int64)
    return met


@lru_cache(maxsize=CACHED_GEOMETRIES)
def _moves_of_shares(
    geometry: PatchGeometry,
    rows: range,
    cols: range,
    shape: tuple[int, int],
    displacement_shares: bytes,
) -> Float[ndarray, "shares pixels"]:
    """How many legal displacements of each share every pixel has.

    Args:
        rows, cols: the pixels.
        shape: of the displacements' shares, int32, which are bytes so that they can be told apart.
    """
    shares = np.frombuffer(displacement_shares, np.int32).reshape(shape)
    with_share = shares == np.arange(shares.max() + 1)[:, None, None]
    below = np.pad(with_share, ((0, 0), (1, 0), (1, 0))).cumsum(1).cumsum(2)
    top, bottom = _legal_moves([s.rows for s in geometry.signatures], rows, shape[0] // 2)
    left, right = _legal_moves([s.cols for s in geometry.signatures], cols, shape[1] // 2)
    in_rows = below[:, bottom] - below[:, top]
    moves = in_rows[..., right] - in_rows[..., left]
    by_pixel: Float[ndarray, "shares pixels"] = moves.reshape(len(moves), -1).astype(np.float64)
    return by_pixel


def _legal_moves(
    signatures: Sequence[AxisSignature], places: range, farthest: int
) -> tuple[Int[ndarray, " places"], Int[ndarray, " places"]]:
    """First displacement from each place to a legal center, and the end; 0 is -farthest."""
    first = {at: axis.centers.start - at for axis in signatures for at in axis.pixels}
    stop = {at: axis.centers.stop - at for axis in signatures for at in axis.pixels}
    return (
        np.array([first[at] for at in places]) + farthest,
        np.array([stop[at] for at in places]) + farthest,
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


def effective_size(totals: GroupSums) -> Float[Tensor, " q"]:
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
    totals: GroupSums,
    head_in_tail: GroupMembers,
    draws: PairDraws,
    *,
    num_scored: Int[Tensor, " q"],
    pixel_spread: float,
) -> tuple[PosteriorRecord, Float[Tensor, "g q c"]]:
    """The head and unbiased sums over all other patches, with the variance that drawing adds.

    Beside them, what each draw adds to the errors of the mean.

    Args:
        totals: the exact sums of each group over the patches of each query; fields are [g, q].
        head_in_tail: the patches of the groups that are also in the head; of a query behind the
            last they count for nothing.
        num_scored: patches of all groups that each query meets.
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
        num_scored=num_scored,
        k_hat=pareto_k_hat(w[..., 0].T),
        rounds=torch.zeros_like(num_scored),
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
    return head.merge(honest), errors


def squared_errors_variance(errors: Float[Tensor, "b g m"]) -> Float[Tensor, " b"]:
    r"""Of each state's sum of squared errors, from what each draw adds to all its errors.

    Pixels share the draws, so that their errors e are correlated: with covariances C of e, which
    are about normal, the variance is 2 \sum_{x, y} C_xy^2. Of what two draws g and h add, the
    products e_g e_h vary by that; those of a draw with itself do not, and would drown it.
    """
    num_groups = errors.shape[1]
    products = (errors @ errors.mT).flatten(1)[:, _others(num_groups, errors.device)]
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
