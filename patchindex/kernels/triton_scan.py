"""The exact scan on a GPU."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import lru_cache
from math import e, inf, log, log2
from typing import Any

import torch
from jaxtyping import Float, Float64, Int, Int32, UInt8
from torch import Tensor
from torch.nn.functional import pad

from patchindex.choices import Precision
from patchindex.device import blocks_on, chosen_on
from patchindex.geometry import AxisSignature, PatchGeometry
from patchindex.images import HALF_RANGE
from patchindex.kernels import triton_flash
from patchindex.kernels.bounds import check_groups, check_states
from patchindex.kernels.group_scans import GroupScan, GroupSums
from patchindex.kernels.groups import NO_SHARE, PairGroups
from patchindex.kernels.scan_parts import col_ranges, scan_parts
from patchindex.kernels.tiles import ScanTile, num_lanes, scan_tile
from patchindex.kernels.triton_merge_kernel import merge_kernel
from patchindex.kernels.triton_scan_kernel import LOWEST, MODES, OUTSIDE, scan_kernel
from patchindex.records import PosteriorRecord
from patchindex.windows import wrapped

# A program's float32 sums are of so many images, some ten thousand terms a lane; programs are
# merged in float64. The number does not depend on the states: a state has the same sums in any
# batch.
IMAGES_PER_PROGRAM = 32
BLOCK_BYTES = 2**28  # of the images of a launch, as float32; blocks do not depend on the states
SUMS_BYTES = 2**28  # of all programs of a launch
MERGED_QUERIES = 128  # of a program that merges
MOST_SPLITS = 2**16 - 1  # CUDA's limit for the third axis of a grid
GEOMETRIES = 64  # whose numbers of patches stay on a device; a map of 64 x 64 has 32 KiB


def exact_scan(
    pixels: UInt8[Tensor, "n c h w"],
    y: Float[Tensor, "b c h w"],
    sigma: float,
    geometry: PatchGeometry,
    groups: PairGroups | None = None,
    *,
    precision: Precision = "auto",
) -> PosteriorRecord:
    """See `patchindex.kernels`.

    Images that lie on the host are copied block by block while others are summed.
    """
    check_states(y, sigma)
    if groups is not None:
        return _scan_groups(pixels, y, sigma, geometry, groups)
    c, height, width = pixels.shape[1:]
    flash = triton_flash.serves(geometry, c, sigma, precision) and triton_flash.has_tensor_cores(
        y.device
    )
    program_bytes = 4 * c * height * width * IMAGES_PER_PROGRAM
    num_programs = min(max(1, BLOCK_BYTES // program_bytes), MOST_SPLITS)
    block_size = min(num_programs * IMAGES_PER_PROGRAM, len(pixels))
    levels = y if flash else to_levels(y)
    state_bytes = 4 * (3 + c) * height * width * len(col_ranges(geometry)) * num_programs
    if flash:
        block_size = min(block_size, triton_flash.most_images(geometry, c, SUMS_BYTES))
        state_bytes = max(state_bytes, triton_flash.state_bytes(geometry, c, block_size))
    num_states = max(1, SUMS_BYTES // state_bytes)
    states = levels.split(num_states)
    sums_of = _flash_sums if flash else _sums
    parts = []
    for block in blocks_on(pixels, y.device, block_size):
        totals = [sums_of(block, some, sigma, geometry) for some in states]
        parts.append((torch.cat(totals, dim=1), len(block)))
    per_image = _centers_per_pixel(geometry, y.device)
    # records wait for the device, so none is made before it has all its work
    return PosteriorRecord.merged(
        [as_record(total, num_images * per_image) for total, num_images in parts]
    )


@lru_cache(GEOMETRIES)
def _centers_per_pixel(geometry: PatchGeometry, device: torch.device) -> Int[Tensor, "h w"]:
    """Legal patches per image of each pixel, copied once: the host waits for such a copy."""
    return torch.from_numpy(geometry.centers_per_pixel).to(device)


def _sums(
    block: UInt8[Tensor, "n c h w"],
    levels: Float[Tensor, "b c h w"],
    sigma: float,
    geometry: PatchGeometry,
) -> Float[Tensor, "fields b h w"]:
    """The merged sums over all legal pairs, in float32 arithmetic."""
    return _merged_programs(launch(block, levels, sigma, geometry))


def _flash_sums(
    block: UInt8[Tensor, "n c h w"],
    y: Float[Tensor, "b c h w"],
    sigma: float,
    geometry: PatchGeometry,
) -> Float[Tensor, "fields b h w"]:
    """The same, with whole windows compared by tensor cores, and those at borders as ever."""
    inner = _merged(triton_flash.flash_sums(block, y, sigma, geometry))
    if inner.shape[2:] == y.shape[2:]:
        return inner
    edges = launch(block, to_levels(y), sigma, geometry, edges_only=True)
    sums = _merged_programs(edges)
    rows, cols = triton_flash.query_rows(geometry), triton_flash.query_cols(geometry)
    sums[:, :, rows.start : rows.stop, cols.start : cols.stop] = inner
    return sums


def scan_groups(
    pixels: UInt8[Tensor, "n c h w"],
    y: Float[Tensor, "b c h w"],
    sigma: float,
    scans: Sequence[GroupScan],
) -> GroupSums:
    """See `patchindex.kernels`; all scans write side by side."""
    check_states(y, sigma)
    c, num_groups = y.shape[1], len(scans[0].groups)
    num_queries = [len(y) * scan.num_own for scan in scans]
    rows = torch.empty(3 + c, num_groups, sum(num_queries), dtype=torch.float64, device=y.device)
    levels = to_levels(y)
    for scan, own in zip(scans, rows.split(num_queries, dim=2), strict=True):
        check_groups(scan.groups, len(pixels), scan.geometry)
        seen = (slice(None), slice(None), scan.rows, scan.cols)
        _scan_into(own, pixels[seen], levels[seen], sigma, scan)
    return GroupSums(log_max=rows[0], sum_w=rows[1], sum_w2=rows[2], sum_wc=rows[3:].movedim(0, -1))


def _scan_into(
    own: Float[Tensor, "fields g q"],
    pixels: UInt8[Tensor, "n c h w"],
    levels: Float[Tensor, "b c h w"],
    sigma: float,
    scan: GroupScan,
) -> None:
    """The sums of one scan, with as many groups in a launch as there is memory for."""
    groups, geometry = scan.groups, scan.geometry
    splits = -(-groups.images.shape[1] // IMAGES_PER_PROGRAM)
    program_bytes = 4 * (3 + levels.shape[1]) * levels[:, 0].numel()
    sums_bytes = program_bytes * len(col_ranges(geometry)) * splits
    step = max(1, min(SUMS_BYTES // sums_bytes, MOST_SPLITS // splits))
    parts = (part.split(step) for part in (groups.images, groups.image_shares))
    for into, images, shares in zip(own.split(step, dim=1), *parts, strict=True):
        some = replace(groups, images=images, image_shares=shares)
        block = chosen_on(pixels, images.flatten(), levels.device)
        sums = launch(block, levels, sigma, geometry, some)
        _merge_into(into, sums, scan.own_rows, scan.own_cols)


def _scan_groups(
    pixels: UInt8[Tensor, "n c h w"],
    y: Float[Tensor, "b c h w"],
    sigma: float,
    geometry: PatchGeometry,
    groups: PairGroups,
) -> PosteriorRecord:
    """The sums of groups for all pixels."""
    rows, cols = range(geometry.height), range(geometry.width)
    whole = GroupScan(
        rows=slice(None), cols=slice(None), geometry=geometry, own_rows=rows, own_cols=cols,
        groups=groups.to(y.device),
    )  # fmt: skip
    sums = scan_groups(pixels, y, sigma, [whole])
    num_scored = _num_scored(whole.groups, geometry)[:, None]
    shape = (len(groups), len(y), geometry.height, geometry.width)
    return PosteriorRecord.exact(
        **{name: getattr(sums, name).unflatten(1, shape[1:]) for name in GroupSums.__slots__},
        num_scored=num_scored.expand(shape),
    )


def _merged_programs(
    sums: Float[Tensor, "fields parts splits b h w"],
) -> Float[Tensor, "fields b h w"]:
    """The sums of all programs as one."""
    fields, _, _, num_states, height, width = sums.shape
    own = torch.empty(
        fields, 1, num_states * height * width, dtype=torch.float64, device=sums.device
    )
    _merge_into(own, sums, range(height), range(width))
    return own.view(fields, num_states, height, width)


def _merge_into(
    own: Float[Tensor, "fields g q"],
    sums: Float[Tensor, "fields parts programs b h w"],
    rows: range,
    cols: range,
) -> None:
    """The sums of the programs of each group as one, for the pixels in these rows and columns."""
    num_parts, num_programs, num_states, height, width = sums.shape[1:]
    num_groups, num_queries = own.shape[1:]
    with torch.cuda.device(sums.device) if sums.is_cuda else nullcontext():
        merge_kernel[(-(-num_queries // MERGED_QUERIES), num_groups)](
            sums, own, num_parts, num_programs // num_groups, num_states, num_groups,
            rows.start, cols.start, len(rows), len(cols), own.stride(0), own.stride(1),
            HEIGHT=height, WIDTH=width, C=len(sums) - 3, BLOCK=MERGED_QUERIES,
            num_warps=4, enable_fp_fusion=False,
        )  # fmt: skip


def _num_scored(groups: PairGroups, geometry: PatchGeometry) -> Int[Tensor, "g h w"]:
    """How many patches each group has for each pixel."""
    shares = _shares_of_moves(groups, geometry)[:, 1:].contiguous()
    ordered = groups.image_shares.sort(dim=1).values
    at = shares.flatten().expand(len(groups), -1).contiguous()
    first, stop = (torch.searchsorted(ordered, at, right=right) for right in (False, True))
    images = (stop - first).unflatten(1, shares.shape)
    below = pad(images, (1, 0, 1, 0)).cumsum(1).cumsum(2)  # those at smaller displacements
    top, bottom = _legal_moves([s.rows for s in geometry.signatures], geometry.height)
    left, right = _legal_moves([s.cols for s in geometry.signatures], geometry.width)
    in_rows = below[:, bottom.to(at.device)] - below[:, top.to(at.device)]
    return in_rows[..., right.to(at.device)] - in_rows[..., left.to(at.device)]


def _legal_moves(
    signatures: Sequence[AxisSignature], size: int
) -> tuple[Int[Tensor, " size"], Int[Tensor, " size"]]:
    """First displacement from each coordinate to a legal center, and the end; 0 is size - 1."""
    first = torch.empty(size, dtype=torch.int64)
    stop = torch.empty_like(first)
    for axis in set(signatures):
        for at in axis.pixels:
            first[at], stop[at] = axis.centers.start - at, axis.centers.stop - at
    return first + size - 1, stop + size - 1


def _shares_of_moves(
    groups: PairGroups, geometry: PatchGeometry, more: int = 0
) -> Int32[Tensor, "dy dx"]:
    """Shares of displacements from (1 - height, -width) on: all that images can have, and `more`.

    Of those behind the last row there is none.
    """
    shares, height, width = groups.displacement_shares, geometry.height, geometry.width
    rows, cols = (size // 2 for size in shares.shape)
    sides = (width - cols, width - 1 - cols, height - 1 - rows, height - 1 - rows + more)
    return pad(shares, sides, value=NO_SHARE)


def launch(
    block: UInt8[Tensor, "n c h w"],
    levels: Float[Tensor, "b c h w"],
    sigma: float,
    geometry: PatchGeometry,
    groups: PairGroups | None = None,
    *,
    edges_only: bool = False,
) -> Float[Tensor, "fields parts splits b h w"]:
    """The sums of IMAGES_PER_PROGRAM each over parts of the displacements, see `scan_kernel`.

    States are in gray levels. With groups, the block is their images in order, and no program has
    images of two of them.
    If `edges_only`, pixels of whole windows have sums over some of their patches only.
    """
    (n, c, height, width), b = block.shape, len(levels)
    parts = scan_parts(geometry, scan_tile(geometry, c, levels.device), edges_only=edges_only)
    num_groups = 1 if groups is None else len(groups)
    splits = num_groups * -(-n // num_groups // IMAGES_PER_PROGRAM)
    sums = torch.empty(3 + c, len(parts), splits, b, height, width, device=levels.device)
    if edges_only:  # not all rows have a tile
        sums.zero_()[0] = LOWEST.value
    # converted once: in the kernel it would cost as much as the differences
    queries, images = _with_border(levels, geometry), block.float().contiguous()
    moves = max(part.tile.moves for part in parts)
    shares = _share_constants(groups, geometry, moves)
    with torch.cuda.device(levels.device) if levels.is_cuda else nullcontext():
        for number, part in enumerate(parts):
            shape = constants(geometry, c, part.tile) | shares
            scan_kernel[(part.num_tiles, b, splits)](
                queries, images, sums, n // num_groups, IMAGES_PER_PROGRAM, b,
                len(parts) * splits, number * splits,
                part.first_top, part.tiles_above, part.rows_between,
                -log2(e) / (2 * (sigma * HALF_RANGE) ** 2),
                **shape, FIRST_COL=part.cols.start, END_COL=part.cols.stop,
                num_warps=1, enable_fp_fusion=True,
            )  # fmt: skip
    return sums


def _share_constants(
    groups: PairGroups | None, geometry: PatchGeometry, moves: int
) -> dict[str, Any]:
    """What the kernel is told of groups."""
    if groups is None:
        return {}
    return {
        "SHARED": True,
        "image_shares": groups.image_shares.contiguous(),
        # a round of moves may begin at the last one
        "move_shares": _shares_of_moves(groups, geometry, moves).contiguous(),
    }


def constants(geometry: PatchGeometry, channels: int, tile: ScanTile) -> dict[str, Any]:
    """What the kernel is compiled for, besides the displacements along the rows; without shares."""
    # at one place every window is legal, as it is everywhere in a circular image
    stays_inside = geometry.boundary == "zeros" or geometry.equivariant
    return {
        "HEIGHT": geometry.height,
        "WIDTH": geometry.width,
        "C": channels,
        "R": geometry.radius,
        "MODE": MODES[geometry.boundary if stays_inside else "circular"],
        "MOVES_ROWS": geometry.equivariant,
        "LANES": num_lanes(geometry),
        "ROWS": tile.rows,
        "MOVES": tile.moves,
        "SIZE_BITS": geometry.patch_size.bit_length(),
        "R_BITS": max(1, geometry.radius.bit_length()),
        "SHARED": False,
        "image_shares": None,
        "move_shares": None,
    }


def to_levels(y: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """States in gray levels."""
    return ((y.double() + 1) * HALF_RANGE).float()


def _with_border(
    levels: Float[Tensor, "b c h w"], geometry: PatchGeometry
) -> Float[Tensor, "b c padded_h w"]:
    """States with the rows that windows see beyond the border."""
    if not geometry.query_wraps:
        return pad(levels, (0, 0, geometry.radius, geometry.radius), value=OUTSIDE.value)
    return levels[:, :, wrapped(geometry.height, geometry.radius).to(levels.device)].contiguous()


def _merged(sums: Float64[Tensor, "fields parts *q"]) -> Float64[Tensor, "fields *q"]:
    """The sums of several programs of the flash scan as those of one, see `merge_kernel`."""
    log_max = sums[0].amax(0)
    scale = (sums[0] - log_max).exp2()
    sum_w, sum_w2 = (sums[1] * scale).sum(0), (sums[2] * scale.square()).sum(0)
    centers = [(field * scale).sum(0) / HALF_RANGE - sum_w for field in sums[3:]]
    return torch.stack([(log_max * log(2)).where(sum_w > 0, -inf), sum_w, sum_w2, *centers])


def as_record(sums: Float[Tensor, "fields *q"], num_scored: Int[Tensor, "*#q"]) -> PosteriorRecord:
    """The record of the sums over so many patches."""
    return PosteriorRecord.exact(
        log_max=sums[0],
        sum_w=sums[1],
        sum_wc=sums[3:].movedim(0, -1),
        sum_w2=sums[2],
        num_scored=num_scored.expand(sums.shape[1:]),
    )
