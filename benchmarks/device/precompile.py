"""Compiles the scan for all shapes of a run at once, one process each, into Triton's cache."""

import os
import tempfile
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import get_args

import torch

from benchmarks.device.flash_prediction import FlashCost, predict_flash
from benchmarks.device.prediction import ScanCost, predict
from benchmarks.device.scan import geometry_of
from patchindex.choices import Precision
from patchindex.kernels import exact_scan
from patchindex.kernels.tiles import ScanTile, keep_tile

Shape = tuple[int, ...]  # of the images
Key = tuple[int, int, int]  # patch size, channels, side


def compile_all(
    shapes: Iterable[tuple[Shape, int, int, ScanTile | None]],
    keys: Iterable[Key],
    device: torch.device,
) -> dict[Key, tuple[ScanCost, FlashCost]]:
    """The costs of the kernels with these keys, once all shapes are compiled.

    Args:
        shapes: shape, patch size and number of states of each scan, and another tile than it has.
    """
    workers = max(1, (os.cpu_count() or 1) - 1)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        costs = {
            key: (pool.submit(predict, *key, device), pool.submit(predict_flash, *key))
            for key in keys
        }
        scans = [pool.submit(scan_once, *shape, device) for shape in shapes]
        for done in scans:
            done.result()
        return {key: (scan.result(), flash.result()) for key, (scan, flash) in costs.items()}


def scan_once(
    shape: Shape, patch_size: int, num_states: int, tile: ScanTile | None, device: torch.device
) -> None:
    """A scan as it will be measured: Triton compiles for what its numbers are divisible by."""
    pixels = torch.zeros(shape, dtype=torch.uint8, device=device)
    y = torch.zeros(num_states, *shape[1:], device=device)
    geometry = geometry_of(pixels, patch_size)
    with tempfile.TemporaryDirectory() as other_home:
        if tile is not None:
            os.environ["PATCHINDEX_HOME"] = other_home
            keep_tile(tile, geometry, shape[1], device)
        for precision in get_args(Precision):
            exact_scan(pixels, y, 1.0, geometry, precision=precision)
