"""What `python -m benchmarks.device` counts, against plain loops, and that all of it runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from benchmarks.device import __main__ as program
from benchmarks.device.chip import H200
from benchmarks.device.photographs import mixtures
from benchmarks.device.rescoring import SECTOR, sectors_of_windows
from benchmarks.device.retrieval import build_within, fitting
from patchindex import ImageSet, PatchGeometry

triton_scan = pytest.importorskip("patchindex.kernels.triton_scan")
from benchmarks.device.list_prediction import ListCall  # noqa: E402
from benchmarks.device.machine_code import (  # noqa: E402
    innermost_loop,
    instructions,
    loop_around,
    loop_cost,
    opcode,
    product_loop,
    product_slots,
)
from benchmarks.device.prediction import lane_pairs, legal_pairs  # noqa: E402
from patchindex.kernels.scan_parts import scan_parts  # noqa: E402
from patchindex.kernels.tiles import TILES, ScanTile, tile_tops  # noqa: E402

CPU = torch.device("cpu")
COMPILE = """
from benchmarks.device.machine_code import compiled
from benchmarks.device.prediction import TYPES
from patchindex import PatchGeometry
from patchindex.kernels.tiles import ScanTile
from patchindex.kernels.triton_scan import constants
from patchindex.kernels.triton_scan_kernel import scan_kernel
shape = constants(PatchGeometry(height=8, width=8, patch_size=3), 1, ScanTile(2, 2))
made = compiled(scan_kernel, shape | {"FIRST_COL": 1, "END_COL": 8}, num_warps=1, types=TYPES)
print(made.registers, made.stack_bytes, made.loop.instructions, made.loop.opcodes["MUFU"])
"""
CODE = """
        /*0000*/                   MOV R1, c[0x0][0x28] ;          /* 0x00000a0000017a02 */
        /*0010*/                   FADD R2, R1, R3 ;
        /*0020*/                   FFMA R2, R1, R3, R2 ;
        /*0030*/              @!P0 MUFU.EX2 R4, R2 ;
        /*0040*/               @P1 BRA 0x20 ;
        /*0050*/               @P2 BRA 0x10 ;
        /*0060*/                   BRA 0x60 ;
