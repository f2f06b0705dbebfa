"""The benchmarks run from end to end on a few real images, and leave what they should."""

import json
import math
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from figures import assert_drawn
from small_index import build_small, small_images

from benchmarks import accuracy, comparison, growth, make_sample, retrieval
from benchmarks.error_time_plot import draw_error_time
from benchmarks.record import RESULTS
from cli.sampler import main as sampler
from patchindex import ImageSet, PatchGeometry
from patchindex.paths import data_file


def run(program: click.Command, *arguments: object) -> str:
    result = CliRunner().invoke(program, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def rows_of(program: click.Command, out: Path, *arguments: object) -> list[dict]:
    run(program, *arguments, "--out", out)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert all(row["time"] and "commit" in row for row in rows)
    return rows


@pytest.mark.slow
def test_accuracy_has_a_row_for_the_build_the_steps_and_each_tail(tmp_path: Path) -> None:
    rows = rows_of(
        accuracy.main, tmp_path / "accuracy.jsonl", "--dataset", "sample", "--limit", 20,
        "--scales", "3", "--seeds", 1, "--tails", "0,64", "--k", 8,
    )  # fmt: skip
    assert [row["part"] for row in rows] == ["build", "steps", "finals", "finals"]
    assert len(rows[1]["steps"]) == 20
    assert {"tail_0", "tail_64", "seconds"} <= rows[1]["steps"][0].keys()


@pytest.mark.slow
def test_retrieval_has_a_row_for_each_setting_and_draws_them(tmp_path: Path, monkeypatch) -> None:
    # so few pairs that no setting sums all of them
    monkeypatch.setattr("sampler.estimator.estimate.PATCHES_PER_TAIL", 1)
    build_small(tmp_path / "small.zarr", small_images(2000, side=8), scales=(3,))
    rows = rows_of(
        retrieval.main, tmp_path / "retrieval.jsonl", "--index", tmp_path / "small.zarr",
        "--states", tmp_path / "states.pt", "--seeds", 1, "--every", 10, "--batch", 1,
        "--plot", tmp_path / "retrieval.png",
    )  # fmt: skip
    assert len(rows) == len(retrieval.SETTINGS)
    assert all(0 < row["error_median"] <= row["error_worst"] < 0.5 for row in rows)
    assert all(row["seconds"] > 0 for row in rows)
    assert_drawn(tmp_path / "retrieval.png")


@pytest.mark.slow
def test_growth_has_a_row_for_each_index_and_draws_them(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(growth, "SCALES", (3, 5))
    out = tmp_path / "growth.jsonl"
    arguments = ("--source", "sample", "--batch", 1, "--scratch", tmp_path)
    rows = rows_of(growth.main, out, *arguments, "--nums", "20,40", "--sides", "8,16")
    configs = [(row["config"]["num"], row["config"]["side"]) for row in rows]
    assert configs == [(20, 8), (20, 16), (40, 8), (40, 16)]
    assert all(row["seconds_by_scale"].keys() == {"3", "5"} for row in rows)
    assert all(row["seconds"] > 0 for row in rows)
    run(growth.main, "--draw", tmp_path / "growth.png", "--out", out)
    assert_drawn(tmp_path / "growth.png")


@pytest.mark.slow
def test_error_against_time_is_drawn_of_the_committed_rows(tmp_path: Path) -> None:
    lines = (RESULTS / "retrieval.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    draw_error_time(rows, rows[0]["exact_seconds"], "60,000 images", tmp_path / "plot.png")
    assert_drawn(tmp_path / "plot.png")
    draw_error_time(rows, rows[0]["exact_seconds"], "60,000 images", tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "plot.png").read_bytes()


def test_a_finished_comparison_becomes_a_row_and_a_line_of_the_table(tmp_path: Path) -> None:
    run(
        sampler, "compare", "--dataset", "sample", "--limit", 60, "--num", 2, "--steps", 2,
        "--network-steps", 2, "--scales", "3,5", "--out", tmp_path / "compared",
    )  # fmt: skip
    out = tmp_path / "comparison.jsonl"
    earlier = (RESULTS / "comparison.jsonl").read_text()
    out.write_text(earlier)
    *_, row = rows_of(comparison.main, out, tmp_path / "compared")
    assert out.read_text().startswith(earlier)
    assert (row["dataset"], row["num_images"], row["samples"]) == ("sample", 60, 2)
    assert row["retrieval"] is False
    assert row["network"]["architecture"] == "resnet"
    assert row["training"]["parameters"] > 0
    found = row["results"]["2"]
    medians = {name: values["r"] for name, values in found["medians"].items()}
    assert set(comparison.COLUMNS) <= medians.keys()
    assert all(-1 <= r <= 1 for r in medians.values())

    head, rule, *lines = run(comparison.main, "--out", out).splitlines()
    assert len(lines) >= len(earlier.splitlines()) + 1
    cells = [cell.strip() for cell in lines[-1].strip("|").split("|")]
    assert cells[:2] == ["sample, resnet, zeros", "2"]
    measured = [f"{medians[name]:.2f}" for name in comparison.COLUMNS]
    assert [cell.split()[0] for cell in cells[2:5] + cells[6:]] == measured
    assert head.count("|") == rule.count("|") == lines[-1].count("|")


def test_kernels_are_timed_and_compared_with_what_the_machine_can_do(tmp_path: Path) -> None:
    pytest.importorskip("patchindex.kernels.native_backend")
    from benchmarks import kernels  # noqa: PLC0415 - needs the C++ kernels

    (result,) = rows_of(
        kernels.main, tmp_path / "kernels.jsonl", "--dataset", "sample", "--limit", 30,
        "--cases", "3@0.6,5@2.35", "--rescore-sizes", 9, "--repeats", 1, "--threads", 1,
    )  # fmt: skip
    assert result["config"]["shape"] == [30, 1, 32, 32]
    scans, rescored = result["rows"][:2], result["rows"][2:]
    assert [row["case"] for row in result["rows"]] == [
        "scan P=3 s=0.6", "scan P=5 s=2.35", "rescore P=9",
    ]  # fmt: skip
    for row, patch_size in zip(scans, (3, 5), strict=True):
        geometry = PatchGeometry(height=32, width=32, patch_size=patch_size)
        assert row["pairs"] == 30 * geometry.centers_per_pixel.sum()
        assert row["operations"] > row["pairs"]
    assert [row["pairs"] for row in rescored] == [64 * 16384]
    for row in result["rows"]:
        assert row["seconds"] == row["fastest"] > 0
        assert row["spread"] == 0
        # a part of what one core does in the same minute; twice that where clocks are coarse
        assert 0 < row["share"] < 2
        assert all(math.isfinite(value) for value in row.values() if isinstance(value, float))


def test_a_sample_has_the_first_images_of_each_class_in_their_order(tmp_path: Path) -> None:
    out = tmp_path / "sample.npz"
    run(make_sample.main, "--dataset", "sample", "--per-class", 3, "--out", out)
    found = ImageSet.load(f"npz:{out}", resolution="native")
    whole = ImageSet.load("sample", resolution="native")
    kept = [np.flatnonzero(whole.labels == label)[:3] for label in range(10)]
    kept = np.sort(np.concatenate(kept))
    np.testing.assert_array_equal(found.pixels, whole.pixels[kept])
    np.testing.assert_array_equal(found.labels, whole.labels[kept])


def test_the_bundled_sample_is_made_of_itself_array_for_array(tmp_path: Path) -> None:
    out = tmp_path / "sample.npz"
    run(make_sample.main, "--dataset", "sample", "--out", out)
    with np.load(out) as made, np.load(data_file("sample", make_sample.OUT.name)) as bundled:
        assert made.files == bundled.files
        for name in made.files:
            assert made[name].dtype == bundled[name].dtype
            np.testing.assert_array_equal(made[name], bundled[name])
