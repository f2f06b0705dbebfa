"""`tail.with_tail` and `intervals.pareto_k_hat` as two Triton kernels, in float64.

In torch it is some two hundred operations on small tensors, each of which a GPU's host has to ask
for.
"""

from typing import no_type_check

import triton
import triton.language as tl

from sampler.estimator.intervals import (
    FACTORS,
    FEWEST_DEGREES,
    FEWEST_EXCEEDANCES,
    NORMAL,
    PRIOR_COUNT,
    PRIOR_SHAPE,
    SMALLEST_QUARTILE,
    SMALLEST_THETA,
    T_TERMS,
)
from sampler.estimator.tail import ROUNDING

LEAST_SHARE = tl.constexpr(ROUNDING)
LEAST = tl.constexpr(FEWEST_DEGREES)
ENOUGH = tl.constexpr(FEWEST_EXCEEDANCES)
AT_ONCE = tl.constexpr(FACTORS)
QUANTILE = tl.constexpr(NORMAL)
FIRST, SECOND, THIRD, FOURTH = (tl.constexpr(term) for term in T_TERMS)
PRIOR = tl.constexpr(float(PRIOR_COUNT))
PRIOR_SUM = tl.constexpr(PRIOR_COUNT * PRIOR_SHAPE)
SMALLEST = tl.constexpr(SMALLEST_QUARTILE)
LEAST_THETA = tl.constexpr(SMALLEST_THETA)
EPSILON = tl.constexpr(2.0**-52)
# compiled once for all of them
COUNTS = ["num_queries", "num_pixels", "per_state", "num_pairs", "num_images"]
# of a record's rows: log_max, sum_w, sum_w2, sum_head, var_w, k_hat, and those of each channel
K_HAT, NUM_SCALARS = tl.constexpr(5), tl.constexpr(6)


@triton.jit
@no_type_check  # a wrapper that checks would hide this module's names from Triton
def rescaled(old, new):
    """exp(old - new), and 0 where there was nothing to rescale."""
    return tl.exp(old - tl.where(new == -float("inf"), 0.0, new))


@triton.jit
@no_type_check  # a wrapper that checks would hide this module's names from Triton
def at_least(value, least):
    """The larger one; nan where the value is nan."""
    return tl.where(value < least, least, value)


@triton.jit
@no_type_check  # a wrapper that checks would hide this module's names from Triton
def t_quantile(degrees):
    """See `intervals.t_quantile`."""
    one = 1 / degrees
    return (((one * FOURTH + THIRD) * one + SECOND) * one + FIRST) * one + QUANTILE