"""


def legal_moves(at: int, size: int, geometry: PatchGeometry, moves: bool) -> tuple[int, int]:
    """As the kernel has it."""
    r = geometry.radius
    if not moves:
        return 0, 0
    if geometry.boundary == "circular":
        return 0, size - 1
    if geometry.boundary == "circular_interior" or r <= at < size - r:
        return r - at, size - r - 1 - at
    return 0, 0


def walked(geometry: PatchGeometry, tile: ScanTile) -> tuple[int, int]:
    """Pairs that the loops of the kernel go through, and those that they weigh."""
    height = geometry.height
    lanes, every, legal = triton_scan.constants(geometry, 1, tile)["LANES"], 0, 0
    for part in scan_parts(geometry, tile):
        own = part.tile
        for top in tile_tops(geometry, own):
            spans = [
                legal_moves(
                    min(max(top + i, 0), height - 1), height, geometry, geometry.equivariant
                )
                for i in range(own.rows)
            ]
            first, last = min(span[0] for span in spans), max(span[1] for span in spans)
            for across in part.cols:
                for start in range(first, last + 1, own.moves):
                    every += own.moves * own.rows * lanes
                    legal += weighed(geometry, own, (top, start), across, part.cols.stop > 1)
    return every, legal


def weighed(
    geometry: PatchGeometry, tile: ScanTile, at: tuple[int, int], across: int, moves_cols: bool
) -> int:
    top, start = at
    rows = [
        (row, move)
        for row in range(max(top, 0), min(top + tile.rows, geometry.height))
        for move in range(start, start + tile.moves)
    ]
    down = 0
    for row, move in rows:
        lowest, highest = legal_moves(row, geometry.height, geometry, geometry.equivariant)
        down += lowest <= move <= highest
    aside = 0
    for lane in range(geometry.width):
        step = (lane + across) % geometry.width - lane
        left, right = legal_moves(lane, geometry.width, geometry, moves_cols)
        aside += geometry.boundary == "circular" or left <= step <= right
    return down * aside


@pytest.mark.parametrize("tile", [*TILES, ScanTile(3, 5)], ids=str)
@pytest.mark.parametrize(("boundary", "equivariant"), [
    ("zeros", True), ("zeros", False), ("circular", True), ("circular_interior", True),
])  # fmt: skip
@pytest.mark.parametrize(("height", "width", "patch_size"), [(7, 9, 3), (12, 8, 5), (5, 5, 1)])
def test_lane_pairs_are_those_of_the_kernels_loops_and_hold_each_legal_pair_once(
    height: int, width: int, patch_size: int, boundary: str, equivariant: bool, tile: ScanTile
) -> None:
    geometry = PatchGeometry(
        height=height, width=width, patch_size=patch_size, boundary=boundary,
        equivariant=equivariant,
    )  # fmt: skip
    every, legal = walked(geometry, tile)
    parts = scan_parts(geometry, tile)
    assert sum(lane_pairs(geometry, part) for part in parts) == every
    assert legal == legal_pairs(geometry) == geometry.centers_per_pixel.sum()


def test_the_innermost_loop_is_found_and_its_units_weighed() -> None:
    body = innermost_loop(list(instructions(CODE)))
    assert [text.split()[0] for text in body] == ["FFMA", "@!P0", "@P1"]
    cost = loop_cost(body)
    # a multiprocessor issues 128 lanes a clock, of which 16 can be exponentials
    assert (cost.instructions, cost.slots, cost.busiest) == (3, 8.0, "mufu")
    assert cost.opcodes == {"FFMA": 1, "MUFU": 1, "BRA": 1}


def test_loops_of_products_are_counted_as_often_as_they_are_gone_through() -> None:
    code = """
        /*0000*/                   MOV R1, R2 ;
        /*0010*/                   FADD R2, R1, R3 ;
        /*0020*/                   HGMMA.64x128x16.F32 R24, gdesc[UR40], R24 ;
        /*0030*/               @P1 BRA 0x20 ;
        /*0040*/                   HGMMA.64x16x16.F32 R24, R4, gdesc[UR40], R24 ;
        /*0050*/               @P2 BRA 0x10 ;
    """
    body = product_loop(list(instructions(code)), 3)
    assert sorted(map(opcode, body)) == ["BRA"] * 4 + ["FADD"] + ["HGMMA"] * 4
    assert product_slots(body) == pytest.approx(4 * (3 * 64 * 128 * 16 + 64 * 16 * 16) / 2048)


@pytest.mark.slow
def test_the_loop_of_the_compiled_scan_has_an_exponential_for_each_weight() -> None:
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], capture_output=True, text=True, check=True, env=environment
    )
    registers, stack, loop, exponentials = map(int, done.stdout.split())
    assert 16 < registers <= 255
    assert stack == 0
    assert exponentials == 2 * 2 + 2  # of each pair, and one more for each row's new maximum
    assert 60 < loop < 300


def test_sectors_of_windows_are_counted_once() -> None:
    geometry = PatchGeometry(height=20, width=20, patch_size=5)
    ids = torch.tensor([2 * 21, 400 + 7 * 20 + 11, 1200 + 17 * 20 + 17])
    for number, patch in enumerate(ids.tolist()):
        image, y, x = patch // 400, patch % 400 // 20, patch % 20
        cells = {
            ((image * 3 + c) * 400 + (y + i) * 20 + x + j) // SECTOR
            for c in range(3) for i in range(-2, 3) for j in range(-2, 3)
        }  # fmt: skip
        assert sectors_of_windows(ids, geometry, 3)[number] == len(cells)


def test_mixtures_are_seeded_and_all_different() -> None:
    images = ImageSet.load("sample", limit=20)
    first, again = (mixtures(images, 30, 40, seed=3, device=CPU).pixels for _ in range(2))
    assert first.shape == (30, 3, 40, 40)
    np.testing.assert_array_equal(first, again)
    assert len({image.tobytes() for image in first}) == 30
    assert first.std() > 20


def test_a_build_that_takes_too_long_is_stopped_and_told(tmp_path: Path) -> None:
    images = ImageSet.load("sample", resolution=16, limit=20)
    index, row = build_within(images, 3, tmp_path / "index.zarr", CPU, seconds=0)
    assert index is None
    assert row["complete"] is False
    assert row["reached"][2] > 0


@pytest.mark.slow
def test_an_index_is_as_large_as_the_disk_admits(tmp_path: Path) -> None:
    assert fitting(50, 16, 5, tmp_path) == 50
    assert fitting(10**12, 16, 5, tmp_path) < 10**12


@pytest.mark.slow
def test_every_part_runs_on_the_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "QUICK", program.replace(program.QUICK, patch_sizes=(3,)))
    out = tmp_path / "device.jsonl"
    options = ["--device", "cpu", "--quick", "--dataset", "sample", "--tune"]
    paths = ["--out", str(out), "--scratch", str(tmp_path)]
    told = CliRunner().invoke(program.main, [*options, *paths], catch_exceptions=False)
    assert told.exit_code == 0, told.output
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    parts = [row["part"] for row in rows]
    assert parts == [
        "environment", "tune", "scan", "scan", "agreement", "rescore", "build", "exact",
        "retrieval", "retrieval", "retrieval", "all",
    ]  # fmt: skip
    assert rows[parts.index("agreement")]["within_tolerance"]
    assert all(row["R2"] > 0.99 for row in rows if row["part"] == "retrieval")
    assert len(told.output.splitlines()) >= len(rows)


@pytest.mark.slow
def test_the_least_time_of_a_scan_is_predicted_without_a_gpu(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    out = tmp_path / "device.jsonl"
    command = [sys.executable, "-m", "benchmarks.device", "--predict", "3x1x8", "--out", str(out)]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True,
        env=environment,
    )  # fmt: skip
    row, flash = [json.loads(line) for line in out.read_text().splitlines()]
    assert (flash["patch_size"], flash["stack_bytes"], flash["queries"]) == (3, 0, 64)
    assert 8 < flash["per_pair"] < 30
    # of 16 numbers in two halves, and two halves of the weights with 16 values
    clocks = 36 / 128 * (2 * 64 * 128 * 16 + 2 * 64 * 16 * 128) / 2048
    assert flash["product_slots"] == pytest.approx(4 * clocks)
    assert (row["patch_size"], row["channels"], row["side"]) == (3, 1, 8)
    assert row["stack_bytes"] == 0
    # a lane-pair more than each legal pair, as rounds are rounded up; some dozen instructions each
    assert row["lane_pairs"] >= 1
    assert 2 < row["per_lane_pair"] < 100
    per_image = H200.slots_per_second * row["least_seconds"] / row["num_images"]
    assert per_image == pytest.approx(row["warp_slots"])
    assert "P  3 x 1 x 8" in done.stdout


def test_the_loop_around_another_is_counted_without_it() -> None:
    code = list(instructions(CODE))
    assert [text.split()[0] for text in loop_around(code)] == ["FADD", "@P2"]
    assert loop_around(code[:5]) == []


def test_a_search_reads_each_list_once_in_a_call_and_writes_no_matrix() -> None:
    call = ListCall(num_patches=500_000_000, num_queries=10_000, nprobe=64, k=256, dims=40)
    once = call.num_patches * 44
    ranks = 8 * call.num_queries * (5654 + 8192)  # of the sample, and behind the threshold
    selecting = (64 // 8 + 1) * ranks  # `topk` reads what it selects from for each byte, and again
    assert once + selecting < call.bytes_now(H200) < 1.6 * once
    assert call.bytes_before(H200) > 7 * 4 * call.num_queries * call.width


@pytest.mark.slow
def test_the_list_search_is_predicted_without_a_gpu(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    out = tmp_path / "device.jsonl"
    command = [sys.executable, "-m", "benchmarks.device", "--predict", "lists40", "--out", str(out)]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True,
        env=environment,
    )  # fmt: skip
    (row,) = [json.loads(line) for line in out.read_text().splitlines()]
    assert row["stack_bytes"] == 0
    assert row["per_pair"] < 25 < row["per_pair_before"]
    assert row["gigabytes"] < row["gigabytes_before"] / 10
    assert "lists of 40 dims" in done.stdout
