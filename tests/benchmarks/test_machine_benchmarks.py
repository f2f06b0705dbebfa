"""The benchmarks of machines run from end to end on a few images."""

import json

import pytest
from click.testing import CliRunner
from small_index import build_small

from benchmarks import accuracy, retrieval


def rows_of(main, results, *arguments) -> list[dict]:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in results.read_text().splitlines()]


@pytest.mark.slow
def test_accuracy_has_a_row_for_the_build_the_steps_and_each_tail(tmp_path, monkeypatch) -> None:
    results = tmp_path / "accuracy.jsonl"
    monkeypatch.setattr(accuracy, "RESULTS", results)
    rows = rows_of(
        accuracy.main, results, "--dataset", "sample", "--limit", 20, "--scales", "3",
        "--seeds", 1, "--tails", "0,64", "--k", 8,
    )  # fmt: skip
    assert [row["part"] for row in rows] == ["build", "steps", "finals", "finals"]
    assert len(rows[1]["steps"]) == 20
    assert {"tail_0", "tail_64", "seconds"} <= rows[1]["steps"][0].keys()


@pytest.mark.slow
def test_retrieval_has_a_row_for_each_setting(tmp_path, monkeypatch) -> None:
    results = tmp_path / "retrieval.jsonl"
    monkeypatch.setattr(retrieval, "RESULTS", results)
    build_small(tmp_path / "small.zarr")
    rows = rows_of(
        retrieval.main, results, "--index", tmp_path / "small.zarr", "--states",
        tmp_path / "states.pt", "--seeds", 1, "--every", 10, "--batch", 1,
    )  # fmt: skip
    assert len(rows) >= 10
    assert all(row["error_worst"] < 0.5 for row in rows if row["value"] != "0")
