"""Rows of the paper's table, made by the commands that users have."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import table
from benchmarks.table import Row, main, sizes_in

SMALL = Row(
    dataset="sample", architecture="resnet", options=("--limit", "80", "--resolution", "8"),
    calibrated_on=40,
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("conditional", "stages"),
    [(True, "train, calibrate, compare"), (False, "train, calibrate, build, compare")],
)
def test_a_row_is_made_recorded_once_and_gone_on_with(
    conditional: bool, stages: str, monkeypatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(table, "ROWS", {"small": replace(SMALL, conditional=conditional)})
    monkeypatch.setattr(table, "RESNET", "3,5")
    out = tmp_path / "rows.jsonl"
    asked = ["small", "--work", str(tmp_path), "--num", "2", "--train-steps", "2"]
    for _ in range(2):
        result = CliRunner().invoke(main, [*asked, "--out", str(out)])
        assert result.exit_code == 0, result.output
    (row,) = [json.loads(line) for line in out.read_text().splitlines()]
    assert row["network"]["architecture"] == "resnet"
    assert row["samples"] == 2
    assert set(row["scales"]["patch_sizes"]) <= {3, 5}
    assert row["training"]["training"]["steps"] == 2
    told = CliRunner().invoke(main, ["--work", str(tmp_path)])
    assert told.output.split(maxsplit=1)[1].strip() == stages


def test_what_is_no_row_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["mnist_vit"])
    assert result.exit_code == 1
    assert "there is no row mnist_vit. Give one of mnist_resnet_zeros" in result.output


def test_sizes_are_read_without_the_schedule_that_they_are_of(tmp_path: Path) -> None:
    path = tmp_path / "scales.yaml"
    path.write_text("schedule: edm\n0.5: 5\n0.75: 3\n1: 5\n")
    assert sizes_in(path) == [3, 5]


def test_every_row_of_the_papers_table_is_there() -> None:
    published = (Path(table.__file__).parents[1] / "data" / "table1.yaml").read_text()
    assert all(f"  {name}:" in published for name in table.ROWS)
    assert len(table.ROWS) == 11
