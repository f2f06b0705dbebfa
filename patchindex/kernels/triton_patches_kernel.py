"""Small steps on the way to the sums of found patches, as Triton kernels.

In torch each takes a dozen operations, and a GPU waits for the host that asks for them.
"""

from typing import no_type_check

import triton
import triton.language as tl

HALF_RANGE = tl.constexpr(127.5)
NONE_LAST = tl.constexpr(2**63 - 1)  # in place of no id, so that it is sorted behind all ids


@triton.jit(do_not_specialize=["num_ids"])
@no_type_check  # a wrapper that checks would hide this module's names from Triton
def propagate_kernel(
    found,  # int64 [b, rows, cols, num_ids]; -1 for none
    targets,  # int64 [q, 3]: state, row place, column place
    row_neighbors,  # int64 [places, 2], see `NeighborAxis`
    row_steps,
    row_centers,
    col_neighbors,
    col_steps,
    col_centers,
    moved,  # int64 [q, 4 * num_ids]: NONE_LAST for none
    num_ids,
    found_rows,
    found_cols,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The legal ids of one of the four neighbors of a target, moved by the step from there."""
    query, side = tl.program_id(0).to(tl.int64), tl.program_id(1)
    state = tl.load(targets + query * 3)
    row, col = tl.load(targets + query * 3 + 1), tl.load(targets + query * 3 + 2)
    above, beside = side // 2, side % 2
    from_row = tl.load(row_neighbors + row * 2 + above)
    from_col = tl.load(col_neighbors + col * 2 + beside)
    row_step = tl.load(row_steps + row * 2 + above)
    col_step = tl.load(col_steps + col * 2 + beside)
    first_row, end_row = tl.load(row_centers + row * 2), tl.load(row_centers + row * 2 + 1)
    first_col, end_col = tl.load(col_centers + col * 2), tl.load(col_centers + col * 2 + 1)
    source = found + ((state * found_rows + from_row) * found_cols + from_col) * num_ids
    into = moved + (query * 4 + side) * num_ids
    for start in range(0, num_ids, BLOCK):
        at = start + tl.arange(0, BLOCK)
        own = tl.load(source + at, mask=at < num_ids, other=-1)
        there = tl.maximum(own, 0)
        y, x = there // WIDTH % HEIGHT + row_step, there % WIDTH + col_step
        legal = (own >= 0) & (y >= first_row) & (y < end_row) & (x >= first_col) & (x < end_col)
        to = tl.where(legal, own + row_step * WIDTH + col_step, NONE_LAST)
        tl.store(into + at, to, mask=at < num_ids)


@triton.jit(do_not_specialize=["num_ids"])
@no_type_check  # a wrapper that checks would hide this module's names from Triton
def mark_repeats_kernel(
    ordered,  # int64 [q, num_ids], ascending in each row
    marked,  # int64 [q, num_ids]: NONE_LAST in place of an id that was there before
    counts,  # int64 [q]: ids that are left
    num_ids,
    BLOCK: tl.constexpr,
):
    """Each id of a query once."""
    query = tl.program_id(0).to(tl.int64)
    row, count = ordered + query * num_ids, tl.zeros([BLOCK], tl.int64)
    for start in range(0, num_ids, BLOCK):
        at = start + tl.arange(0, BLOCK)
        own = tl.load(row + at, mask=at < num_ids, other=NONE_LAST)
        before = tl.load(row + at - 1, mask=(at > 0) & (at < num_ids), other=-1)
        own = tl.where(own == before, NONE_LAST, own)
        tl.store(marked + query * num_ids + at, own, mask=at < num_ids)
        count += (own < NONE_LAST).to(tl.int64)
    tl.store(counts + query, tl.sum(count, 0))


@triton.jit(do_not_specialize=["num_places", "members"])
@no_type_check  # a wrapper that checks would hide this module's names from Triton
def place_images_kernel(
    images,  # int64 [sets, groups, members]; -1 for none
    shares,  # int32, the same
    groups_of,  # int32 [sets, num_places]: share * groups + group of each image
    num_places,
    members,
    GROUPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Tell each image of a group its group and share."""
    row = tl.program_id(0).to(tl.int64)  # of sets and groups
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    image = tl.load(images + row * members + at, mask=at < members, other=-1)
    share = tl.load(shares + row * members + at, mask=at < members, other=0)
    into = groups_of + row // GROUPS * num_places + image
    tl.store(into, share * GROUPS + (row % GROUPS).to(tl.int32), mask=image >= 0)


@triton.jit(do_not_specialize=["num_ids", "num_places"])
@no_type_check  # a wrapper that checks would hide this module's names from Triton
def weigh_kernel(
    dist_sq,  # float32 [q, num_ids], infinite for none
    ids,  # int64 [q, num_ids]
    images,  # uint8 [n, C, HEIGHT, WIDTH]
    sums,  # float64 [3 + C, q]: log_max, sum_w, sum_w2, and sum_wc of each channel
    num_scored,  # int64 [q]
    query_pixels,  # int64 [q]
    numbers,  # int64 [q], border signatures
    set_of,  # int64 [signatures], -1 for none
    groups_of,  # int32 [sets, num_places], see `place_images_kernel`; -1 for none
    displacement_shares,  # int32 [sets, ROWS, COLS]
    groups,  # int32 [q, num_ids]: the group of each patch, -1 for none
    num_ids,
    num_queries,
    num_places,
    variance,  # twice the squared noise
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    C: tl.constexpr,
    GROUPED: tl.constexpr,
    GROUPS: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The exact sums over the patches of a query, and the groups they are in."""
    query = tl.program_id(0).to(tl.int64)
    near = tl.full([BLOCK], float("inf"), tl.float32)
    for start in range(0, num_ids, BLOCK):
        at = start + tl.arange(0, BLOCK)
        inside = at < num_ids
        own = tl.load(dist_sq + query * num_ids + at, mask=inside, other=float("inf"))
        near = tl.minimum(near, own)
    nearest = tl.min(near, 0)
    log_max = -nearest / variance
    shift = tl.where(nearest < float("inf"), log_max, 0.0)
    sum_w = tl.zeros([BLOCK], tl.float64)
    sum_w2 = tl.zeros([BLOCK], tl.float64)
    count = tl.zeros([BLOCK], tl.int64)
    sum_wc = ()
    for _ in tl.static_range(C):
        sum_wc = sum_wc + (tl.zeros([BLOCK], tl.float64),)
    if GROUPED:
        pixel = tl.load(query_pixels + query)
        own_set = tl.load(set_of + tl.load(numbers + query))
        table = groups_of + tl.maximum(own_set, 0) * num_places
        moves = displacement_shares + tl.maximum(own_set, 0) * (ROWS * COLS)
    for start in range(0, num_ids, BLOCK):
        at = start + tl.arange(0, BLOCK)
        inside = at < num_ids
        own = tl.load(dist_sq + query * num_ids + at, mask=inside, other=float("inf"))
        patch = tl.load(ids + query * num_ids + at, mask=inside, other=-1)
        there, found = tl.maximum(patch, 0), patch >= 0
        image, center = there // (HEIGHT * WIDTH), there % (HEIGHT * WIDTH)
        weight = tl.exp(-own / variance - shift).to(tl.float64)
        sum_w += weight
        sum_w2 += weight * weight
        count += (own < float("inf")).to(tl.int64)
        more = ()
        for c in tl.static_range(C):
            place = (image * C + c) * (HEIGHT * WIDTH) + center
            level = tl.load(images + place, mask=found, other=0).to(tl.float64)
            more = more + (sum_wc[c] + weight * (level / HALF_RANGE - 1),)
        sum_wc = more
        if GROUPED:
            dy = center // WIDTH - pixel // WIDTH + ROWS // 2
            dx = center % WIDTH - pixel % WIDTH + COLS // 2
            asked = found & (own_set >= 0) & (dy >= 0) & (dy < ROWS) & (dx >= 0) & (dx < COLS)
            share = tl.load(moves + dy * COLS + dx, mask=asked, other=-1)
            member = tl.load(table + image, mask=asked, other=-1)
            same = (member >= 0) & (member // GROUPS == share)
            group = tl.where(same, member % GROUPS, -1)
            tl.store(groups + query * num_ids + at, group, mask=inside)
    into = sums + query
    tl.store(into, log_max.to(tl.float64))
    tl.store(into + num_queries, tl.sum(sum_w, 0))
    tl.store(into + 2 * num_queries, tl.sum(sum_w2, 0))
    for c in tl.static_range(C):
        tl.store(into + (3 + c) * num_queries, tl.sum(sum_wc[c], 0))
    tl.store(num_scored + query, tl.sum(count, 0))


@triton.jit(do_not_specialize=["num_members", "num_ids"])
@no_type_check  # a wrapper that checks would hide this module's names from Triton
def members_kernel(
    places,  # int64 [num_members], in the flattened distances
    dist_sq,  # float32 [q, num_ids]
    ids,  # int64 [q, num_ids]
    groups,  # int32 [q, num_ids]
    images,  # uint8 [n, C, HEIGHT, WIDTH]
    queries,  # int64 [num_members]
    own_groups,  # int64 [num_members]
    log_weights,  # float32 [num_members]
    centers,  # float32 [num_members, C]
    num_members,
    num_ids,
    variance,  # twice the squared noise
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    C: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The entries of `GroupMembers` for the patches that are in groups."""
    member = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = member < num_members
    place = tl.load(places + member, mask=inside, other=0)
    tl.store(queries + member, place // num_ids, mask=inside)
    group = tl.load(groups + place, mask=inside, other=0)
    tl.store(own_groups + member, group.to(tl.int64), mask=inside)
    dist = tl.load(dist_sq + place, mask=inside, other=0.0)
    tl.store(log_weights + member, -dist / variance, mask=inside)
    patch = tl.load(ids + place, mask=inside, other=0)
    image, center = patch // (HEIGHT * WIDTH), patch % (HEIGHT * WIDTH)
    for c in tl.static_range(C):
        at = images + (image * C + c) * (HEIGHT * WIDTH) + center
        level = tl.load(at, mask=inside, other=0).to(tl.float32)
        tl.store(centers + member * C + c, level / HALF_RANGE - 1, mask=inside)
