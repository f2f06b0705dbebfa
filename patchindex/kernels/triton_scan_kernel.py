"""The exact scan as a Triton kernel: one warp per tile of query rows, one lane per query column.

A program walks through training images and displacements. For each displacement it forms squared
differences of whole rows, sums them down the columns in registers and across the columns by
shuffles, and adds the weights to running sums that never leave its registers. Training rows are
loaded once for MOVES displacements. Distances are sums of float32 squares, grouped as a binary
tree, so that nothing cancels; all exponents are of base 2.
"""

from typing import no_type_check

import triton
import triton.language as tl

MODES = {"zeros": 0, "circular": 1, "circular_interior": 2}
LOWEST = tl.constexpr(-1e30)  # less than any log weight, and more than NOTHING
NOTHING = tl.constexpr(-2e30)  # added to the log weight of pairs that are not legal
# Gray level beyond a border: equal in query and image where windows cross it equally, else so far
# away that the pair weighs nothing. So the boundary rule costs nothing down the columns.
OUTSIDE = tl.constexpr(1e15)
# compiled once for all of them, as a variant of the kernel takes half a minute
COUNTS = [
    "num_images", "images_per_program", "num_states", "num_sums", "first_sum",
    "first_top", "tiles_above", "rows_between",
]  # fmt: skip
NUM_SCALARS = tl.constexpr(3)  # running sums besides the centers: maximum, weights, their squares


@triton.jit
@no_type_check  # a wrapper that checks would hide this module's names from Triton
def moved(values, lane, step: tl.constexpr, PERIOD: tl.constexpr):
    """Each lane's value from `step` columns to the right, round an axis of PERIOD columns."""
    # Of a constant the remainder is Python's; on the GPU that of a negative number is negative, and
    # a window may be wider than the period.
    right: tl.constexpr = step % PERIOD
    if right == 0:
        return values
    return tl.gather(values, (lane + right) % PERIOD, 0)


@triton.jit
@no_type_check  # a wrapper that checks would hide this module's names from Triton
def moved_in(values, lane, step: tl.constexpr):
    """The same, with zeros from beyond the border."""
    at = lane + step
    inside = (at >= 0) & (at < values.shape[0])
    return tl.where(inside, tl.gather(values, tl.where(inside, at, 0), 0), 0.0)


@triton.jit
@no_type_check  # a wrapper that checks would hide this module's names from Triton
def column_sums(cells, SIZE: tl.constexpr, COUNT: tl.constexpr, NUM_BITS: tl.constexpr):
    """Sums of SIZE consecutive rows, COUNT of them, from sums of 1, 2, 4, ... rows."""
    totals = ()
    for i in tl.static_range(COUNT):
        totals = totals + (cells[i],)  # an odd size has its first bit set
    sums = cells
    for bit in tl.static_range(1, NUM_BITS):
        longer = ()
        for i in tl.static_range(COUNT + SIZE - (1 << bit)):
            longer = longer + (sums[i] + sums[i + (1 << (bit - 1))],)
        sums = longer
        if (SIZE >> bit) & 1:
            more = ()
            for i in tl.static_range(COUNT):
                more = more + (totals[i] + sums[i + SIZE % (1 << bit)],)
            totals = more
    return totals


@triton.jit
@no_type_check  # a wrapper that checks would hide this module's names from Triton
def window_sum(values, lane, R: tl.constexpr, NUM_BITS: tl.constexpr, PERIOD: tl.constexpr):
    """Sums over the columns x - R .. x + R: R on either side, and the one that is R to the right.

    Right for windows inside the image, and for all where the image has PERIOD columns and wraps.
    NUM_BITS is the number of bits of R.
    """
    if R == 0:
        return values
    side = values
    sums = values
    for bit in tl.static_range(NUM_BITS):
        if (R >> bit) & 1:
            side = sums if R % (1 << bit) == 0 else side + moved(sums, lane, R % (1 << bit), PERIOD)
        if bit + 1 < NUM_BITS:
            sums += moved(sums, lane, 1 << bit, PERIOD)
    return moved(side, lane, -R, PERIOD) + side + moved(values, lane, R, PERIOD)


@triton.jit
@no_type_check  # a wrapper that checks would hide this module's names from Triton
def clipped_window_sum(values, lane, R: tl.constexpr, NUM_BITS: tl.constexpr):
    """The same sums where cells beyond the border are zero, for windows that reach there, too."""
    total = values
    for side in tl.static_range(2):
        sums = values
        for bit in tl.static_range(NUM_BITS):
            if (R >> bit) & 1:
                start = 1 + R % (1 << bit)
                total += moved_in(sums, lane, start if side else -start)
            if bit + 1 < NUM_BITS:
                sums += moved_in(sums, lane, (1 << bit) if side else -(1 << bit))
    return total


