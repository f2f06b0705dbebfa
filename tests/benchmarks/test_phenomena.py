"""`python -m benchmarks.phenomena --quick` measures and draws what docs/phenomena.md describes."""

import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner
from figures import assert_drawn

from benchmarks.phenomena.__main__ import PHENOMENA, main
from benchmarks.phenomena.fashion import heldout_images
from patchindex import ImageSet

ABOUT = {
    "time", "commit", "versions", "machine", "phenomenon", "config", "seconds_of_all_rows",
    "cpu_seconds_of_all_rows",
}  # fmt: skip


def measured(name: str, folder: Path) -> list[dict]:
    """The rows of one phenomenon, without what all of them say; its figure is drawn."""
    out = folder / "phenomena.jsonl"
    told = CliRunner().invoke(main, [name, "--quick", "--out", str(out), "--figures", str(folder)])
    assert told.exit_code == 0, told.output
    assert_drawn(folder / f"phenomena_{name}.png")
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert f"{len(rows)} rows" in told.output
    for row in rows:
        assert row["phenomenon"] == name
        assert all(math.isfinite(number) for number in numbers(row))
    return [{key: row[key] for key in row.keys() - ABOUT} for row in rows]


def numbers(value: object) -> list[float]:
    """All numbers in a row."""
    if isinstance(value, dict | list):
        parts = value.values() if isinstance(value, dict) else value
        return [number for part in parts for number in numbers(part)]
    return [value] if isinstance(value, int | float) else []


@pytest.mark.slow
def test_the_mosaic_is_more_complete_the_lower_the_noise(tmp_path: Path) -> None:
    rows = measured("mosaic", tmp_path)
    assert [row["sigma"] for row in rows] == sorted((row["sigma"] for row in rows), reverse=True)
    for share in ("garment_share_thousandth", "share_half_grey_step", "share_copying_one_patch"):
        assert [row[share] for row in rows] == sorted(row[share] for row in rows)
    assert rows[-1]["garment_share_half_grey_step"] > 0.8
    assert {row["pixels"] for row in rows} == {2 * 32 * 32}
    assert all(0 < row["garment_pixels"] < row["pixels"] for row in rows)
    assert all(len(row["source_images"]) == 2 for row in rows)


@pytest.mark.slow
def test_is_samples_are_training_images_and_els_samples_are_farther_than_test_images(
    tmp_path: Path,
) -> None:
    rows = {row["images"]: row for row in measured("memorization", tmp_path)}
    assert list(rows) == ["IS", "LS", "ELS", "test images"]
    assert rows["IS"]["quantile_95"] < 1e-3
    assert rows["IS"]["median"] < rows["LS"]["median"] < rows["ELS"]["median"]
    for row in rows.values():
        assert len(row["distances"]) == row["num"]
        assert row["lowest"] <= row["quantile_05"] <= row["median"] <= row["quantile_95"]


@pytest.mark.slow
def test_trousers_have_more_excess_legs_the_smaller_the_window(tmp_path: Path) -> None:
    real, *samples = measured("limbs", tmp_path)
    assert real["images"] == "test images"
    assert real["share_rows_more_than_two"] < 0.03
    assert len(samples) == 4
    excess = [row["share_rows_more_than_two"] for row in samples]
    assert excess == sorted(excess)
    assert excess[0] > real["share_rows_more_than_two"]
    for row in (real, *samples):
        assert sum(row["legs_of_rows"]) == 9 * row["num"]
        assert sum(row["legs_of_images"]) == row["num"]


@pytest.mark.slow
def test_every_pixel_of_two_images_becomes_its_windows_majority(tmp_path: Path) -> None:
    rows = {(row["steps"], row["levels_below"]): row for row in measured("two_images", tmp_path)}
    assert list(rows) == [(3, 0), (3, 12), (20, 0), (20, 12)]
    assert rows[3, 0]["share_majority"] < rows[20, 0]["share_majority"] < 1
    assert rows[3, 12]["share_majority"] == rows[20, 12]["share_majority"] == 1
    assert all(0.3 < row["share_white"] < 0.7 for row in rows.values())


@pytest.mark.slow
def test_the_best_patch_size_grows_with_noise(tmp_path: Path) -> None:
    rows = measured("locality", tmp_path)
    assert [row["t"] for row in rows] == [0.1, 0.5, 0.9]
    assert [row["best_patch_size"] for row in rows] == [3, 9, 17]
    for row in rows:
        best = row["patch_sizes"].index(row["best_patch_size"])
        assert row["rms_error"][best] == min(row["rms_error"])
        assert row["share_copying"] == sorted(row["share_copying"])
    assert rows[0]["share_copying"][-1] > 0.9


@pytest.mark.slow
def test_is_and_ls_agree_better_with_els_the_larger_its_windows(tmp_path: Path) -> None:
    rows = measured("agreement", tmp_path)
    assert [sum(row["patch_sizes"]) for row in rows[1:]] == [136, 208, 266]
    for agreement in ("median_r_els_is", "median_r_els_ls"):
        assert [row[agreement] for row in rows] == sorted(row[agreement] for row in rows)
    assert rows[0]["median_r_els_is"] < 0.5 < rows[-1]["median_r_els_is"]


def test_each_phenomenon_has_a_test_here() -> None:
    named = {"mosaic", "memorization", "limbs", "two_images", "locality", "agreement"}
    assert set(PHENOMENA) == named


def test_held_out_images_are_the_last_where_there_is_no_test_split() -> None:
    sample, last = ImageSet.load("sample"), heldout_images("sample", 30)
    assert (last.pixels == sample.pixels[-30:]).all()
    assert (last.labels == sample.labels[-30:]).all()
    assert last.name == "sample, last images"
