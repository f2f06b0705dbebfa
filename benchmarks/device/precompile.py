"""Compiles the scan for all shapes of a run at once, one process each, into Triton's cache."""

import os
import tempfile
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import get_args

import torch

from benchmarks.device.flash_prediction import FlashCost, predict_flash
from benchmarks.device.prediction import ScanCost, predict
from benchmarks.device.scan import fits, geometry_of
from patchindex.choices import Precision
from patchindex.kernels import exact_scan
from patchindex.kernels.tiles import FlashTile, Tile, keep_tile

Shape = tuple[int, ...]  # of the images
Scan = tuple[Shape, int, int, Tile | None]  # with patch size, states, another tile than it has
Key = tuple[int, int, int]  # patch size, channels, side

NOISE = 10.0  # at which tensor cores serve all patch sizes that are measured


def compile_all(
    scans: Iterable[Scan],
    keys: Iterable[Key],
    device: torch.device,
) -> dict[Key, tuple[ScanCost, FlashCost]]:
    """The costs of the kernels with these keys, once all scans are compiled."""
    workers = max(1, (os.cpu_count() or 1) - 1)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        costs = {
            key: (pool.submit(predict, *key, device), pool.submit(predict_flash, *key))
            for key in keys
        }
        compiling = [pool.submit(scan_once, *scan, device) for scan in scans]
        for done in compiling:
            done.result()
        return {key: (scan.result(), flash.result()) for key, (scan, flash) in costs.items()}


def scan_once(
    shape: Shape, patch_size: int, num_states: int, tile: Tile | None, device: torch.device
) -> None:
    """A scan as it will be measured: Triton compiles for what its numbers are divisible by."""
    pixels = torch.zeros(shape, dtype=torch.uint8, device=device)
    y = torch.zeros(num_states, *shape[1:], device=device)
    geometry = geometry_of(pixels, patch_size)
    with tempfile.TemporaryDirectory() as other_home:
        if tile is not None:
            os.environ["PATCHINDEX_HOME"] = other_home
            keep_tile(tile, geometry, shape[1], device)
        own: tuple[Precision, ...] = ("auto",) if isinstance(tile, FlashTile) else ("float32",)
        for precision in get_args(Precision) if tile is None else own:
            fits(partial(exact_scan, pixels, y, NOISE, geometry, precision=precision))
