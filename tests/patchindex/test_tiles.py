"""Tiles of the scan kernel: as large as registers allow, or as they were measured."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from patchindex import PatchGeometry
from patchindex.kernels import tiles
from patchindex.kernels.tiles import (
    REGISTERS,
    TILES,
    ScanTile,
    keep_tile,
    measured_tiles,
    num_registers,
    scan_tile,
    tiles_path,
)

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _forget():
    measured_tiles.cache_clear()
    yield
    measured_tiles.cache_clear()


def geometry(size: int, patch_size: int) -> PatchGeometry:
    return PatchGeometry(height=size, width=size, patch_size=patch_size)


def test_the_largest_tile_that_fits_is_chosen() -> None:
    for size, patch_size, channels in [(32, 3, 3), (32, 17, 3), (32, 17, 1), (64, 3, 3)]:
        shape = geometry(size, patch_size)
        tile = scan_tile(shape, channels, CPU)
        assert num_registers(tile, shape, channels) <= REGISTERS
        larger = TILES[: TILES.index(tile)]
        assert all(num_registers(other, shape, channels) > REGISTERS for other in larger)


def test_where_none_fits_the_smallest_serves() -> None:
    assert scan_tile(geometry(128, 31), 3, CPU) == TILES[-1]


def test_a_measured_tile_is_kept_for_its_shape_alone() -> None:
    keep_tile(ScanTile(2, 7), geometry(32, 3), 3, CPU)
    keep_tile(ScanTile(4, 1), geometry(32, 5), 3, CPU)
    measured_tiles.cache_clear()  # as in another process
    assert scan_tile(geometry(32, 3), 3, CPU) == ScanTile(2, 7)
    assert scan_tile(geometry(32, 5), 3, CPU) == ScanTile(4, 1)
    assert scan_tile(geometry(32, 3), 1, CPU) in TILES
    assert list(tiles_path(CPU).parent.iterdir()) == [tiles_path(CPU)]


def test_tiles_of_both_kinds_are_kept_side_by_side() -> None:
    flash = pytest.importorskip("patchindex.kernels.triton_flash")
    shape = geometry(32, 9)
    rule = flash.flash_tile(shape, 3, CPU)
    assert rule in flash.flash_tiles(shape, 3)
    chosen = replace(rule, keys=64, stages=2)
    keep_tile(ScanTile(2, 7), shape, 3, CPU)
    keep_tile(chosen, shape, 3, CPU)
    measured_tiles.cache_clear()  # as in another process
    assert scan_tile(shape, 3, CPU) == ScanTile(2, 7)
    assert flash.flash_tile(shape, 3, CPU) == chosen
    assert flash.flash_tile(geometry(32, 3), 3, CPU) != chosen


def test_ours_serve_a_model_of_which_nothing_was_measured_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_tile(ScanTile(2, 7), geometry(32, 3), 3, CPU)
    keep_tile(ScanTile(4, 1), geometry(32, 5), 3, CPU)
    (tmp_path / "tiles").mkdir()
    tiles_path(CPU).rename(tmp_path / "tiles" / tiles_path(CPU).name)
    monkeypatch.setattr(tiles, "data_root", lambda: tmp_path)
    measured_tiles.cache_clear()
    assert scan_tile(geometry(32, 3), 3, CPU) == ScanTile(2, 7)
    keep_tile(ScanTile(8, 2), geometry(32, 3), 3, CPU)  # and are of no account once something was
    assert scan_tile(geometry(32, 3), 3, CPU) == ScanTile(8, 2)
    assert scan_tile(geometry(32, 5), 3, CPU) == ScanTile(4, 1)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"scan 3x32x32x3": {"rows": 2}}',
        '{"scan 3x32x32x3": 5}',
        '{"3x32x32x3": {"rows": 2, "moves": 7}}',
    ],
)
def test_a_damaged_file_is_told_of_and_not_used(
    text: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tiles_path(CPU)
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with caplog.at_level(logging.WARNING):
        assert scan_tile(geometry(32, 3), 3, CPU) in TILES
    assert f"{path} is not used" in caplog.text
