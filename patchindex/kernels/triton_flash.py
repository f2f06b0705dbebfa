"""Exact sums over all windows that lie inside images, or wrap round, on a GPU's tensor cores.

These are the pixels that compare whole windows: the interior where images end in zeros, all pixels
elsewhere. `triton_scan` serves the others, and what is not served here.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from itertools import product
from math import e, gcd, log2
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float, Float16, Float64, UInt8
from torch import Tensor
from torch.nn.functional import pad

from patchindex.choices import Precision
from patchindex.geometry import PatchGeometry
from patchindex.images import HALF_RANGE
from patchindex.kernels.tiles import FlashTile, measured_tile
from patchindex.kernels.triton_flash_kernel import WEIGHT_BITS, flash_kernel
from patchindex.windows import windows_at, wrapped

# So many patches of a program have float32 sums, and few enough that a launch has several programs
# for each place of a multiprocessor, so that these are done at about the same time. The number does
# not depend on the states: a state has the same sums in any batch.
KEYS_PER_PROGRAM = 2**14
NO_KEY = 1e30  # energy of keys behind the last image: they weigh nothing
OLDEST_CAPABILITY = (8, 0)  # of GPUs whose tensor cores add float16 products in float32
# Sums of products are as long as the norm of a window, so that log weights are off by so many cells
# over sigma^2, times 2^-24 or some. Centers of patches that weigh alike are some sigma apart. Above
# this many cells over sigma a mean could be moved by 1e-4 (docs/gpu.md has the errors).
MOST_CELLS_PER_NOISE = 500
# Of a window, so many that queries may stay in shared memory beside the keys that are on their way:
# together 87 KiB at most, which any GPU has that is served.
RESIDENT_NUMBERS = 64
MOST_NUMBERS = 2**30  # of a launch's images
VECTOR = 4  # numbers that a lane loads at once, 8 bytes
LARGEST_HIGH = 13  # the largest number of a state is below 2 to this as float16
# Log2 weights stay below, where float32 holds them to 1/2: else the largest weight of a state that
# is thousands of times its noise away would be more than a float16 holds.
MOST_LOG2 = 2.0**23
LARGEST_SIGMA = 1e6  # beyond it NO_KEY would come to weigh something


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowLayout:
    """How a window's numbers lie in the images, so that a lane loads VECTOR of them at once.

    The numbers of a row of an image follow one another, pixel by pixel. A record is VECTOR of them,
    and there is one at each number from which a lane may read.

    Attributes:
        pixel: records from one pixel to the next.
        step: records from one that a window reads to the next.
        cells: records that it reads of a row.
        rows: of a window.
    """

    pixel: int
    step: int
    cells: int
    rows: int

    @classmethod
    def of(cls, geometry: PatchGeometry, channels: int) -> "WindowLayout":
        """The layout for windows of such images."""
        size, apart = geometry.patch_size, gcd(channels, VECTOR)
        return cls(
            pixel=channels // apart,
            step=VECTOR // apart,
            cells=-(-channels * size // VECTOR),
            rows=size,
        )

    @property
    def numbers(self) -> int:
        """Of a window."""
        return self.rows * self.cells * VECTOR

    def chunks(self, depth: int) -> int:
        """How often so many numbers at once make a window."""
        return -(-self.numbers // depth)


def serves(geometry: PatchGeometry, channels: int, sigma: float, precision: Precision) -> bool:
    """Whether sums are within 1e-4 of the mean here, and are what is asked for.

    Where the device has tensor cores: see `has_tensor_cores`.
    """
    inside = geometry.query_wraps or geometry.patch_size <= min(geometry.height, geometry.width)
    num_cells = channels * geometry.patch_size**2
    return (
        precision == "auto"
        and geometry.equivariant
        and inside
        and num_cells / MOST_CELLS_PER_NOISE <= sigma <= LARGEST_SIGMA
    )


def has_tensor_cores(device: torch.device) -> bool:
    """Whether the device multiplies matrices of float16, and adds in float32."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= OLDEST_CAPABILITY


def flash_tile(geometry: PatchGeometry, channels: int, device: torch.device) -> FlashTile:
    """The measured tile, else one that fills the tensor cores of an H100 within its registers."""
    measured = measured_tile(FlashTile, geometry, channels, device)
    if measured is not None:
        return measured
    layout = WindowLayout.of(geometry, channels)
    num_queries = _num_queries(geometry)
    # a chunk costs about as many instructions as 8 numbers more, and may be partly empty
    depth = min((32, 16), key=lambda depth: layout.chunks(depth) * (depth + 8))
    # twice as many queries read each key half as often, which is worth 8 % that are none
    queries = 64 if 1.08 * _rounded_up(num_queries, 64) < _rounded_up(num_queries, 128) else 128
    return _tile(layout, queries=queries, keys=128, depth=depth, stages=3)


