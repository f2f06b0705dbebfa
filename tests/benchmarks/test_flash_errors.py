"""The emulated errors of the scan on tensor cores, where they are largest."""

import numpy as np
import pytest

from benchmarks.flash_errors import AT_ONCE, errors
from patchindex import PatchGeometry

triton_flash = pytest.importorskip("patchindex.kernels.triton_flash")


@pytest.mark.parametrize(("patch_size", "channels"), [(3, 1), (3, 3), (9, 1), (17, 1), (9, 3)])
def test_means_of_bright_windows_are_kept_where_the_scan_serves(
    patch_size: int, channels: int
) -> None:
    """Windows as far from 127.5 as can be, alike but for their centers: few weigh alike."""
    cells = channels * patch_size**2
    sigma = 1.001 * cells / triton_flash.MOST_CELLS_PER_NOISE
    geometry = PatchGeometry(height=32, width=32, patch_size=patch_size)
    assert triton_flash.serves(geometry, channels, sigma, "auto")
    rng = np.random.default_rng(0)
    windows = np.pad(127.5 - rng.integers(0, 3, (30, cells)), ((0, 0), (0, -cells % AT_ONCE)))
    first = cells // 2 // channels * channels
    windows[:, first : first + channels] = 127.5 - rng.integers(0, 40, (30, 1))
    centers = windows[:, first : first + channels]
    found = errors(windows, centers, 1 / (1 + sigma**2), num_queries=30, seed=1)
    assert found["as_built"] < 1e-4
