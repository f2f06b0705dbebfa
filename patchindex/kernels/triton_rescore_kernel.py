"""Exact distances of chosen patches as a Triton kernel: windows are cut from the uint8 images.

A program compares some candidates of one query window. The lanes lie along the rows of the windows,
so that a row of a candidate is read at once.
"""

from typing import no_type_check

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["num_ids", "ids_stride"])
@no_type_check  # a wrapper that checks would hide this module's names from Triton
def rescore_kernel(
    images,  # uint8 [n, C, HEIGHT, WIDTH]
    windows,  # float32 [q, C, ROWS, COLS], in gray levels: the cells inside the image
    ids,  # int64 [q, k], or [k] for all queries; -1 for none
    dist_sq,  # float32 [q, k], in squared gray levels
    num_ids,  # k
    ids_stride,  # k, or 0 where all queries have the same
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    C: tl.constexpr,
    FIRST_ROW: tl.constexpr,
    ROWS: tl.constexpr,
    FIRST_COL: tl.constexpr,
    COLS: tl.constexpr,
    CANDIDATES: tl.constexpr,
    LANES: tl.constexpr,
):
    """Distances between window and candidates; rows and columns past a border wrap round.

    FIRST_ROW and FIRST_COL are the window's first row and column relative to its center.
    """
    query = tl.program_id(0).to(tl.int64)
    place = tl.program_id(1) * CANDIDATES + tl.arange(0, CANDIDATES)
    wanted = tl.load(ids + query * ids_stride + place, mask=place < num_ids, other=-1)
    found = tl.maximum(wanted, 0)
    image, y, x = found // (HEIGHT * WIDTH), found // WIDTH % HEIGHT, found % WIDTH
    lane = tl.arange(0, LANES)
    # Python's remainder of the constants: a window may begin more than an image before its center,
    # and on the GPU the remainder of a negative number is negative
    first_row: tl.constexpr = FIRST_ROW % HEIGHT
    first_col: tl.constexpr = FIRST_COL % WIDTH
    col = (x[:, None] + (lane + first_col)[None, :]) % WIDTH
    corner = images + (image * (C * HEIGHT * WIDTH))[:, None] + col
    window = windows + query * (C * ROWS * COLS) + lane
    seen = lane[None, :] < tl.where(wanted >= 0, COLS, 0)[:, None]
    sums = tl.zeros([CANDIDATES, LANES], tl.float32)
    for c in range(C):
        for i in range(ROWS):
            row = (y + (i + first_row)) % HEIGHT
            level = tl.load(corner + ((c * HEIGHT + row) * WIDTH)[:, None], mask=seen, other=0)
            target = tl.load(window + (c * ROWS + i) * COLS, mask=lane < COLS, other=0.0)
            off = target[None, :] - level.to(tl.float32)
            sums += off * off
    total = tl.where(wanted >= 0, tl.sum(sums, 1), float("inf"))
    tl.store(dist_sq + query * num_ids + place, total, mask=place < num_ids)
