"""Exact distances of chosen patches as a Triton kernel: windows are cut from the uint8 images.

A program compares some candidates of one query window. The lanes lie along the rows of the windows,
so that a row of a candidate is read at once.
"""

from typing import no_type_check

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["num_ids", "ids_stride", "numbers_stride", "side"])
@no_type_check  # a wrapper that checks would hide this module's names from Triton
def rescore_kernel(
    images,  # uint8 [n, C, HEIGHT, WIDTH]
    windows,  # float32 [q, C, side, side], in gray levels
    ids,  # int64 [q, k], or [k] for all queries; -1 for none
    dist_sq,  # float32 [q, k], in squared gray levels
    shapes,  # int32 [signatures, 4]: which rows and columns of a window count, from its center on
    numbers,  # int64 [q], the signature of each window, or [1] for all
    num_ids,  # k
    ids_stride,  # k, or 0 where all queries have the same
    numbers_stride,  # 1, or 0 where all queries have the same
    side,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    C: tl.constexpr,
    CANDIDATES: tl.constexpr,
    LANES: tl.constexpr,
):
    """Distances between window and candidates; rows and columns past a border wrap round.

    Windows of all shapes are served by one program: it is compiled for the lanes that the side
    needs, and not for the side, nor for what of it lies inside the image.
    """
    query = tl.program_id(0).to(tl.int64)
    place = tl.program_id(1) * CANDIDATES + tl.arange(0, CANDIDATES)
    wanted = tl.load(ids + query * ids_stride + place, mask=place < num_ids, other=-1)
    shape = shapes + tl.load(numbers + query * numbers_stride) * 4
    first_row, end_row = tl.load(shape), tl.load(shape + 1)
    first_col, end_col = tl.load(shape + 2), tl.load(shape + 3)
    radius = side // 2
    found = tl.maximum(wanted, 0)
    image, y, x = found // (HEIGHT * WIDTH), found // WIDTH % HEIGHT, found % WIDTH
    lane = tl.arange(0, LANES)
    # a window may be wider than the image: what is divided is never negative
    around_rows, around_cols = radius // HEIGHT * HEIGHT + HEIGHT, radius // WIDTH * WIDTH + WIDTH
    col = (x[:, None] + (lane + first_col + around_cols)[None, :]) % WIDTH
    corner = images + (image * (C * HEIGHT * WIDTH))[:, None] + col
    window = windows + query * (C * side * side) + lane + (first_col + radius)
    num_cols = end_col - first_col
    seen = lane[None, :] < tl.where(wanted >= 0, num_cols, 0)[:, None]
    sums = tl.zeros([CANDIDATES, LANES], tl.float32)
    for c in range(C):
        for i in range(first_row, end_row):
            row = (y + (i + around_rows)) % HEIGHT
            level = tl.load(corner + ((c * HEIGHT + row) * WIDTH)[:, None], mask=seen, other=0)
            at = window + (c * side + i + radius) * side
            target = tl.load(at, mask=lane < num_cols, other=0.0)
            off = target[None, :] - level.to(tl.float32)
            sums += off * off
    total = tl.where(wanted >= 0, tl.sum(sums, 1), float("inf"))
    tl.store(dist_sq + query * num_ids + place, total, mask=place < num_ids)
