"""List search as a Triton kernel: a program has some queries of a list, and a share of its codes.

Programs of a list run beside each other, so that its codes come from the cache for all but the
first. A code is decoded once for all queries of the program. Distances are sums of float32 squares,
added in the same order whoever the other queries are.
"""

from typing import no_type_check

import triton
import triton.language as tl

FEW = tl.constexpr(2)  # queries that a program compares when no more of its tile visit the list


@triton.jit(do_not_specialize=["patches_per_image", "num_pairs", "width"])
@no_type_check  # a wrapper that checks would hide this module's names from Triton
def scan_list_tile(
    vectors,  # float32 [q, R]
    codes,  # uint8 [p, R]
    offsets,  # int64 [lists + 1]
    code_first,  # float32 [R]
    code_step,  # float32 [R]: code c stands for code_first + c * code_step
    ids,  # int64 [p]; read if MASKED
    image_mask,  # uint8 [n], 1 for images that count; read if MASKED
    patches_per_image,
    tile_lists,  # int64 [pairs]: the list where a tile begins, else -1
    lists,  # int64 [pairs], ascending
    queries,  # int64 [pairs]
    starts,  # int64 [pairs], column of the first code
    num_pairs,
    dist_sq,  # float32 [q, width], written
    width,
    R: tl.constexpr,
    MASKED: tl.constexpr,
    TILE_QUERIES: tl.constexpr,
    TILE_CODES: tl.constexpr,
    LIST_SHARES: tl.constexpr,
):
    """Compare the pairs of one list, from this program's on, with a share of its codes."""
    pair = tl.program_id(0)
    number = tl.load(tile_lists + pair)
    if number >= 0:
        first = tl.load(offsets + number)
        size = tl.load(offsets + number + 1) - first
        if tl.load(lists + pair + FEW, mask=pair + FEW < num_pairs, other=-1) == number:
            scan_share(
                vectors, codes + first * R, code_first, code_step, ids + first, image_mask,
                patches_per_image, lists, queries, starts, num_pairs, dist_sq, width, number, size,
                R, MASKED, TILE_QUERIES, TILE_CODES, LIST_SHARES,
            )  # fmt: skip
        else:
            scan_share(
                vectors, codes + first * R, code_first, code_step, ids + first, image_mask,
                patches_per_image, lists, queries, starts, num_pairs, dist_sq, width, number, size,
                R, MASKED, FEW, TILE_CODES, LIST_SHARES,
            )  # fmt: skip


@triton.jit
@no_type_check  # a wrapper that checks would hide this module's names from Triton
def scan_share(
    vectors,
    codes,
    code_first,
    code_step,
    ids,
    image_mask,
    patches_per_image,
    lists,
    queries,
    starts,
    num_pairs,
    dist_sq,
    width,
    number,
    size,
    R: tl.constexpr,
    MASKED: tl.constexpr,
    QUERIES: tl.constexpr,
    TILE_CODES: tl.constexpr,
    LIST_SHARES: tl.constexpr,
):
    """Write the distances of up to QUERIES queries to every LIST_SHARES-th block of the codes."""
    mine = tl.program_id(0) + tl.arange(0, QUERIES)
    here = mine < num_pairs
    here = here & (tl.load(lists + mine, mask=here, other=-1) == number)
    query = tl.load(queries + mine, mask=here, other=0)
    row = query * width + tl.load(starts + mine, mask=here, other=0)
    for block in range(tl.program_id(1), tl.cdiv(size, TILE_CODES), LIST_SHARES):
        place = block * TILE_CODES + tl.arange(0, TILE_CODES)
        inside = place < size
        sums = tl.zeros([QUERIES, TILE_CODES], tl.float32)
        for r in range(R):
            code = tl.load(codes + place * R + r, mask=inside, other=0).to(tl.float32)
            decoded = tl.fma(code, tl.load(code_step + r), tl.load(code_first + r))
            diff = tl.load(vectors + query * R + r)[:, None] - decoded[None, :]
            sums = tl.fma(diff, diff, sums)
        if MASKED:
            patch = tl.load(ids + place, mask=inside, other=0)
            member = tl.load(image_mask + patch // patches_per_image)
            sums = tl.where((member != 0)[None, :], sums, float("inf"))
        at = dist_sq + row[:, None] + place[None, :]
        tl.store(at, sums, mask=here[:, None] & inside[None, :])
