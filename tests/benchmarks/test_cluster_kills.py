"""The benchmark of killed workers, in little."""

import json

import pytest
from click.testing import CliRunner

from benchmarks.cluster_kills import main


@pytest.mark.slow
def test_kills_are_counted_and_change_no_bit(tmp_path):
    few = "--num 40 --builds 1 --runs 1 --samples 2 --steps 1 --shard-patches 8000 --out"
    done = CliRunner().invoke(main, [*few.split(), str(tmp_path / "rows")])
    assert not done.exception, done.output
    rows = [json.loads(line) for line in (tmp_path / "rows").read_text().splitlines()]
    assert [row["kind"] for row in rows] == ["build", "exact samples", "retrieved samples"]
    for row in rows:
        assert (row["kills"], row["equal"], row["equal_undisturbed"]) == (1, 1, 1)
