"""The list scan as a Triton kernel: one program for some queries of a list and a share of its codes.

Programs of a list run beside each other, so that its codes come from the cache for all but the
first. A code is decoded once for all queries of the program. Distances are sums of float32 squares.
"""

import triton
import triton.language as tl


@triton.jit
def scan_list_tile(
    vectors,
    codes,
    offsets,
    code_first,
    code_step,
    ids,
    members,
    patches_per_image,
    tile_lists,
    lists,
    queries,
    starts,
    num_pairs,
    dist_sq,
    width,
    R: tl.constexpr,
    MASKED: tl.constexpr,
    ID_BITS: tl.constexpr,
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
        mine = pair + tl.arange(0, TILE_QUERIES)
        here = mine < num_pairs
        here = here & (tl.load(lists + mine, mask=here, other=-1) == number)
        query = tl.load(queries + mine, mask=here, other=0)
        row = query * width + tl.load(starts + mine, mask=here, other=0)
        for block in range(tl.program_id(1), tl.cdiv(size, TILE_CODES), LIST_SHARES):
            place = block * TILE_CODES + tl.arange(0, TILE_CODES)
            inside = place < size
            sums = tl.zeros([TILE_QUERIES, TILE_CODES], tl.float32)
            for r in range(R):
                code = tl.load(codes + (first + place) * R + r, mask=inside, other=0)
                decoded = tl.load(code_first + r) + code.to(tl.float32) * tl.load(code_step + r)
                diff = tl.load(vectors + query * R + r)[:, None] - decoded[None, :]
                sums += diff * diff
            if MASKED:
                patch = tl.load(ids + first + place, mask=inside, other=0).to(tl.int64) & ID_BITS
                member = tl.load(members + patch // patches_per_image)
                sums = tl.where((member != 0)[None, :], sums, float("inf"))
            at = dist_sq + row[:, None] + place[None, :]
            tl.store(at, sums, mask=here[:, None] & inside[None, :])
