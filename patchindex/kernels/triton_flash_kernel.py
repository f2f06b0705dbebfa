"""The exact scan as a Triton kernel on tensor cores: a loop like that of flash attention.

Queries are windows of states, keys windows of training images, values the keys' centers. A program
has a tile of queries of one state and walks through some of the windows. Log weights are
(q . p - |p|^2 / 2) / sigma^2 up to a constant of the query, so that all that is done for a pair,
besides its exponential, is a product of matrices: queries are the sum of two float16, keys are
exact in one. Running sums are float32.
"""

from typing import no_type_check

import triton
import triton.language as tl

LOWEST = tl.constexpr(-1e30)  # less than any log weight
# Weights are sums of two float16 where they meet the centers. Times 2^15 the largest still fits,
# and those down to 2^-29 of it are as exact.
WEIGHT_BITS = tl.constexpr(15)
HIGH_BITS = tl.constexpr(-(2**13))  # of a float32, those that a float16 has, too
# compiled once for all of them
FLASH_COUNTS = ["num_keys", "keys_per_program", "num_states", "num_queries", "num_tiles"]


@triton.jit
@no_type_check  # a wrapper that checks would hide this module's names from Triton
def cell_offsets(
    chunk,
    CELLS: tl.constexpr,
    DEPTH: tl.constexpr,
    STEP: tl.constexpr,
    WIDTH: tl.constexpr,
    RECORD: tl.constexpr,
):
    """Where DEPTH numbers of a window lie from its first: rows of CELLS records, STEP apart."""
    at = chunk * DEPTH + tl.arange(0, DEPTH)
    cell = at // RECORD
    return (cell // CELLS * WIDTH + cell % CELLS * STEP) * RECORD + at % RECORD


@triton.jit
@no_type_check  # a wrapper that checks would hide this module's names from Triton
def added_products(sums, high, low, keys):
    """The sums, with the products of queries and keys added."""
    turned = tl.trans(keys)
    return tl.dot(low, turned, tl.dot(high, turned, sums))


@triton.jit
@no_type_check  # a wrapper that checks would hide this module's names from Triton
def split_off(weights):
    """The part of each float32 that is a float16: cheaper than to convert it there and back."""
    return tl.cast(weights.to(tl.int32, bitcast=True) & HIGH_BITS, tl.float32, bitcast=True)


@triton.jit(do_not_specialize=FLASH_COUNTS)
@no_type_check  # a wrapper that checks would hide this module's names from Triton
def flash_kernel(
    queries,  # float16 [2, b, num_tiles * QUERIES, CHUNKS * DEPTH]: high and low parts
    images,  # float16 [n, HEIGHT, WIDTH, RECORD], and some numbers more: gray levels less 127.5;
    # WIDTH counts records, and from one pixel to the next there are PIXEL
    energies,  # float32 [n * KEY_ROWS * KEY_COLS], and some more for keys that are none
    scales,  # float32 [2, b]: what energies are multiplied by, log2 weight per product
    sums,  # float32 [3 + C, splits, b, num_queries]: see the end
    num_keys,
    keys_per_program,  # a multiple of KEYS
    num_states,
    num_queries,
    num_tiles,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    KEY_ROWS: tl.constexpr,
    KEY_COLS: tl.constexpr,
    C: tl.constexpr,
    RECORD: tl.constexpr,
    PIXEL: tl.constexpr,
    CELLS: tl.constexpr,
    STEP: tl.constexpr,
    CENTER: tl.constexpr,
    VALUES: tl.constexpr,
    CHUNKS: tl.constexpr,
    DEPTH: tl.constexpr,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    RESIDENT: tl.constexpr,
    STAGES: tl.constexpr,
):
    """The sums of a tile of QUERIES over some of the keys.

    A window has rows of CELLS records of the image, STEP apart; CENTER is where its center lies
    from its first number. If RESIDENT, the queries stay on the multiprocessor.
    """
    tile, state, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    query = tile * QUERIES + tl.arange(0, QUERIES)
    # 64 bits: all states together may have more numbers than 32 count
    at_query = ((state * num_tiles).to(tl.int64) * QUERIES + query) * (CHUNKS * DEPTH)
    part = (num_states * num_tiles).to(tl.int64) * (QUERIES * CHUNKS * DEPTH)
    high_rows = queries + at_query[:, None]
    low_rows = high_rows + part
    depth = tl.arange(0, DEPTH)
    high, low = (), ()
    if RESIDENT:
        for chunk in tl.static_range(CHUNKS):
            high = high + (tl.load(high_rows + (chunk * DEPTH + depth)[None, :]),)
            low = low + (tl.load(low_rows + (chunk * DEPTH + depth)[None, :]),)

    energy_scale = tl.load(scales + state)
    exponent = tl.load(scales + num_states + state)
    first = split * keys_per_program
    end = tl.minimum(first + keys_per_program, num_keys)
    value = tl.arange(0, VALUES)
    center = CENTER + value // RECORD * (STEP * RECORD) + value % RECORD
    largest = tl.full([QUERIES], LOWEST, tl.float32)
    sum_w2 = tl.zeros([QUERIES], tl.float32)
    sum_wv = tl.zeros([QUERIES, VALUES], tl.float32)
    for first_key in tl.range(first, end, KEYS, num_stages=STAGES if RESIDENT else 1):
        key = first_key + tl.arange(0, KEYS)
        energy = tl.load(energies + key) * energy_scale
        key = tl.minimum(key, num_keys - 1)
        image, row = key // (KEY_ROWS * KEY_COLS), key // KEY_COLS % KEY_ROWS
        corner = (image * HEIGHT + row) * WIDTH + key % KEY_COLS * PIXEL
        windows = images + (corner * RECORD)[:, None]
        products = tl.zeros([QUERIES, KEYS], tl.float32)
        if RESIDENT:
            for chunk in tl.static_range(CHUNKS):
                offsets = cell_offsets(chunk, CELLS, DEPTH, STEP, WIDTH, RECORD)
                keys = tl.load(windows + offsets[None, :])
                products = added_products(products, high[chunk], low[chunk], keys)
        else:
            for chunk in tl.range(0, CHUNKS, num_stages=STAGES):
                offsets = cell_offsets(chunk, CELLS, DEPTH, STEP, WIDTH, RECORD)
                keys = tl.load(windows + offsets[None, :])
                some_high = tl.load(high_rows + (chunk * DEPTH + depth)[None, :])
                some_low = tl.load(low_rows + (chunk * DEPTH + depth)[None, :])
                products = added_products(products, some_high, some_low, keys)
        products -= energy[None, :]
        # Any number near the largest would do. So its rounding is no error, and what follows is
        # one multiplication and addition.
        grown = tl.maximum(largest, tl.max(products, 1) * exponent - WEIGHT_BITS)
        shrink = tl.exp2(largest - grown)
        weights = tl.exp2(products * exponent - grown[:, None])
        centers = tl.load(windows + center[None, :], mask=value[None, :] < C, other=1.0)
        high_weights = split_off(weights)
        low_weights = (weights - high_weights).to(tl.float16)
        summed = tl.dot(low_weights, centers, tl.dot(high_weights.to(tl.float16), centers))
        sum_w2 = sum_w2 * (shrink * shrink) + tl.sum(weights * weights, 1)
        # the tensor cores cut off what they add, so that long sums are none of theirs
        sum_wv = sum_wv * shrink[:, None] + summed * (2.0**-WEIGHT_BITS)
        largest = grown

    # in order: log2 of what weights were divided by, sum of weights, of their squares, of weights
    # times gray levels less 127.5; the weights are 2^15 times theirs, the sums are not
    splits = tl.num_programs(2)
    place = (split * num_states + state).to(tl.int64) * num_queries
    field_size = (splits * num_states).to(tl.int64) * num_queries
    inside = query < num_queries
    tl.store(sums + place + query, largest, mask=inside)
    at_squares = sums + place + 2 * field_size
    tl.store(at_squares + query, sum_w2 * (2.0 ** (-2 * WEIGHT_BITS)), mask=inside)
    field = tl.where(value < C, 3 + value, 1)  # the value behind the gray levels is 1
    at_field = sums + place + field * field_size
    kept = inside[:, None] & (value <= C)[None, :]
    tl.store(at_field[None, :] + query[:, None], sum_wv, mask=kept)