@triton.jit
@no_type_check  # a wrapper that checks would hide this module's names from Triton
def legal_moves(at, R: tl.constexpr, SIZE: tl.constexpr, MODE: tl.constexpr, MOVES: tl.constexpr):
    """First and last displacement from query coordinate `at` to a legal center of the same axis."""
    if not MOVES:  # Triton compiles what follows an early return, so there is only one
        first, last = 0, 0
    elif MODE == 1:
        first, last = 0, SIZE - 1
    elif MODE == 2:
        first, last = R - at, SIZE - R - 1 - at
    else:
        free = (at >= R) & (at < SIZE - R)
        first, last = tl.where(free, R - at, 0), tl.where(free, SIZE - R - 1 - at, 0)
    return first, last


@triton.jit
@no_type_check  # a wrapper that checks would hide this module's names from Triton
def any_compared(shares, share, MOVES: tl.constexpr, WIDTH: tl.constexpr):
    """1 if any lane has this share at one of MOVES vertical displacements, else 0.

    `shares` points to the first one's, for lanes whose displacement to the right is less by WIDTH
    than that of the others, as they go round; those of the others are WIDTH further on.
    """
    compared = 0
    for i in tl.static_range(2 * MOVES):
        compared = tl.maximum(compared, (tl.load(shares + i * WIDTH) == share).to(tl.int32))
    return compared


@triton.jit
@no_type_check  # a wrapper that checks would hide this module's names from Triton
def share_penalty(shares, share, goes_round, WIDTH: tl.constexpr):
    """What lanes add to log weights at a displacement, so that only those of this share count."""
    own = tl.where(goes_round, tl.load(shares), tl.load(shares + WIDTH))
    return tl.where(own == share, 0.0, NOTHING)


