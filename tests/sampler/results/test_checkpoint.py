"""A run that was interrupted goes on, and ends as one that never was."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import sleep

import numpy as np
import pytest
from click.testing import CliRunner, Result
from small_index import build_small, small_images

from cli.sampler import main
from sampler.results.checkpoint import RUNNING
from sampler.trajectory import StepReport

STEPS = 4
GOING_ON, DAMAGED = "going on after step", "is damaged"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("indices") / "small.zarr"
    build_small(path, small_images(60, side=10), scales=(3, 5))
    return path


def command(index: Path, out: Path, *more: object) -> list[str]:
    fixed = ["--steps", STEPS, "--num", 2, "--scales", "5,3", "--k", 16, "--tail", 2, "--trace"]
    return [str(word) for word in ("run", "--index", index, *fixed, "--out", out, *more)]


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, command(*arguments))


def written(out: Path) -> dict[str, bytes]:
    """All that a run leaves and that is the same each time."""
    files = [out / "samples.npy", out / "samples.png"]
    files += [path for path in (out / "trace.zarr").rglob("*") if path.is_file()]
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def whole(index: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an uninterrupted run leaves."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert invoke(index, out).exit_code == 0
    assert not (out / RUNNING).exists()
    return written(out)


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run, and press Ctrl-C once so many steps were shown."""

    def until(steps: int, *arguments: object) -> Result:
        shown: list[StepReport] = []

        def show(report: StepReport) -> str:
            shown.append(report)
            if len(shown) == steps:
                raise KeyboardInterrupt
            return ""

        with monkeypatch.context() as patch:
            patch.setattr("cli.sampler_run.run_row", show)
            result = invoke(*arguments)
        assert result.exit_code == 130
        assert "Interrupted. The steps that are done are kept" in result.stderr
        return result

    return until


@pytest.mark.parametrize("steps", range(1, STEPS + 1))
def test_the_same_command_ends_as_if_nothing_had_happened(
    index, whole, interrupt, tmp_path, steps: int
) -> None:
    interrupt(steps, index, tmp_path)
    kept = {path.name for path in (tmp_path / RUNNING).iterdir()}
    assert kept >= {"job.json", "done.json", f"{steps}.npz", "trace.zarr"}
    assert len([name for name in kept if name.endswith(".npz")]) == 1  # the step before is gone
    result = invoke(index, tmp_path)
    assert result.exit_code == 0, result.output
    assert f"{GOING_ON} {steps}" in result.stderr
    times = {line.split()[0] for line in result.stdout.splitlines() if line.strip()}
    assert times >= {"1.00", "0.75", "0.50", "0.25"}  # those done before are shown again
    assert written(tmp_path) == whole
    assert not (tmp_path / RUNNING).exists()
    account = json.loads((tmp_path / "run.json").read_text())
    assert len(account["steps"]) == STEPS


@pytest.mark.slow
def test_heuns_steps_go_on_with_the_same_bits(index, interrupt, tmp_path) -> None:
    heun = ("--sampler", "heun")
    assert invoke(index, tmp_path / "whole", *heun).exit_code == 0
    interrupt(2, index, tmp_path / "cut", *heun)
    (heads,) = (tmp_path / "cut" / RUNNING).glob("heads-*")
    assert [path.name for path in heads.iterdir()] == ["2"], "halves of steps are forgotten"
    assert invoke(index, tmp_path / "cut", *heun).exit_code == 0
    assert written(tmp_path / "cut") == written(tmp_path / "whole")


@pytest.mark.slow
def test_it_may_be_interrupted_at_every_step(index, whole, interrupt, tmp_path) -> None:
    for steps in range(1, STEPS):
        interrupt(steps, index, tmp_path)
    assert invoke(index, tmp_path).exit_code == 0
    assert written(tmp_path) == whole