def flash_tiles(geometry: PatchGeometry, channels: int) -> list[FlashTile]:
    """Those that are worth measuring for such images."""
    layout = WindowLayout.of(geometry, channels)
    choices = product((64, 128), (64, 128), (16, 32, 64), (2, 3, 4))
    return [
        _tile(layout, queries=queries, keys=keys, depth=depth, stages=stages)
        for queries, keys, depth, stages in choices
        if depth <= max(16, layout.numbers)
    ]


def _tile(layout: WindowLayout, *, queries: int, keys: int, depth: int, stages: int) -> FlashTile:
    """A group of four warps for each 64 queries, which stay on the multiprocessor if they fit."""
    resident = layout.chunks(depth) * depth <= RESIDENT_NUMBERS
    return FlashTile(
        queries=queries, keys=keys, depth=depth, resident=resident, warps=queries // 16,
        stages=stages,
    )  # fmt: skip


def _rounded_up(number: int, step: int) -> int:
    """The next multiple of the step."""
    return -(-number // step) * step


def query_rows(geometry: PatchGeometry) -> range:
    """Rows of the pixels that are served."""
    return _served(geometry, geometry.height)


def query_cols(geometry: PatchGeometry) -> range:
    """Columns of the pixels that are served."""
    return _served(geometry, geometry.width)


def _served(geometry: PatchGeometry, size: int) -> range:
    return range(size) if geometry.query_wraps else range(geometry.radius, size - geometry.radius)


def flash_constants(geometry: PatchGeometry, channels: int, tile: FlashTile) -> dict[str, Any]:
    """What the kernel is compiled for."""
    layout = WindowLayout.of(geometry, channels)
    height, width = _padded_size(geometry)
    radius = geometry.radius
    return {
        "HEIGHT": height,
        "WIDTH": width * layout.pixel,
        "KEY_ROWS": height - 2 * radius,
        "KEY_COLS": width - 2 * radius,
        "C": channels,
        "RECORD": VECTOR,
        "PIXEL": layout.pixel,
        "CELLS": layout.cells,
        "STEP": layout.step,
        "CENTER": (radius * width + radius) * layout.pixel * VECTOR,
        "VALUES": max(16, 1 << channels.bit_length()),
        "CHUNKS": layout.chunks(tile.depth),
        "DEPTH": tile.depth,
        "QUERIES": tile.queries,
        "KEYS": tile.keys,
        "RESIDENT": tile.resident,
        "STAGES": tile.stages,
    }


def _padded_size(geometry: PatchGeometry) -> tuple[int, int]:
    """Height and width of an image in which windows that wrap lie inside."""
    more = 2 * geometry.radius if geometry.training_wraps else 0
    return geometry.height + more, geometry.width + more


def most_images(geometry: PatchGeometry, channels: int, sums_bytes: int) -> int:
    """Of a launch: places in the images are numbers of 32 bits, and sums of a state have room."""
    height, width = _padded_size(geometry)
    numbers = height * width * WindowLayout.of(geometry, channels).pixel * VECTOR
    programs = sums_bytes // _program_bytes(geometry, channels)
    num_keys = (height - 2 * geometry.radius) * (width - 2 * geometry.radius)
    return max(1, min(MOST_NUMBERS // numbers, programs * KEYS_PER_PROGRAM // num_keys))


def state_bytes(geometry: PatchGeometry, channels: int, num_images: int) -> int:
    """Of the windows of a state and its sums over so many images."""
    height, width = _padded_size(geometry)
    num_keys = num_images * (height - 2 * geometry.radius) * (width - 2 * geometry.radius)
    windows = 4 * _num_queries(geometry) * WindowLayout.of(geometry, channels).numbers
    return windows + -(-num_keys // KEYS_PER_PROGRAM) * _program_bytes(geometry, channels)


def _program_bytes(geometry: PatchGeometry, channels: int) -> int:
    """Of the sums of a state over the patches of a program."""
    return 4 * (3 + channels) * _num_queries(geometry)


def _num_queries(geometry: PatchGeometry) -> int:
    """Pixels that are served."""
    return len(query_rows(geometry)) * len(query_cols(geometry))


def flash_sums(
    block: UInt8[Tensor, "n c h w"],
    y: Float[Tensor, "b c h w"],
    sigma: float,
    geometry: PatchGeometry,
) -> Float64[Tensor, "fields splits b rows cols"]:
    """The sums of KEYS_PER_PROGRAM each for the pixels of `query_rows` and `query_cols`.

    In order: the largest log2 weight, and over the weights divided by it, their sum, that of their
    squares, and those of weights times gray levels.
    """
    b, c = y.shape[:2]
    tile = flash_tile(geometry, c, y.device)
    num_queries = _num_queries(geometry)
    num_tiles = -(-num_queries // tile.queries)
    queries, scale, norms = _queries(y, geometry, tile)
    images, energies = _records(block, geometry, tile), _energies(block, geometry)
    per_product = log2_per_product(sigma) / scale
    largest_product = c * geometry.patch_size**2 * HALF_RANGE * 2.0**LARGEST_HIGH
    exponent = per_product.clamp(max=MOST_LOG2 / largest_product).float()
    num_keys = energies.numel()
    splits = -(-num_keys // KEYS_PER_PROGRAM)
    sums = torch.empty(3 + c, splits, b, num_queries, device=y.device)
    with torch.cuda.device(y.device) if y.is_cuda else nullcontext():
        flash_kernel[(num_tiles, b, splits)](
            queries, images, pad(energies.flatten(), (0, -num_keys % tile.keys), value=NO_KEY),
            torch.stack([scale.float(), exponent]), sums,
            num_keys, KEYS_PER_PROGRAM, b, num_queries, num_tiles,
            **flash_constants(geometry, c, tile), num_warps=tile.warps,
        )  # fmt: skip
    found = sums.double()
    found[0] = (found[0] + WEIGHT_BITS.value) * (per_product / exponent)[:, None]
    found[0] -= norms * log2_per_product(sigma)
    found[3:] += HALF_RANGE * found[1]
    return rearrange(found, "f s b (rows cols) -> f s b rows cols", cols=len(query_cols(geometry)))


def log2_per_product(sigma: float) -> float:
    """Log2 weight per product of gray levels; per squared gray level it is minus half of that."""
    return log2(e) / (sigma * HALF_RANGE) ** 2


def _queries(
    y: Float[Tensor, "b c h w"], geometry: PatchGeometry, tile: FlashTile
) -> tuple[Float16[Tensor, "2 b padded_q depth"], Float64[Tensor, " b"], Float64[Tensor, "b q"]]:
    """Windows of gray levels less 127.5 as sums of two float16, times a power of two a state.

    Returns:
        Both parts, the powers, and half of the windows' squared norms without them.
    """
    layout, b = WindowLayout.of(geometry, y.shape[1]), len(y)
    levels = y.double() * HALF_RANGE
    largest = levels.abs().amax((1, 2, 3)).clamp(min=1.0)
    scale = (LARGEST_HIGH - largest.log2().ceil()).exp2()
    scaled = levels * scale[:, None, None, None]
    high = scaled.half()
    parts = torch.cat([high, (scaled - high.double()).half()])
    rows, cols = query_rows(geometry), query_cols(geometry)
    windows = rearrange(windows_at(parts, rows, cols, geometry), "n h w c i j -> n (h w) i (j c)")
    filled = pad(windows, (0, layout.cells * VECTOR - windows.shape[-1])).flatten(2)
    num_queries, numbers = filled.shape[1:]
    missing = -num_queries % tile.queries, layout.chunks(tile.depth) * tile.depth - numbers
    padded = pad(filled, (0, missing[1], 0, missing[0])).unflatten(0, (2, b)).contiguous()
    squares = levels.square().sum(1, keepdim=True)
    norms = windows_at(squares, rows, cols, geometry).sum((3, 4, 5)).flatten(1) / 2
    return padded, scale, norms


def _records(
    block: UInt8[Tensor, "n c h w"], geometry: PatchGeometry, tile: FlashTile
) -> Float16[Tensor, " numbers"]:
    """Gray levels less 127.5, all exact, as `WindowLayout` says, and zeros behind.

    Windows are filled up with numbers from their right or from rows below, where queries are zero.
    """
    layout = WindowLayout.of(geometry, block.shape[1])
    wide = _wide(block, geometry).half() - HALF_RANGE
    channels, width = wide.shape[1], wide.shape[3]
    rows = pad(rearrange(wide, "n c h w -> n h (w c)"), (0, VECTOR - 1))
    records = rows.unfold(2, VECTOR, channels // layout.pixel)
    read_below = layout.chunks(tile.depth) * tile.depth // (VECTOR * layout.cells) + 1
    flat = wide.new_zeros(records.numel() + read_below * width * layout.pixel * VECTOR)
    flat[: records.numel()].view(records.shape).copy_(records)
    return flat


def _wide(block: UInt8[Tensor, "n c h w"], geometry: PatchGeometry) -> UInt8[Tensor, "n c H W"]:
    """The images; where windows wrap round, with what they see beyond the border."""
    if not geometry.training_wraps:
        return block
    rows, cols = (
        wrapped(size, geometry.radius, block.device) for size in (geometry.height, geometry.width)
    )
    return block[:, :, rows][..., cols]


def _energies(
    block: UInt8[Tensor, "n c h w"], geometry: PatchGeometry
) -> Float[Tensor, "n key_rows key_cols"]:
    """Half the squared norm of each window of gray levels less 127.5.

    Sums of whole numbers, rounded once: to 2^-24 of their size.
    """
    twice = 2 * _wide(block, geometry).to(torch.int32) - 255
    squares = twice.square_().sum(1, dtype=torch.int32)
    size = geometry.patch_size
    exact = torch.int32 if size**2 * block.shape[1] * 255**2 < 2**31 else torch.int64
    of_rows = squares.unfold(2, size, 1).sum(-1, dtype=exact)
    return of_rows.unfold(1, size, 1).sum(-1, dtype=exact).float() / 8