@triton.jit(do_not_specialize=COUNTS)
@no_type_check  # a wrapper that checks would hide this module's names from Triton
def tail_kernel(
    log_max,  # float64 [groups, queries], and so sum_w and sum_w2
    sum_w,
    sum_w2,
    sum_wc,  # float64 [C, groups, queries]
    head_log_max,  # float64 [pixels], and so the other fields of the head's record
    head_w,
    head_w2,
    head_wc,  # float64 [pixels, C], of any strides
    head_scored,  # int64 [pixels]
    order,  # int64 [members], of the members by pixel
    firsts,  # int64 [pixels + 1], the first of each pixel in this order
    member_groups,  # int64 [members]
    member_log_weights,  # float32 [members]
    member_centers,  # float32 [members, C]
    places,  # int64 [queries], the pixel of each
    num_met,  # int64 [queries]
    rows,  # float64 [NUM_SCALARS + 3 C, pixels]: the record is left here, but for k_hat
    counts,  # int64 [2, pixels]: num_scored, rounds
    rests,  # float64 [queries, groups]: the weights of the groups without the head's members
    errors,  # float64 [states, groups, queries of a state, C]
    num_queries,
    num_pixels,
    per_state,  # queries
    head_stride,  # of a pixel
    channel_stride,
    num_pairs,  # of images and shares, of which there are
    num_images,  # in the groups; a number with a point would come as float32
    pixel_spread,
    GROUPS: tl.constexpr,
    LANES: tl.constexpr,  # a power of two that holds the groups
    C: tl.constexpr,
    QUERIES: tl.constexpr,
):
    """The head and unbiased sums over all other patches, for QUERIES pixels."""
    query = (tl.program_id(0) * QUERIES + tl.arange(0, QUERIES)).to(tl.int64)
    there = query < num_queries
    place = tl.load(places + query, mask=there, other=0)
    group = tl.arange(0, LANES)
    drawn = (group < GROUPS)[:, None] & there[None, :]
    cell = group[:, None] * num_queries.to(tl.int64) + query[None, :]
    log_group = tl.load(log_max + cell, mask=drawn, other=-float("inf"))
    top = tl.max(log_group, 0)
    scale = rescaled(log_group, top[None, :])
    w = tl.load(sum_w + cell, mask=drawn, other=0.0) * scale
    w2 = tl.load(sum_w2 + cell, mask=drawn, other=0.0) * scale * scale
    centers = ()
    for c in tl.static_range(C):
        at = sum_wc + c * GROUPS * num_queries.to(tl.int64) + cell
        centers = centers + (tl.load(at, mask=drawn, other=0.0) * scale,)
    least_w = w * LEAST_SHARE

    # less the patches that the head has, too
    first = tl.load(firsts + place, mask=there, other=0)
    num_members = tl.load(firsts + place + 1, mask=there, other=0) - first
    for number in range(tl.max(num_members, 0)):
        listed = number < num_members
        member = tl.load(order + first + number, mask=listed, other=0)
        own = tl.load(member_groups + member, mask=listed, other=-1)
        log_weight = tl.load(member_log_weights + member, mask=listed, other=-float("inf"))
        weight = tl.exp(log_weight.to(tl.float64) - tl.where(listed, top, 0.0))
        weight = tl.where(group[:, None] == own[None, :], weight[None, :], 0.0)
        w -= weight
        w2 -= weight * weight
        fewer = ()
        for c in tl.static_range(C):
            center = tl.load(member_centers + member * C + c, mask=listed, other=0.0)
            fewer = fewer + (centers[c] - weight * center.to(tl.float64)[None, :],)
        centers = fewer
    left = w > least_w
    w, w2 = tl.where(left, w, 0.0), tl.where(left, w2, 0.0)
    tl.store(rests + query[None, :] * GROUPS + group[:, None], w, mask=drawn)

    # the tail, and its merger with the head
    inverse = num_pairs.to(tl.float64) / num_images
    tail_w, tail_w2 = inverse * tl.sum(w, 0), inverse * tl.sum(w2, 0)
    spread = inverse * inverse * GROUPS / (GROUPS - 1) * (1 - 1 / inverse)
    w_off = tl.where(drawn, w - (tl.sum(w, 0) / GROUPS)[None, :], 0.0)
    var_w = spread * tl.sum(w_off * w_off, 0)
    head_top = tl.load(head_log_max + place, mask=there, other=0.0)
    both_top = tl.maximum(head_top, top)
    a, b = rescaled(head_top, both_top), rescaled(top, both_top)
    only_head = tl.load(head_w + place, mask=there, other=1.0) * a
    both_w = only_head + tail_w * b
    both_w2 = tl.load(head_w2 + place, mask=there, other=0.0) * a * a + tail_w2 * b * b

    most = tl.full([QUERIES], -float("inf"), tl.float64)  # kurtosis of any channel
    kept = ()  # of each channel: sum, covariance, variance
    for c in tl.static_range(C):
        wc = tl.where(left, centers[c], 0.0)
        head_c = tl.load(head_wc + place * head_stride + c * channel_stride, mask=there, other=0.0)
        both_wc = head_c * a + inverse * tl.sum(wc, 0) * b
        mean = both_wc / both_w
        wc_off = tl.where(drawn, wc - (tl.sum(wc, 0) / GROUPS)[None, :], 0.0)
        influence = wc - mean[None, :] * w
        off = tl.where(drawn, influence - (tl.sum(influence, 0) / GROUPS)[None, :], 0.0)
        square = off * off
        second = tl.sum(square, 0) / GROUPS
        kurtosis = tl.sum(square * square, 0) / GROUPS
        kurtosis = kurtosis / tl.where(second > 0, second * second, 1.0)
        most = tl.where(kurtosis > most, kurtosis, most)
        most = tl.where(kurtosis == kurtosis, most, kurtosis)
        error = tl.sqrt(spread) * (wc_off - mean[None, :] * w_off) / both_w[None, :]
        state, pixel = query // per_state, query % per_state
        line = (state[None, :] * GROUPS + group[:, None]) * per_state + pixel[None, :]
        tl.store(errors + line * C + c, error, mask=drawn)
        kept = kept + (
            both_wc, spread * tl.sum(w_off * wc_off, 0), spread * tl.sum(wc_off * wc_off, 0),
        )  # fmt: skip
    degrees = at_least(
        tl.full([QUERIES], 2 * GROUPS, tl.float64) / at_least(most - 1, EPSILON), LEAST
    )
    wider = t_quantile(degrees) / QUANTILE
    factor = wider * wider
    one_more = tail_w / num_images * pixel_spread
    into = rows + place
    scaled = factor * b * b
    tl.store(into, both_top, mask=there)
    tl.store(into + num_pixels, both_w, mask=there)
    tl.store(into + 2 * num_pixels, both_w2, mask=there)
    tl.store(into + 3 * num_pixels, only_head, mask=there)
    tl.store(into + 4 * num_pixels, scaled * var_w, mask=there)
    for c in tl.static_range(C):
        at = into + (NUM_SCALARS + c) * num_pixels
        variance = scaled * kept[3 * c + 2] + one_more * one_more * b * b
        tl.store(at, kept[3 * c], mask=there)
        tl.store(at + C * num_pixels, scaled * kept[3 * c + 1], mask=there)
        tl.store(at + 2 * C * num_pixels, variance, mask=there)
    scored = tl.load(head_scored + place, mask=there, other=0)
    scored += tl.load(num_met + query, mask=there, other=0)
    tl.store(counts + place, scored, mask=there)
    tl.store(counts + num_pixels + place, tl.zeros_like(scored), mask=there)