@triton.jit(do_not_specialize=COUNTS)
@no_type_check  # a wrapper that checks would hide this module's names from Triton
def scan_kernel(
    queries,  # float32 [b, C, HEIGHT + 2R, WIDTH], in gray levels, with the rows beyond the border
    images,  # float32 [groups * num_images, C, HEIGHT, WIDTH], gray levels
    sums,  # float32 [3 + C, num_sums, b, HEIGHT, WIDTH]: see the end
    num_images,  # of a group
    images_per_program,
    num_states,
    num_sums,  # of this launch and of others
    first_sum,  # of this launch
    first_top,  # row of the query where the first tile begins
    tiles_above,  # the first tiles; behind them
    rows_between,  # are left out
    exponent,  # log2 weight per squared gray level, negative
    image_shares,  # int32 [groups * num_images], or None if not SHARED
    move_shares,  # int32 [2 * HEIGHT - 1 + MOVES, 2 * WIDTH], displacement 0 at [HEIGHT - 1, WIDTH]
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    C: tl.constexpr,
    R: tl.constexpr,
    MODE: tl.constexpr,
    MOVES_ROWS: tl.constexpr,
    FIRST_COL: tl.constexpr,
    END_COL: tl.constexpr,
    LANES: tl.constexpr,
    ROWS: tl.constexpr,
    MOVES: tl.constexpr,
    SIZE_BITS: tl.constexpr,
    R_BITS: tl.constexpr,
    SHARED: tl.constexpr,
):
    """The sums of ROWS query rows of one state over some of the images of a group.

    If SHARED, an image is compared only at the displacements that have its share.
    """
    tile = tl.program_id(0)
    # rows before the first and behind the last are idle
    top = first_top + tile * ROWS + tl.where(tile < tiles_above, 0, rows_between)
    state, split = tl.program_id(1), tl.program_id(2)
    lane = tl.arange(0, LANES)
    PERIOD: tl.constexpr = WIDTH if MODE else LANES  # what lies round the border is not used
    STRIDE: tl.constexpr = NUM_SCALARS + C  # running sums of a pixel
    query = ()
    for i in tl.static_range(ROWS + 2 * R):
        for c in tl.static_range(C):
            row = (state * C + c) * (HEIGHT + 2 * R) + top + i
            end = tl.where((top + i >= 0) & (top + i < HEIGHT + 2 * R), WIDTH, 0)
            query = query + (tl.load(queries + row * WIDTH + lane, mask=lane < end, other=OUTSIDE),)
    running = ()
    for _ in tl.static_range(ROWS):
        running = running + (tl.full([LANES], LOWEST, tl.float32),)
        for _ in tl.static_range(NUM_SCALARS - 1 + C):
            running = running + (tl.zeros([LANES], tl.float32),)

    first_move, last_move = HEIGHT, -HEIGHT
    for i in tl.static_range(ROWS):
        at = tl.minimum(tl.maximum(top + i, 0), HEIGHT - 1)
        lowest, highest = legal_moves(at, R, HEIGHT, MODE, MOVES_ROWS)
        first_move, last_move = tl.minimum(first_move, lowest), tl.maximum(last_move, highest)
    image_size: tl.constexpr = C * HEIGHT * WIDTH
    programs_per_group = tl.cdiv(num_images, images_per_program)
    begun = split % programs_per_group * images_per_program  # images of the group before
    first_image = split // programs_per_group * num_images + begun
    own_images = images + first_image.to(tl.int64) * image_size
    for image in range(tl.minimum(images_per_program, num_images - begun)):
        share = tl.load(image_shares + first_image + image) if SHARED else 0
        for across in range(FIRST_COL, END_COL):
            col = (lane + across) % WIDTH
            left, right = legal_moves(lane, R, WIDTH, MODE, END_COL > 1)
            legal_col = (MODE == 1) | ((col - lane >= left) & (col - lane <= right))
            col_penalty = tl.where(legal_col, 0.0, NOTHING)
            pixels = own_images + image * image_size + col
            for first in range(first_move, last_move + 1, MOVES):
                rounds = 1
                if SHARED:
                    first_shares = move_shares + (HEIGHT - 1 + first) * 2 * WIDTH + across
                    rounds = any_compared(first_shares, share, MOVES, WIDTH)
                for _once in range(rounds):  # at most: a branch that leaves the sums as they were
                    train = ()
                    corner = pixels + (top - R + first) * WIDTH
                    for j in tl.static_range(ROWS + 2 * R + MOVES - 1):
                        row = top - R + first + j
                        at_row = corner + j * WIDTH
                        if MODE == 1:
                            row = (row % HEIGHT + HEIGHT) % HEIGHT
                            at_row = pixels + row * WIDTH
                        mask = lane < tl.where((row >= 0) & (row < HEIGHT), WIDTH, 0)
                        for c in tl.static_range(C):
                            level = tl.load(at_row + c * HEIGHT * WIDTH, mask=mask, other=OUTSIDE)
                            train = train + (level,)
                    log_weights = ()
                    for g in tl.static_range(MOVES):
                        penalty = col_penalty + tl.where(first + g <= last_move, 0.0, NOTHING)
                        if SHARED:
                            goes_round = lane + across >= WIDTH
                            shares = first_shares + 2 * g * WIDTH
                            penalty += share_penalty(shares, share, goes_round, WIDTH)
                        cells = ()
                        for i in tl.static_range(ROWS + 2 * R):
                            cell = tl.zeros([LANES], tl.float32)
                            for c in tl.static_range(C):
                                off = query[i * C + c] - train[(i + g) * C + c]
                                cell += off * off
                            cells = cells + (cell,)
                        columns = column_sums(cells, 2 * R + 1, ROWS, SIZE_BITS)
                        for i in tl.static_range(ROWS):
                            if MODE == 0 and END_COL == 1:
                                dist_sq = clipped_window_sum(columns[i], lane, R, R_BITS)
                            else:
                                dist_sq = window_sum(columns[i], lane, R, R_BITS, PERIOD)
                            log_weights = log_weights + (dist_sq * exponent + penalty,)
                    grown = ()
                    for i in tl.static_range(ROWS):
                        log_max = running[i * STRIDE]
                        for g in tl.static_range(MOVES):
                            log_max = tl.maximum(log_max, log_weights[g * ROWS + i])
                        shrink = tl.exp2(running[i * STRIDE] - log_max)
                        sum_w = running[i * STRIDE + 1] * shrink
                        sum_w2 = running[i * STRIDE + 2] * (shrink * shrink)
                        weights = ()
                        for g in tl.static_range(MOVES):
                            weight = tl.exp2(log_weights[g * ROWS + i] - log_max)
                            sum_w += weight
                            sum_w2 += weight * weight
                            weights = weights + (weight,)
                        grown = grown + (log_max, sum_w, sum_w2)
                        for c in tl.static_range(C):
                            sum_wc = running[i * STRIDE + NUM_SCALARS + c] * shrink
                            for g in tl.static_range(MOVES):
                                sum_wc += weights[g] * train[(i + R + g) * C + c]
                            grown = grown + (sum_wc,)
                    running = grown

    # in order: largest log2 weight, sum of weights, of their squares, of weights times gray levels
    plane = HEIGHT * WIDTH
    place = ((first_sum + split).to(tl.int64) * num_states + state) * plane
    field_size = tl.zeros_like(place) + num_states * plane
    field_size *= num_sums
    for i in tl.static_range(ROWS):
        for part in tl.static_range(NUM_SCALARS + C):
            at_row = sums + part * field_size + place + (top + i) * WIDTH
            end = tl.where((top + i >= 0) & (top + i < HEIGHT), WIDTH, 0)
            tl.store(at_row + lane, running[i * STRIDE + part], mask=lane < end)
