"""List search as a Triton kernel: a program has some queries of a list, and a share of its codes.

Ranks follow from products of codes and queries, which tensor cores form: `|v - d|^2` is
`|a|^2 + |s c|^2 - 2 (a s) . c` for a code c (less 128), the steps s between codes, and the way a
from code 128 to the query. `|a|^2` is the same for all codes of a query and left out. `-2 a s`
comes as a high and a low digit of a 24-bit whole number, so that both products are sums of whole
numbers below 2^24: they are exact, in whichever order they are added, and a code has the same rank
in any company.

A rank and a code's place make one number of 64 bits: equal ranks are ordered by place, and it does
not matter in which order programs write.
"""

from typing import no_type_check

import triton
import triton.language as tl

MIDDLE = tl.constexpr(128)  # codes are taken less this: products are half as large
# 1024 in float16, whose last 8 bits are ones: a code put there is 1024 more than it was
SHIFT_BITS, SHIFT = tl.constexpr(0x6400), tl.constexpr(1024)
LARGEST = tl.constexpr(3.4028234663852886e38)  # of float32: nothing farther is found


@triton.jit(do_not_specialize=["patches_per_image", "num_pairs", "capacity", "every"])
@no_type_check  # a wrapper that checks would hide this module's names from Triton
def rank_list_tile(
    codes,  # uint8 [p, STRIDE]
    norms,  # float32 [p]: |s c|^2
    offsets,  # int64 [lists + 1]
    ids,  # int64 [p]; read if MASKED
    image_mask,  # uint8 [n], 1 for images that count; read if MASKED
    patches_per_image,
    high,  # float16 [q, FIRST_DIMS + MORE_DIMS]
    low,  # float16 [q, FIRST_DIMS + MORE_DIMS]
    high_unit,  # float32 [q]
    low_unit,  # float32 [q]
    thresholds,  # int64 [q]; read unless ALL
    tiles,  # int64 [tiles]: pair where each begins, or -1
    lists,  # int64 [pairs], ascending
    queries,  # int64 [pairs]
    starts,  # int64 [pairs]: column of the first rank; read if ALL
    num_pairs,
    counts,  # int32 [q]: ranks up to the threshold, added to; unless ALL
    ranks,  # int64 [q, capacity], written
    capacity,
    every,  # look at every so many-th code of a list
    STRIDE: tl.constexpr,
    FIRST_DIMS: tl.constexpr,
    MORE_DIMS: tl.constexpr,
    MASKED: tl.constexpr,
    ALL: tl.constexpr,
    TILE_QUERIES: tl.constexpr,
    TILE_CODES: tl.constexpr,
    LIST_SHARES: tl.constexpr,
):
    """Rank a share of the codes of a list for some queries; write all, or those up to thresholds.

    All are written to the columns behind `starts`; others are appended to what a query has found.
    """
    pair = tl.load(tiles + tl.program_id(0))
    if pair >= 0:
        number = tl.load(lists + pair)
        first = tl.load(offsets + number)
        num_looked = tl.cdiv(tl.load(offsets + number + 1) - first, every)
        mine = pair + tl.arange(0, TILE_QUERIES)
        here = mine < num_pairs
        here = here & (tl.load(lists + mine, mask=here, other=-1) == number)
        query = tl.load(queries + mine, mask=here, other=0)
        DIMS: tl.constexpr = FIRST_DIMS + MORE_DIMS
        high_digits = load_digits(high, query, 0, FIRST_DIMS, DIMS)
        low_digits = load_digits(low, query, 0, FIRST_DIMS, DIMS)
        if MORE_DIMS:
            more_high = load_digits(high, query, FIRST_DIMS, MORE_DIMS, DIMS)
            more_low = load_digits(low, query, FIRST_DIMS, MORE_DIMS, DIMS)
        high_scale, low_scale = tl.load(high_unit + query), tl.load(low_unit + query)
        row = ranks + query * capacity
        if ALL:
            row += tl.load(starts + mine, mask=here, other=0)
        else:
            threshold = tl.load(thresholds + query)
            last_place, whole = threshold & 0xFFFFFFFF, (threshold >> 32).to(tl.int32)
            limit, below = key_of(whole), key_of(whole - 1)
        at = tl.arange(0, TILE_CODES)
        for block in range(tl.program_id(1), tl.cdiv(num_looked, TILE_CODES), LIST_SHARES):
            begin = block * TILE_CODES  # of 64 bits, as the sizes of lists are
            inside = begin + at < num_looked
            place = first + (begin + at) * every
            some = load_codes(codes, place, inside, 0, FIRST_DIMS, STRIDE)
            high_sum, low_sum = tl.dot(some, high_digits), tl.dot(some, low_digits)
            if MORE_DIMS:
                more = load_codes(codes, place, inside, FIRST_DIMS, MORE_DIMS, STRIDE)
                high_sum = tl.dot(more, more_high, high_sum)
                low_sum = tl.dot(more, more_low, low_sum)
            norm = tl.load(norms + place, mask=inside, other=float("inf"))
            if MASKED:
                patch = tl.load(ids + place, mask=inside, other=0)
                member = tl.load(image_mask + patch // patches_per_image)
                norm = tl.where(member != 0, norm, float("inf"))
            key = tl.fma(high_sum, high_scale[None, :], norm[:, None])
            key = tl.fma(low_sum, low_scale[None, :], key)
            if ALL:
                wanted = inside[:, None] & here[None, :] & (key <= LARGEST)
                tl.store(row[None, :] + (begin + at)[:, None], rank_of(key, place[:, None]),
                         mask=wanted)  # fmt: skip
            else:
                # of those at the threshold, only in blocks that begin before its place
                most = tl.where(first + begin * every <= last_place, limit, below)
                # up to what is no number there is nothing, not even what overflowed
                most = tl.where(here, tl.minimum(most, LARGEST), float("nan"))
                nearest = tl.min(key, axis=0)
                while tl.max((nearest <= most).to(tl.int32), axis=0) > 0:
                    near = nearest <= most
                    of_nearest = tl.where(key == nearest[None, :], at[:, None], TILE_CODES)
                    chosen = tl.min(of_nearest, axis=0)
                    slot = tl.atomic_add(counts + query, 1, mask=near, sem="relaxed")
                    found = first + (begin + chosen) * every
                    tl.store(row + slot, rank_of(nearest, found), mask=near & (slot < capacity))
                    key = tl.where(at[:, None] == chosen[None, :], float("inf"), key)
                    nearest = tl.min(key, axis=0)


@triton.jit
@no_type_check  # a wrapper that checks would hide this module's names from Triton
def load_digits(digits, query, FIRST: tl.constexpr, COUNT: tl.constexpr, DIMS: tl.constexpr):
    """Some dimensions of the digits of these queries, dimension by query."""
    dim = FIRST + tl.arange(0, COUNT)
    return tl.load(digits + query[None, :] * DIMS + dim[:, None])


@triton.jit
@no_type_check  # a wrapper that checks would hide this module's names from Triton
def load_codes(codes, place, inside, FIRST: tl.constexpr, COUNT: tl.constexpr,
               STRIDE: tl.constexpr):  # fmt: skip
    """Some dimensions of the codes at these places, less MIDDLE, in float16; exact."""
    dim = FIRST + tl.arange(0, COUNT)
    there = inside[:, None] & (dim < STRIDE)[None, :]
    bits = tl.load(codes + place[:, None] * STRIDE + dim[None, :], mask=there, other=0)
    shifted = (bits.to(tl.int16) | SHIFT_BITS).to(tl.float16, bitcast=True)
    return shifted - (SHIFT + MIDDLE)


@triton.jit
@no_type_check  # a wrapper that checks would hide this module's names from Triton
def rank_of(key, place):
    """The key in order, in 32 bits, and behind it the place."""
    bits = key.to(tl.int32, bitcast=True)
    return ((bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(tl.int64) << 32) | place


@triton.jit
@no_type_check  # a wrapper that checks would hide this module's names from Triton
def key_of(whole):
    """The key whose rank has this in front."""
    return (whole ^ ((whole >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True)