@triton.jit
@no_type_check  # a wrapper that checks would hide this module's names from Triton
def sum_of_logs(theta, values, threshold, unit, TAIL: tl.constexpr):
    """Of log(1 - theta x), over the exceedances in their unit."""
    total = tl.zeros_like(theta)
    for start in range(0, TAIL, AT_ONCE):
        product = tl.full(theta.shape, 1.0, tl.float64)
        for number in range(start, tl.minimum(start + AT_ONCE, TAIL)):
            x = (tl.load(values + number) - threshold) / unit
            product *= 1 - theta * x
        total += tl.log(product)
    return total


@triton.jit(do_not_specialize=["num_queries"])
@no_type_check  # a wrapper that checks would hide this module's names from Triton
def pareto_kernel(
    largest,  # float64 [queries, TAIL + 1], descending
    places,  # int64 [queries]
    k_hats,  # float64 [pixels]
    num_queries,
    TAIL: tl.constexpr,
    POINTS: tl.constexpr,
    QUERIES: tl.constexpr,
):
    """The shape of the largest weights of QUERIES pixels, see `intervals.pareto_k_hat`."""
    query = (tl.program_id(0) * QUERIES + tl.arange(0, QUERIES)).to(tl.int64)
    there = query < num_queries
    # lanes behind the last query do what the last does
    values = largest + tl.minimum(query, num_queries - 1) * (TAIL + 1)
    threshold = tl.load(values + TAIL)
    found = tl.zeros([QUERIES], tl.int32)
    for number in range(TAIL):
        found += (tl.load(values + number) > threshold).to(tl.int32)
    unit = tl.where(found > 0, tl.load(values) - threshold, 1.0)
    count = tl.maximum(found, 1)
    rank = tl.maximum((count + 2) // 4, 1)
    quartile = (tl.load(values + (count - rank)) - threshold) / unit
    quartile = tl.maximum(quartile, SMALLEST)
    number_of = count.to(tl.float64)
    top = tl.full([QUERIES], -float("inf"), tl.float64)
    weight_sum = tl.zeros([QUERIES], tl.float64)
    theta_sum = tl.zeros([QUERIES], tl.float64)
    for point in range(POINTS):
        way = 1 - tl.sqrt(POINTS / (point + tl.full([QUERIES], 0.5, tl.float64)))
        theta = 1 + way / (3 * quartile)
        theta = tl.where(tl.abs(theta) > LEAST_THETA, theta, LEAST_THETA)
        k = sum_of_logs(theta, values, threshold, unit, TAIL) / number_of
        likelihood = number_of * (tl.log(-theta / tl.where(found > 0, k, -theta)) - k - 1)
        grown = tl.maximum(top, likelihood)
        shrink, weight = rescaled(top, grown), tl.exp(likelihood - grown)
        weight_sum = weight_sum * shrink + weight
        theta_sum = theta_sum * shrink + weight * theta
        top = grown
    mean_theta = theta_sum / weight_sum
    k = sum_of_logs(mean_theta, values, threshold, unit, TAIL) / number_of
    k_hat = (number_of * k + PRIOR_SUM) / (number_of + PRIOR)
    k_hat = tl.where(found < ENOUGH, float("inf"), k_hat)
    k_hat = tl.where((found == 0) & (threshold > 0), -float("inf"), k_hat)
    tl.store(k_hats + tl.load(places + query, mask=there, other=0), k_hat, mask=there)
