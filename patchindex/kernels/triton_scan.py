"""The exact scan on a GPU."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from math import e, inf, log, log2
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float, Int, Int32, UInt8
from torch import Tensor
from torch.nn.functional import pad

from patchindex.choices import Precision
from patchindex.device import blocks_on, chosen_on
from patchindex.geometry import AxisSignature, PatchGeometry
from patchindex.images import HALF_RANGE
from patchindex.kernels import triton_flash
from patchindex.kernels.bounds import check_groups, check_states
from patchindex.kernels.groups import NO_SHARE, PairGroups
from patchindex.kernels.tiles import ScanTile, num_lanes, scan_tile, tile_tops
from patchindex.kernels.triton_scan_kernel import LOWEST, MODES, OUTSIDE, scan_kernel
from patchindex.records import PosteriorRecord
from patchindex.windows import wrapped

# A program's float32 sums are of so many images, some ten thousand terms a lane; programs are
# merged in float64. The number does not depend on the states: a state has the same sums in any
# batch.
IMAGES_PER_PROGRAM = 32
BLOCK_BYTES = 2**28  # of the images of a launch, as float32; blocks do not depend on the states
SUMS_BYTES = 2**28  # of all programs of a launch
MOST_SPLITS = 2**16 - 1  # CUDA's limit for the third axis of a grid
# The largest tile at displacement 0, if that has a part of its own: so few pairs that larger tiles
# gain nothing, while Triton takes up to a minute for them.
LONE = ScanTile(4, 2)
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
    state_bytes = 4 * (3 + c) * height * width * len(col_ranges(geometry)) * num_programs
    if flash:
        block_size = min(block_size, triton_flash.most_images(geometry, c, SUMS_BYTES))
        state_bytes = max(state_bytes, triton_flash.state_bytes(geometry, c, block_size))
    num_states = max(1, SUMS_BYTES // state_bytes)
    states = y.split(num_states)
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
    y: Float[Tensor, "b c h w"],
    sigma: float,
    geometry: PatchGeometry,
) -> Float[Tensor, "fields b h w"]:
    """The merged sums over all legal pairs, in float32 arithmetic."""
    return _merged(launch(block, y, sigma, geometry).flatten(1, 2))


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
    sums = _merged(launch(block, y, sigma, geometry, edges_only=True).flatten(1, 2))
    rows, cols = triton_flash.query_rows(geometry), triton_flash.query_cols(geometry)
    sums[:, :, rows.start : rows.stop, cols.start : cols.stop] = inner
    return sums


def _scan_groups(
    pixels: UInt8[Tensor, "n c h w"],
    y: Float[Tensor, "b c h w"],
    sigma: float,
    geometry: PatchGeometry,
    groups: PairGroups,
) -> PosteriorRecord:
    """As many groups in a launch as there is memory for."""
    check_groups(groups, len(pixels), geometry)
    groups = groups.to(y.device)
    splits = -(-groups.images.shape[1] // IMAGES_PER_PROGRAM)
    sums_bytes = 4 * (3 + y.shape[1]) * y[:, 0].numel() * len(col_ranges(geometry)) * splits
    step = max(1, min(SUMS_BYTES // sums_bytes, MOST_SPLITS // splits))
    parts = []
    for images, shares in zip(
        groups.images.split(step), groups.image_shares.split(step), strict=True
    ):
        some = replace(groups, images=images, image_shares=shares)
        block = chosen_on(pixels, images.flatten(), y.device)
        sums = launch(block, y, sigma, geometry, some)
        of_groups = rearrange(sums, "f parts (g s) b h w -> f (parts s) g b h w", s=splits)
        parts.append(_merged(of_groups))
    return as_record(torch.cat(parts, dim=1), _num_scored(groups, geometry)[:, None])


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


def _shares_of_moves(groups: PairGroups, geometry: PatchGeometry) -> Int32[Tensor, "dy dx"]:
    """Shares of displacements from (1 - height, -width) on: all that images can have."""
    height, width, device = geometry.height, geometry.width, groups.images.device
    dy = torch.arange(1 - height, height, device=device)
    return groups.shares_at(dy[:, None], torch.arange(-width, width, device=device))


def launch(
    block: UInt8[Tensor, "n c h w"],
    y: Float[Tensor, "b c h w"],
    sigma: float,
    geometry: PatchGeometry,
    groups: PairGroups | None = None,
    *,
    edges_only: bool = False,
) -> Float[Tensor, "fields parts splits b h w"]:
    """The sums of IMAGES_PER_PROGRAM each over parts of the displacements, see `scan_kernel`.

    With groups, the block is their images in order, and no program has images of two of them.
    If `edges_only`, pixels of whole windows have sums over some of their patches only.
    """
    (n, c, height, width), b = block.shape, len(y)
    parts = scan_parts(geometry, scan_tile(geometry, c, y.device), edges_only=edges_only)
    num_groups = 1 if groups is None else len(groups)
    splits = num_groups * -(-n // num_groups // IMAGES_PER_PROGRAM)
    sums = torch.empty(3 + c, len(parts), splits, b, height, width, device=y.device)
    if edges_only:  # not all rows have a tile
        sums.zero_()[0] = LOWEST.value
    # converted once: in the kernel it would cost as much as the differences
    queries, images = _with_border(y, geometry), block.float().contiguous()
    with torch.cuda.device(y.device) if y.is_cuda else nullcontext():
        for number, part in enumerate(parts):
            shape = constants(geometry, c, part.tile) | _share_constants(groups, geometry, part)
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
    groups: PairGroups | None, geometry: PatchGeometry, part: "ScanPart"
) -> dict[str, Any]:
    """What the kernel is told of groups."""
    if groups is None:
        return {}
    shares = _shares_of_moves(groups, geometry)
    return {
        "SHARED": True,
        "image_shares": groups.image_shares.contiguous(),
        # a round of moves may begin at the last one
        "move_shares": pad(shares, (0, 0, 0, part.tile.moves), value=NO_SHARE),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanPart:
    """One launch of the kernel: some displacements along the rows, of some rows of the query.

    Attributes:
        cols: the displacements, modulo the width.
        num_tiles: of rows.
        first_top: row where the first of them begins.
        tiles_above: how many follow one another from there.
        rows_between: rows that are left out before the others.
    """

    cols: range
    tile: ScanTile
    num_tiles: int
    first_top: int
    tiles_above: int
    rows_between: int = 0

    @property
    def tops(self) -> list[int]:
        """The first row of each tile."""
        gaps = [0 if at < self.tiles_above else self.rows_between for at in range(self.num_tiles)]
        return [self.first_top + at * self.tile.rows + gap for at, gap in enumerate(gaps)]


def scan_parts(
    geometry: PatchGeometry, tile: ScanTile, *, edges_only: bool = False
) -> list[ScanPart]:
    """The launches of a scan.

    Args:
        edges_only: rows where windows are whole take part at displacement 0 alone, which is where
            windows that cross a border along the rows find theirs.
    """
    ranges = col_ranges(geometry)
    parts = []
    for first, end in ranges:
        if edges_only and first > 0:
            parts.append(_edge_part(geometry, tile, range(first, end)))
            continue
        alone = end - first == 1 and len(ranges) > 1
        own = ScanTile(min(tile.rows, LONE.rows), min(tile.moves, LONE.moves)) if alone else tile
        tops = tile_tops(geometry, own)
        parts.append(
            ScanPart(
                cols=range(first, end), tile=own, num_tiles=len(tops), first_top=tops.start,
                tiles_above=len(tops),
            )
        )  # fmt: skip
    return parts


def _edge_part(geometry: PatchGeometry, tile: ScanTile, cols: range) -> ScanPart:
    """The rows whose windows cross the upper or the lower border; these do not move down."""
    radius = geometry.radius
    rows = min(tile.rows, 1 << (radius - 1).bit_length())
    above = -(-radius // rows)
    return ScanPart(
        cols=cols, tile=ScanTile(rows=rows, moves=1), num_tiles=2 * above,
        first_top=radius - above * rows, tiles_above=above,
        rows_between=geometry.height - 2 * radius,
    )  # fmt: skip


def col_ranges(geometry: PatchGeometry) -> list[tuple[int, int]]:
    """Displacements along the rows, modulo the width, in the parts that are summed apart.

    At displacement 0 windows may reach beyond a border of zeros, elsewhere they may not, and no
    cell has to be looked at for whether it is inside.
    """
    if geometry.query_wraps:
        return [(0, geometry.width if geometry.equivariant else 1)]
    moves = geometry.equivariant and geometry.patch_size <= geometry.width
    return [(0, 1), (1, geometry.width)] if moves and geometry.width > 1 else [(0, 1)]


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


def _with_border(
    y: Float[Tensor, "b c h w"], geometry: PatchGeometry
) -> Float[Tensor, "b c padded_h w"]:
    """States in gray levels, with the rows that windows see beyond the border."""
    levels = ((y.double() + 1) * HALF_RANGE).float()
    if not geometry.query_wraps:
        return pad(levels, (0, 0, geometry.radius, geometry.radius), value=OUTSIDE.value)
    return levels[:, :, wrapped(geometry.height, geometry.radius).to(y.device)]


def _merged(sums: Float[Tensor, "fields parts *q"]) -> Float[Tensor, "fields *q"]:
    """The sums of several programs as those of one, in float64."""
    log_max = sums[0].amax(0)
    scale = (sums[0] - log_max).double().exp2()
    parts = [log_max.double(), (sums[1] * scale).sum(0), (sums[2] * scale.square()).sum(0)]
    return torch.stack([*parts, *((field * scale).sum(0) for field in sums[3:])])


def as_record(sums: Float[Tensor, "fields *q"], num_scored: Int[Tensor, "*#q"]) -> PosteriorRecord:
    """The record of the sums over so many patches."""
    log2_max, sum_w, sum_w2, *sum_levels = sums
    return PosteriorRecord.exact(
        log_max=(log2_max * log(2)).where(sum_w > 0, -inf),
        sum_w=sum_w,
        sum_wc=torch.stack(sum_levels, -1) / HALF_RANGE - sum_w[..., None],
        sum_w2=sum_w2,
        num_scored=num_scored.expand(sum_w.shape),
    )
