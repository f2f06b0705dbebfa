"""`sampler verify` end to end on real images, and every mistake a user can make with it."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from small_index import build_small

from cli.sampler import main


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("indices") / "small.zarr"
    build_small(path)
    return path


def invoke(index: Path, out: Path, *arguments: object) -> Result:
    given = ["--index", index, "--num", 1, "--steps", 2, "--scales", "3,7", "--k", 16]
    given += ["--tail", 64, "--recall-pixels", 4, "--out", out, *arguments]
    return CliRunner().invoke(main, ["verify", *map(str, given)])


@pytest.mark.slow
def test_a_verification_prints_its_table_and_leaves_three_files(
    index: Path, tmp_path: Path
) -> None:
    out = tmp_path / "verify"
    result = invoke(index, out, "--finals", "--threads", 1)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == [
        "verify.json",
        "verify.png",
        "verify.svg",
    ]
    lines = result.output.splitlines()
    header = next(i for i, line in enumerate(lines) if "recall" in line)
    assert [line.split()[0] for line in lines[header + 1 : header + 3]] == ["1.00", "0.50"]
    assert "final images: Pearson r median" in result.output
    account = json.loads((out / "verify.json").read_text())
    assert f"lowest R2 {account['summary']['R2']['lowest']:.6f} of 2 steps" in lines[-1]
    assert account["versions"]["torch"]
    assert account["config"]["seed"] == 0
    assert account["finals"]["r_lowest"] <= account["finals"]["r_median"] <= 1
    assert [step["patch_size"] for step in account["steps"]] == [7, 3]


def test_a_verification_is_not_replaced_unasked(index: Path, tmp_path: Path) -> None:
    (tmp_path / "verify.json").write_text("kept")
    result = invoke(index, tmp_path)
    assert result.exit_code == 1
    assert "already holds a verification. Give another --out, or --overwrite" in result.output
    assert (tmp_path / "verify.json").read_text() == "kept"


def test_without_any_index_the_next_step_is_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["verify", "--out", str(tmp_path / "verify")])
    assert result.exit_code == 1
    assert "there is no index yet. Build one with `patchindex build" in result.output
    assert not (tmp_path / "verify").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--k", 0], r"k is 0\. Give at least 1 patch"),
        (["--tail", 1], "tail is 1. Give at least 2 draws"),
        (["--recall-pixels", -1], "recall_pixels is -1. Give a number of pixels per step, or 0"),
        (["--label", 77], "no image of .* has label 77. Give one of these labels"),
        (["--scales", "65"], "scale 65 is too large for 16x16 images"),
        (["--schedule", "sine"], "schedule is 'sine'. Give one of cosine"),
        (["--steps", 0], "steps is 0. Give at least 1"),
        (["--num", 0], "num is 0. Give at least 1 sample"),
        (["--seed", -1], "seed is -1. Give a whole number, 0 or more"),
        (["--threads", 0], "threads is 0. Give 1..1024"),
        (["--index", "absent.zarr"], "absent.zarr"),
    ],
)
def test_a_mistake_is_one_clear_line_exit_code_1_and_no_folder(
    arguments: list[object], message: str, index: Path, tmp_path: Path, unchecked: None
) -> None:
    out = tmp_path / "verify"
    result = invoke(index, out, *arguments)
    assert result.exit_code == 1, result.output
    (error,) = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(error)
    assert not out.exists()


def invoke_audit(index: Path, out: Path, *arguments: object) -> Result:
    given = ["--index", index, "--num", 1, "--steps", 2, "--scales", "3,7", "--k", 16]
    given += ["--tail", 64, "--out", out, *arguments]
    return CliRunner().invoke(main, ["verify", *map(str, given)])


@pytest.mark.slow
def test_an_audit_prints_its_table_and_leaves_three_files(index: Path, tmp_path: Path) -> None:
    out = tmp_path / "audit"
    result = invoke_audit(index, out, "--pixels", 30)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == ["audit.json", "audit.png", "audit.svg"]
    lines = result.output.splitlines()
    header = next(i for i, line in enumerate(lines) if "k-hat" in line)
    assert [line.split()[:2] for line in lines[header + 1 : header + 3]] == [
        ["1.00", "7"],
        ["0.50", "3"],
    ]
    account = json.loads((out / "audit.json").read_text())
    r2 = account["summary"]["R2"]
    assert lines[-4] == f"R2: median {r2['median']:.6f}, lowest {r2['lowest']:.6f} of 2 steps"
    assert lines[-3].startswith("coverage: median ")
    assert lines[-2].endswith("(extrapolated)")
    assert lines[-1] == f"30 pixels of 256 a step: {out / 'audit.png'}"
    assert account["schema_version"] == 1
    assert account["config"]["pixels"] == 30


@pytest.mark.slow
def test_an_audit_of_more_pixels_than_there_are_takes_all(index: Path, tmp_path: Path) -> None:
    result = invoke_audit(index, tmp_path / "audit", "--pixels", 10**9, "--label", 3)
    assert result.exit_code == 0, result.output
    assert "256 pixels of 256 a step" in result.output


def test_an_audit_is_not_replaced_unasked(index: Path, tmp_path: Path) -> None:
    (tmp_path / "audit.json").write_text("kept")
    result = invoke_audit(index, tmp_path, "--pixels", 3)
    assert result.exit_code == 1
    assert "already holds an audit. Give another --out, or --overwrite" in result.output
    assert (tmp_path / "audit.json").read_text() == "kept"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pixels", 0], "pixels is 0. Give a number of pixels per step, at least 1"),
        (["--pixels", -1], "pixels is -1. Give a number of pixels per step, at least 1"),
        (["--pixels", 3, "--finals"], "--finals was given with --pixels, which follows no exact"),
        (["--pixels", 3, "--recall-pixels", 8], "--recall-pixels was given with --pixels"),
        (["--pixels", 3, "--label", 77], "no image of .* has label 77"),
    ],
)
def test_a_mistake_with_an_audit_is_one_clear_line_and_no_folder(
    arguments: list[object], message: str, index: Path, tmp_path: Path
) -> None:
    out = tmp_path / "audit"
    result = invoke_audit(index, out, *arguments)
    assert result.exit_code == 1, result.output
    (error,) = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert re.search(message, error)
    assert not out.exists()
