"""Folders of results: one writer each, and old or new results whole whenever it is killed."""

import itertools
import json
import os
import shutil
import signal
import sys
from dataclasses import replace

import pytest
from forked import end, ignore_threads, kill, start

from patchindex import ImageSet, IndexConfig, build_index
from patchindex.errors import LockedError
from sampler.errors import OutputError
from sampler.results.output import REPLACING, reserve_output, settle_output, write_whole
from sampler.results.plot_folder import ResultsError, plot_folder
from sampler.results.run_result import SamplerConfig
from sampler.results.write import write_run
from sampler.run import carry_out, plan_run

pytestmark = ignore_threads

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of seed 0 and one of seed 1, with a trace each."""
    folder = tmp_path_factory.mktemp("traces")
    images = ImageSet.load("sample", limit=20, resolution=8)
    index = build_index(images, IndexConfig(scales=(3,)), folder / "few.zarr")
    config = SamplerConfig(num=1, steps=1, scales="3")
    return [
        carry_out(
            plan_run(index, replace(config, seed=seed)),
            trace_path=folder / f"{seed}.zarr",
        )
        for seed in (0, 1)
    ]


def with_trace(run, path, traced):
    """The run with a copy of one array of its trace, which writing moves away; or without."""
    if not traced:
        return replace(run, trace_path=None)
    shutil.copytree(run.trace_path / "state", path / "state")
    return replace(run, trace_path=path)


def write(run, folder):
    write_run(run.result, run.samples, folder, run.trace_path)


def content(folder):
    """Bytes of each file, but for those that are hidden."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    names = {path: path.relative_to(folder) for path in files}
    return {
        str(name): path.read_bytes()
        for path, name in names.items()
        if not name.parts[0].startswith(".")
    }


def die_before_change(number):
    """Kill this process before its n-th change of the file system."""
    left = itertools.count(number, -1)

    def count(event, arguments):
        writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if (event in CHANGES or writes) and next(left) == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


@pytest.mark.slow
@pytest.mark.parametrize("traced", [(True, True), (True, False)])
def test_a_run_that_is_killed_at_any_change_leaves_the_old_or_the_new_one(runs, tmp_path, traced):
    old, new = tmp_path / "old", tmp_path / "new"
    for folder, run, has_trace in zip((old, new), runs, traced, strict=True):
        with reserve_output(folder, overwrite=False):
            write(with_trace(run, tmp_path / f"{folder.name}.zarr", has_trace), folder)
    for name in ("explain.html", "leave_out.json", "leave_out.npz", "steps.png", "attribution.svg"):
        (old / name).write_text("of the old run")
    before, after = content(old), content(new)
    assert before["run.json"] != after["run.json"]
    outcomes = []

    def overwrite(number):
        with reserve_output(folder, overwrite=True):
            run = with_trace(runs[1], folder / ".tracing-0", traced[1])
            die_before_change(number)
            write(run, folder)

    for number in itertools.count(1):
        folder = shutil.copytree(old, tmp_path / "run")
        died = end(start(lambda number=number: overwrite(number)))
        found = content(folder)
        if "run.json" in found:  # no half replacement may look like a run
            assert found in (before, after), number
        settle_output(folder)
        settled = content(folder)
        assert settled in (before, after), number
        outcomes.append(settled == after)
        shutil.rmtree(folder)
        if died != -signal.SIGKILL:
            break
    assert died == 0
    assert outcomes == sorted(outcomes)
    assert 20 < len(outcomes) < 100
    assert 5 < sum(outcomes) < len(outcomes)


def test_a_run_replaces_attributed_pictures_on_request_alone(runs, tmp_path):
    (tmp_path / "attribution.json").write_text("{}")
    with (
        pytest.raises(OutputError, match=r"holds attributed pictures\. Give another --out"),
        reserve_output(tmp_path, overwrite=False),
    ):
        pass
    with reserve_output(tmp_path, overwrite=True):
        write(with_trace(runs[0], None, False), tmp_path)
    assert not (tmp_path / "attribution.json").exists()


