"""The exact scan on a device: seconds, pairs a second, share of the chip's limit, agreement."""

import logging
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from triton.runtime.errors import OutOfResources

from benchmarks.device.chip import Chip, seconds_of
from benchmarks.device.flash_prediction import FlashCost
from benchmarks.device.photographs import noisy
from benchmarks.device.prediction import ScanCost, legal_pairs
from patchindex import PatchGeometry
from patchindex.choices import Precision
from patchindex.images import to_unit
from patchindex.kernels import exact_scan
from patchindex.kernels.tiles import (
    TILES,
    FlashTile,
    Tile,
    keep_tile,
    measured_tiles,
    scan_tile,
)
from patchindex.kernels.torch_scan import exact_scan as scan_in_torch
from patchindex.kernels.triton_flash import flash_tile, flash_tiles

logger = logging.getLogger(__name__)

ALPHA_BARS = {3: 0.99, 9: 0.43, 17: 0.01}  # as the published scales pair patch size and noise
TOLERANCE = 1e-4
CHOSEN: dict[Precision, Callable[..., Tile]] = {"float32": scan_tile, "auto": flash_tile}


def geometry_of(pixels: UInt8[Tensor, "n c h w"], patch_size: int) -> PatchGeometry:
    height, width = pixels.shape[2:]
    return PatchGeometry(height=height, width=width, patch_size=patch_size)


def states_of(
    pixels: UInt8[Tensor, "n c h w"], num: int, patch_size: int
) -> tuple[Float[Tensor, "b c h w"], float]:
    """The last images with noise, in data units, and that noise."""
    alpha_bar = ALPHA_BARS.get(patch_size, 0.5)
    xt = noisy(to_unit(pixels[-num:].clone()), alpha_bar, seed=0)
    return xt / alpha_bar**0.5, ((1 - alpha_bar) / alpha_bar) ** 0.5


def scan_row(
    pixels: UInt8[Tensor, "n c h w"],
    patch_size: int,
    num_states: int,
    repeats: int,
    limit: tuple[Chip, ScanCost | FlashCost] | None,
    *,
    precision: Precision,
) -> dict[str, Any]:
    """Seconds a step and image of so many states at once, over images that lie on the device."""
    geometry, (y, sigma) = (
        geometry_of(pixels, patch_size), states_of(pixels, num_states, patch_size)
    )  # fmt: skip
    run = lambda: exact_scan(pixels, y, sigma, geometry, precision=precision)  # noqa: E731
    first = seconds_of(run, pixels.device, 1)[0]  # compiles
    seconds = [total / num_states for total in seconds_of(run, pixels.device, repeats)]
    pairs = legal_pairs(geometry) * len(pixels)
    row: dict[str, Any] = {
        "part": "scan",
        "shape": list(pixels.shape),
        "patch_size": patch_size,
        "states": num_states,
        "precision": precision,
        "first_call_seconds": first,
        "seconds_per_image": median(seconds),
        "spread": max(seconds) - min(seconds),
        "pairs_per_second": pairs / median(seconds),
    }
    if limit is not None:
        chip, cost = limit
        row["least_seconds"] = cost.least_seconds(len(pixels), chip)
        row["share"] = row["least_seconds"] / median(seconds)
    return row


def agreement_row(
    pixels: UInt8[Tensor, "n c h w"], patch_size: int, num_images: int, precision: Precision
) -> dict[str, Any]:
    """Largest difference between the means here and on the processor, over some images."""
    chosen = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(1))[:num_images]
    some = pixels[chosen.to(pixels.device)]
    geometry, (y, sigma) = geometry_of(pixels, patch_size), states_of(pixels, 1, patch_size)
    here = exact_scan(some, y, sigma, geometry, precision=precision).mean.cpu()
    scan = exact_scan if pixels.is_cuda else scan_in_torch
    there = scan(some.cpu(), y.cpu(), sigma, geometry).mean
    largest = float((here - there).abs().max())
    if largest > TOLERANCE:
        logger.error("P %d: the device's mean is off by %.2g", patch_size, largest)
    return {
        "part": "agreement", "patch_size": patch_size, "precision": precision,
        "num_images": num_images,
        "largest_difference": largest, "within_tolerance": largest <= TOLERANCE,
    }  # fmt: skip


def candidate_tiles(geometry: PatchGeometry, channels: int) -> dict[Precision, Sequence[Tile]]:
    """What `--tune` compares for such images, by the precision of the scans that use it."""
    return {"float32": TILES, "auto": flash_tiles(geometry, channels)}


def tune_row(
    pixels: UInt8[Tensor, "n c h w"], patch_size: int, precision: Precision, repeats: int
) -> dict[str, Any]:
    """Seconds with each tile; the fastest is kept for this model of GPU."""
    geometry, (y, sigma) = geometry_of(pixels, patch_size), states_of(pixels, 1, patch_size)
    channels, device = pixels.shape[1], pixels.device
    best = rule = CHOSEN[precision](geometry, channels, device)
    run = lambda: exact_scan(pixels, y, sigma, geometry, precision=precision)  # noqa: E731
    seconds: dict[Tile, float] = {}
    try:
        for tile in {rule, *candidate_tiles(geometry, channels)[precision]}:
            keep_tile(tile, geometry, channels, device)
            if fits(run):
                seconds[tile] = median(seconds_of(run, device, repeats))
        best = min(seconds, key=lambda tile: seconds[tile])
    finally:
        keep_tile(best, geometry, channels, device)
    return {
        "part": "tune", "shape": list(pixels.shape), "patch_size": patch_size,
        "precision": precision, "tile": told(best),
        "seconds": {told(tile): took for tile, took in seconds.items()},
        "kept": len(measured_tiles(device)),
    }  # fmt: skip


def fits(scan: Callable[[], object]) -> bool:
    """Scan once, which compiles: whether the device has what the chosen tile takes."""
    try:
        scan()
    except OutOfResources as error:
        logger.info("not measured: %s", error)
        return False
    return True


def told(tile: Tile) -> str:
    """`64x128x32x3` of a flash tile, without what follows from these numbers."""
    if isinstance(tile, FlashTile):
        return f"{tile.queries}x{tile.keys}x{tile.depth}x{tile.stages}"
    return f"{tile.rows}x{tile.moves}"
