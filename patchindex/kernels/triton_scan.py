"""The exact scan on a GPU."""

from collections.abc import Sequence
from contextlib import nullcontext
from math import e, log, log2

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn.functional import pad

from patchindex.device import blocks_on, chosen_on
from patchindex.geometry import PatchGeometry
from patchindex.images import HALF_RANGE
from patchindex.kernels.bounds import check_images, check_states
from patchindex.kernels.tiles import ScanTile, num_lanes, scan_tile, tile_tops
from patchindex.kernels.triton_scan_kernel import MODES, OUTSIDE, scan_kernel
from patchindex.records import PosteriorRecord
from patchindex.windows import wrapped

# A program's float32 sums are of so many images, some ten thousand terms a lane; programs are
# merged in float64. The number does not depend on the states: a state has the same sums in any
# batch.
IMAGES_PER_PROGRAM = 32
BLOCK_BYTES = 2**28  # of the images of a launch, as float32; blocks do not depend on the states
SUMS_BYTES = 2**28  # of all programs of a launch
MOST_SPLITS = 2**16 - 1  # CUDA's limit for the third axis of a grid


def exact_scan(
    pixels: UInt8[Tensor, "n c h w"],
    y: Float[Tensor, "b c h w"],
    sigma: float,
    geometry: PatchGeometry,
    groups: Int[Tensor, "g m"] | None = None,
    *,
    devices: Sequence[torch.device] = (),
) -> PosteriorRecord:
    """See `patchindex.kernels`.

    Images that lie on the host are copied block by block while others are summed; devices that
    share the scan take the blocks in turn.
    """
    check_states(y, sigma)
    if groups is not None:
        return _scan_groups(pixels, y, sigma, geometry, groups)
    devices, (c, height, width) = devices or [y.device], pixels.shape[1:]
    program_bytes = 4 * c * height * width * IMAGES_PER_PROGRAM
    num_programs = min(max(1, BLOCK_BYTES // program_bytes), MOST_SPLITS)
    block_size = min(num_programs * IMAGES_PER_PROGRAM, -(-len(pixels) // len(devices)))
    state_bytes = 4 * (3 + c) * height * width * len(col_ranges(geometry)) * num_programs
    num_states = max(1, SUMS_BYTES // state_bytes)
    # copied before any work is queued: a copy waits for all that its source was given to do
    states = {device: y.to(device).split(num_states) for device in devices}
    parts = []
    for block in blocks_on(pixels, devices, block_size):
        totals = [
            _merged(launch(block, some, sigma, geometry, IMAGES_PER_PROGRAM).flatten(1, 2))
            for some in states[block.device]
        ]
        parts.append((torch.cat(totals, dim=1), len(block)))
    # records wait for their device, so none is made before all devices have their work
    return PosteriorRecord.merged(
        [as_record(total.to(y.device), geometry, num_images) for total, num_images in parts]
    )


def _scan_groups(
    pixels: UInt8[Tensor, "n c h w"],
    y: Float[Tensor, "b c h w"],
    sigma: float,
    geometry: PatchGeometry,
    groups: Int[Tensor, "g m"],
) -> PosteriorRecord:
    """All groups in one launch."""
    check_images(groups, len(pixels))
    num_images = groups.shape[1]
    block = chosen_on(pixels, groups.flatten(), y.device)
    sums = launch(block, y, sigma, geometry, num_images)
    return as_record(_merged(sums), geometry, num_images)


def launch(
    block: UInt8[Tensor, "n c h w"],
    y: Float[Tensor, "b c h w"],
    sigma: float,
    geometry: PatchGeometry,
    images_per_program: int,
) -> Float[Tensor, "fields parts splits b h w"]:
    """The sums of so many images each over parts of the displacements, see `scan_kernel`."""
    (n, c, height, width), b = block.shape, len(y)
    tile, splits, parts = (
        scan_tile(geometry, c, y.device),
        -(-n // images_per_program),
        col_ranges(geometry),
    )
    sums = torch.empty(3 + c, len(parts), splits, b, height, width, device=y.device)
    # converted once: in the kernel it would cost as much as the differences
    queries, images = _with_border(y, geometry), block.float().contiguous()
    with torch.cuda.device(y.device) if y.is_cuda else nullcontext():
        for number, (first_col, end_col) in enumerate(parts):
            scan_kernel[(len(tile_tops(geometry, tile)), b, splits)](
                queries, images, sums, n, images_per_program, b,
                len(parts) * splits, number * splits, -log2(e) / (2 * (sigma * HALF_RANGE) ** 2),
                **constants(geometry, c, tile), FIRST_COL=first_col, END_COL=end_col,
                num_warps=1, enable_fp_fusion=True,
            )  # fmt: skip
    return sums


def col_ranges(geometry: PatchGeometry) -> list[tuple[int, int]]:
    """Displacements along the rows, modulo the width, in the parts that are summed apart.

    At displacement 0 windows may reach beyond a border of zeros, elsewhere they may not, and no
    cell has to be looked at for whether it is inside.
    """
    if geometry.query_wraps:
        return [(0, geometry.width if geometry.equivariant else 1)]
    moves = geometry.equivariant and geometry.patch_size <= geometry.width
    return [(0, 1), (1, geometry.width)] if moves and geometry.width > 1 else [(0, 1)]


def constants(geometry: PatchGeometry, channels: int, tile: ScanTile) -> dict[str, int | bool]:
    """What the kernel is compiled for, besides the displacements along the rows."""
    # at one place every window is legal, as it is everywhere in a circular image
    stays_inside = geometry.boundary == "zeros" or geometry.equivariant
    return {
        "HEIGHT": geometry.height,
        "WIDTH": geometry.width,
        "C": channels,
        "R": geometry.radius,
        "MODE": MODES[geometry.boundary if stays_inside else "circular"],
        "MOVES_ROWS": geometry.equivariant,
        "FIRST_TOP": tile_tops(geometry, tile).start,
        "LANES": num_lanes(geometry),
        "ROWS": tile.rows,
        "MOVES": tile.moves,
        "SIZE_BITS": geometry.patch_size.bit_length(),
        "R_BITS": max(1, geometry.radius.bit_length()),
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


def as_record(
    sums: Float[Tensor, "fields *q"], geometry: PatchGeometry, num_images: int
) -> PosteriorRecord:
    """The record of the sums over so many images."""
    log2_max, sum_w, sum_w2, *sum_levels = sums
    per_image = torch.from_numpy(geometry.centers_per_pixel).to(sums.device)
    return PosteriorRecord.exact(
        log_max=log2_max * log(2),
        sum_w=sum_w,
        sum_wc=torch.stack(sum_levels, -1) / HALF_RANGE - sum_w[..., None],
        sum_w2=sum_w2,
        num_scored=(num_images * per_image).expand(sum_w.shape),
    )