@pytest.mark.slow
def test_a_plot_beside_attributed_pictures_leaves_them(runs, tmp_path):
    with reserve_output(tmp_path / "run", overwrite=False):
        write(with_trace(runs[0], None, False), tmp_path / "run")
    (tmp_path / "attribution.json").write_text("{}")
    plot_folder(tmp_path / "run", tmp_path)
    assert (tmp_path / "attribution.json").exists()


def test_a_second_writer_is_refused_and_removes_nothing(tmp_path):
    readable, writable = os.pipe()

    def trace():
        with reserve_output(tmp_path, overwrite=False):
            (tmp_path / ".tracing-x").mkdir()
            os.write(writable, b".")
            signal.pause()

    tracing = start(trace)
    os.read(readable, 1)
    refused = (
        rf"another process is writing to .* \(process {tracing} of .*\)\. Wait for it, or give"
    )
    with pytest.raises(LockedError, match=refused), reserve_output(tmp_path, overwrite=True):
        pass
    assert (tmp_path / ".tracing-x").exists()
    kill(tracing)
    with reserve_output(tmp_path, overwrite=False):
        assert not (tmp_path / ".tracing-x").exists()


def test_a_plot_elsewhere_may_read_while_the_run_is_made_again(runs, tmp_path):
    folder = tmp_path / "run"
    with reserve_output(folder, overwrite=False):
        write(with_trace(runs[0], None, traced=False), folder)
    with reserve_output(folder, overwrite=True):
        assert plot_folder(folder, tmp_path / "plots")
        with pytest.raises(LockedError, match="another process is writing"):
            plot_folder(folder, folder)
        (folder / REPLACING).mkdir()
        with pytest.raises(LockedError, match="another process is writing"):
            plot_folder(folder, tmp_path / "plots")


def test_a_folder_that_is_not_there_is_not_made_to_plot(tmp_path):
    with pytest.raises(
        ResultsError, match=r"none holds neither run.json nor verify.json nor audit"
    ):
        plot_folder(tmp_path / "none", tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", ["../precious", "/precious", "", "..", "a/b"])
@pytest.mark.parametrize("key", ["account", "gone"])
def test_a_crafted_replacement_touches_nothing_outside(tmp_path, name, key):
    folder = tmp_path / "run"
    (folder / REPLACING).mkdir(parents=True)
    (tmp_path / "precious").write_text("x")
    plan = {"account": None, "gone": []} | {key: [name] if key == "gone" else name}
    (folder / REPLACING / ".plan.json").write_text(json.dumps(plan))
    refused = r"\.replacing holds no results that can be moved into its folder\. Remove it\."
    with pytest.raises(OutputError, match=refused):
        settle_output(folder)
    assert (tmp_path / "precious").read_text() == "x"


@pytest.mark.parametrize(
    "plan", ["", "[]", '{"account": 3, "gone": []}', '{"gone": 1}', "[" * 9999]
)
def test_a_garbled_replacement_is_told(tmp_path, plan):
    (tmp_path / REPLACING).mkdir()
    (tmp_path / REPLACING / ".plan.json").write_text(plan)
    with pytest.raises(OutputError, match="holds no results that can be moved"):
        settle_output(tmp_path)


@pytest.mark.parametrize("place", ["/proc/x", "file/x", "file", "x" * 300])
def test_a_folder_that_cannot_be_made_is_refused_at_once(tmp_path, place):
    (tmp_path / "file").write_text("x")
    refused = r"output folder .* cannot be written \(.*\)\. Give another --out, or mend"
    with (
        pytest.raises(OutputError, match=refused),
        reserve_output(tmp_path / place, overwrite=True),
    ):
        pass


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    def fail(path):
        path.write_text("half")
        raise OSError(28, os.strerror(28))

    (tmp_path / "a").write_text("old")
    with pytest.raises(OutputError, match=r"\(No space left on device\)\. Free some space"):
        write_whole({"a": lambda path: path.write_text("new"), "b": fail}, tmp_path, gone=["a*"])
    assert content(tmp_path) == {"a": b"old"}
    assert not (tmp_path / REPLACING).exists()
