"""Sums of several programs of a scan as those of one, as a Triton kernel: float64, one launch."""

from typing import no_type_check

import triton
import triton.language as tl

LN2 = tl.constexpr(0.6931471805599453)
HALF_RANGE = tl.constexpr(127.5)


@triton.jit
@no_type_check  # a wrapper that checks would hide this module's names from Triton
def merge_kernel(
    sums,  # float32 [3 + C, parts, groups * splits, b, HEIGHT, WIDTH], see `scan_kernel`
    merged,  # float64 [3 + C, groups of all launches, queries of all scans]
    num_parts,
    num_splits,
    num_states,
    num_groups,  # of this launch
    first_row,
    first_col,
    num_rows,  # wanted ones, from there on
    num_cols,
    field_stride,  # of what is merged
    group_stride,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    C: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """For the wanted pixels of all states: log_max, sum_w, sum_w2, and sum_wc of each channel."""
    group = tl.program_id(1).to(tl.int64)
    query = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    num_own = num_rows * num_cols
    there = query < num_states * num_own
    state, row, col = query // num_own, query % num_own // num_cols, query % num_cols
    plane = tl.zeros_like(group) + num_states * HEIGHT * WIDTH
    part_size = plane * num_groups * num_splits
    field_size = part_size * num_parts
    pixel = (state * HEIGHT + first_row + row) * WIDTH + first_col + col
    own = sums + group * num_splits * plane + pixel
    top = tl.full([BLOCK], -float("inf"), tl.float32)
    for part in range(num_parts):
        for split in range(num_splits):
            at = own + part * part_size + split * plane
            top = tl.maximum(top, tl.load(at, mask=there, other=0.0))
    into = merged + group * group_stride + query
    sum_w = tl.zeros([BLOCK], tl.float64)
    for field in tl.static_range(1, 3 + C):
        total = tl.zeros([BLOCK], tl.float64)
        for part in range(num_parts):
            for split in range(num_splits):
                at = own + part * part_size + split * plane
                scale = tl.exp2((tl.load(at, mask=there, other=0.0) - top).to(tl.float64))
                if field == 2:
                    scale = scale * scale
                total += tl.load(at + field * field_size, mask=there, other=0.0) * scale
        if field == 1:
            sum_w = total
        if field > 2:
            total = total / HALF_RANGE - sum_w
        tl.store(into + field * field_stride, total, mask=there)
    log_max = tl.where(sum_w > 0, top.to(tl.float64) * LN2, -float("inf"))
    tl.store(into, log_max, mask=there)