@pytest.mark.slow
@pytest.mark.parametrize(
    "more", [("--seed", 1), ("--scales", "3,5"), ("--steps", 3), ("--k", 17), ("--exact",)]
)
def test_another_command_starts_from_the_beginning(
    index, whole, interrupt, tmp_path, more: tuple[object, ...]
) -> None:
    interrupt(2, index, tmp_path / "run", *more)
    result = invoke(index, tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert GOING_ON not in result.stderr
    assert DAMAGED not in result.stderr
    assert written(tmp_path / "run") == whole


@pytest.mark.slow
def test_so_does_one_over_another_index(index, whole, interrupt, tmp_path) -> None:
    build_small(tmp_path / "other.zarr", small_images(59, side=10), scales=(3, 5))
    interrupt(2, tmp_path / "other.zarr", tmp_path / "run")
    result = invoke(index, tmp_path / "run")
    assert GOING_ON not in result.stderr
    assert written(tmp_path / "run") == whole


def test_the_folder_and_the_index_may_be_moved_between(index, whole, interrupt, tmp_path) -> None:
    shutil.copytree(index, tmp_path / "copy.zarr")
    interrupt(2, tmp_path / "copy.zarr", tmp_path / "first")
    shutil.move(tmp_path / "first", tmp_path / "second")
    shutil.move(tmp_path / "copy.zarr", tmp_path / "moved.zarr")
    result = invoke(tmp_path / "moved.zarr", tmp_path / "second")
    assert f"{GOING_ON} 2" in result.stderr
    assert written(tmp_path / "second") == whole


def test_a_folder_that_is_named_from_here_is_the_same(
    index, whole, interrupt, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    interrupt(2, index, Path("run"))
    assert f"{GOING_ON} 2" in invoke(index, Path("run")).stderr
    assert written(Path("run")) == whole


def remove_head(kept: Path) -> None:
    next(kept.glob("heads-*/*/1.npz")).unlink()


DAMAGE: dict[str, Callable[[Path], object]] = {
    "done.json torn": lambda kept: (kept / "done.json").write_text('{"steps": ['),
    "done.json empty": lambda kept: (kept / "done.json").write_bytes(b""),
    "done.json of another kind": lambda kept: (kept / "done.json").write_text("[]"),
    "done.json lacks a field": lambda kept: (kept / "done.json").write_text('{"steps": []}'),
    "states torn": lambda kept: (kept / "2.npz").write_bytes((kept / "2.npz").read_bytes()[:-40]),
    "states altered": lambda kept: (kept / "2.npz").write_bytes(
        (kept / "2.npz").read_bytes()[:200] + b"x" + (kept / "2.npz").read_bytes()[201:]
    ),
    "states empty": lambda kept: (kept / "2.npz").write_bytes(b""),
    "no states in it": lambda kept: np.savez(kept / "2.npz", other=np.zeros(2)),
    "head missing": remove_head,
    "head torn": lambda kept: next(kept.glob("heads-*/2/0.npz")).write_bytes(b"PK"),
    "trace gone": lambda kept: shutil.rmtree(kept / "trace.zarr"),
    "trace no trace": lambda kept: (kept / "trace.zarr" / "zarr.json").write_text("{"),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_what_is_damaged_starts_from_the_beginning_with_one_line(
    index, whole, interrupt, tmp_path, damage: Callable[[Path], object]
) -> None:
    interrupt(2, index, tmp_path)
    damage(tmp_path / RUNNING)
    result = invoke(index, tmp_path)
    assert result.exit_code == 0, result.output
    assert result.stderr.count(DAMAGED) == 1
    assert "starting from the beginning" in result.stderr
    assert GOING_ON not in result.stderr
    assert written(tmp_path) == whole


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["2.npz", "done.json", "job.json"])
def test_what_is_missing_starts_from_the_beginning(
    index, whole, interrupt, tmp_path, lost: str
) -> None:
    interrupt(2, index, tmp_path)
    (tmp_path / RUNNING / lost).unlink()
    result = invoke(index, tmp_path)
    assert GOING_ON not in result.stderr
    assert written(tmp_path) == whole


@pytest.mark.slow
def test_a_run_that_is_to_be_replaced_stays_until_the_new_one_is_done(
    index, whole, interrupt, tmp_path
) -> None:
    assert invoke(index, tmp_path).exit_code == 0
    other = ("--overwrite", "--seed", 1)
    interrupt(3, index, tmp_path, *other)
    assert written(tmp_path) == whole
    assert "already holds a run" in invoke(index, tmp_path, "--seed", 1).output
    assert f"{GOING_ON} 3" in invoke(index, tmp_path, *other).stderr
    assert written(tmp_path) != whole
    assert not (tmp_path / RUNNING).exists()
    interrupt(1, index, tmp_path, *other)
    assert invoke(index, tmp_path, "--overwrite").exit_code == 0
    assert written(tmp_path) == whole


def full(*_: object, **__: object) -> None:
    raise OSError(28, os.strerror(28))


@pytest.mark.slow
def test_a_full_disk_is_told_in_a_line_and_what_was_done_counts(
    index, whole, interrupt, tmp_path, monkeypatch
) -> None:
    interrupt(2, index, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("numpy.savez", full)
        result = invoke(index, tmp_path)
    assert result.exit_code == 1
    assert "No space left on device" in result.stderr
    assert "give another --out" in result.stderr
    assert f"{GOING_ON} 2" in invoke(index, tmp_path).stderr
    assert written(tmp_path) == whole


@pytest.mark.slow
@pytest.mark.parametrize("file", ["samples.png", "run.json", ".plan.json"])
def test_a_disk_that_is_full_at_the_end_costs_no_step(
    index, whole, tmp_path, monkeypatch, file: str
) -> None:
    where = "save_png" if file == "samples.png" else "write_json"
    module = f"sampler.results.{'output' if file == '.plan.json' else 'write'}"
    real = getattr(sys.modules[module], where)

    def write(what: object, path: Path) -> None:
        if path.name == file:
            full()
        real(what, path)

    with monkeypatch.context() as patch:
        patch.setattr(f"{module}.{where}", write)
        result = invoke(index, tmp_path)
    assert result.exit_code == 1
    assert "No space left on device" in result.stderr
    again = invoke(index, tmp_path)
    assert (f"{GOING_ON} {STEPS}" in again.stderr) == (file != ".plan.json")
    assert written(tmp_path) == whole


def test_a_place_that_is_no_folder_is_told(index, tmp_path) -> None:
    (tmp_path / RUNNING).touch()
    result = invoke(index, tmp_path)
    assert result.exit_code == 1
    assert f"{RUNNING} cannot be written" in result.stderr


@pytest.mark.slow
def test_a_second_process_is_refused(index, tmp_path, monkeypatch) -> None:
    told: list[Result] = []

    def show(report: StepReport) -> str:
        told.append(invoke(index, tmp_path))
        return ""

    monkeypatch.setattr("cli.sampler_run.run_row", show)
    assert invoke(index, tmp_path).exit_code == 0
    assert all("another process is writing to" in result.stderr for result in told)


@pytest.mark.slow
def test_a_run_that_is_killed_at_any_moment_goes_on(index, whole, tmp_path) -> None:
    line = [sys.executable, "-c", "from cli.sampler import main; main()"]
    moment = random.Random(0)  # noqa: S311 - no secret
    for _ in range(12):
        process = subprocess.Popen(
            [*line, *command(index, tmp_path)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()  # the table's head
        sleep(moment.uniform(0, 1.5))
        process.send_signal(signal.SIGKILL)
        _, errors = process.communicate()
        assert b"Error" not in errors
        assert b"damaged" not in errors
        if (tmp_path / "run.json").exists():
            break
    if not (tmp_path / "run.json").exists():
        assert invoke(index, tmp_path).exit_code == 0
    assert written(tmp_path) == whole
