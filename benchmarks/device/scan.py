"""The exact scan on a device: seconds, pairs a second, share of the chip's limit, agreement."""

import logging
from statistics import median
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from benchmarks.device.chip import Chip, seconds_of
from benchmarks.device.flash_prediction import FlashCost
from benchmarks.device.photographs import noisy
from benchmarks.device.prediction import ScanCost, legal_pairs
from patchindex import PatchGeometry
from patchindex.choices import Precision
from patchindex.images import to_unit
from patchindex.kernels import exact_scan
from patchindex.kernels.tiles import TILES, ScanTile, keep_tile, measured_tiles, scan_tile
from patchindex.kernels.torch_scan import exact_scan as scan_in_torch

logger = logging.getLogger(__name__)

ALPHA_BARS = {3: 0.99, 9: 0.43, 17: 0.01}  # as the published scales pair patch size and noise
TOLERANCE = 1e-4


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


def tune_row(pixels: UInt8[Tensor, "n c h w"], patch_size: int, repeats: int) -> dict[str, Any]:
    """Seconds with each tile; the fastest is kept for this model of GPU."""
    geometry, (y, sigma) = geometry_of(pixels, patch_size), states_of(pixels, 1, patch_size)
    channels, device = pixels.shape[1], pixels.device
    best, seconds = scan_tile(geometry, channels, device), {}
    try:
        for tile in TILES:
            keep_tile(tile, geometry, channels, device)
            run = lambda: exact_scan(pixels, y, sigma, geometry, precision="float32")  # noqa: E731
            seconds_of(run, device, 1)  # compiles
            seconds[tile] = median(seconds_of(run, device, repeats))
        best = min(seconds, key=lambda tile: seconds[tile])
    finally:
        keep_tile(best, geometry, channels, device)
    return {
        "part": "tune", "shape": list(pixels.shape), "patch_size": patch_size,
        "tile": told(best), "seconds": {told(tile): took for tile, took in seconds.items()},
        "kept": len(measured_tiles(device)),
    }  # fmt: skip


def told(tile: ScanTile) -> str:
    return f"{tile.rows}x{tile.moves}"
