"""`patchindex` as its users meet it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from interruptible import start_interruptible
from small_index import array_checksums, build_small, small_images

import cli.patchindex_build
from cli.patchindex import main
from patchindex import ImageSet
from patchindex.index.build import build_index
from patchindex.index.config import IndexConfig
from patchindex.index.patch_index import PatchIndex

FEW = ["--dataset", "sample", "--limit", "20", "--resolution", "native", "--scales", "3,7"]


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return build_small(tmp_path_factory.mktemp("built") / "small.zarr")


def test_building_tells_the_plan_and_shows_what_was_built(tmp_path):
    result = run("build", *FEW, "--out", tmp_path / "few.zarr")
    assert result.exit_code == 0, result.output
    for words in (
        "of disk",
        "of memory",
        "(an estimate)",
        " s left",
        "is complete",
    ):
        assert words in result.stderr
    assert "20 images of 1 x 28 x 28" in result.stdout
    assert "estimate" not in result.stdout
    index = PatchIndex.open(tmp_path / "few.zarr")
    assert index.images.sha256 == ImageSet.load("sample", limit=20, resolution="native").sha256


def test_without_out_the_index_goes_home(home):
    assert run("build", *FEW, "--boundary", "circular", "--resolution", "16").exit_code == 0
    path = home / "indices" / "sample-16-circular-first20.zarr"
    assert PatchIndex.open(path).boundary == "circular"
    assert (
        "is complete already; nothing to do"
        in run("build", *FEW, "--boundary", "circular", "--resolution", "16").stderr
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scales", "3,4"], "Error: scale 4 is not a patch size. Give odd positive"),
        (["--scales", "57"], "Error: scale 57 is too large for 28x28 images. Give at most 55"),
        (["--boundary", "mirror"], "Error: boundary is 'mirror'. Give one of zeros, circular"),
        (["--dataset", "mnits"], "Error: "),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_users_error_is_one_line_and_exit_code_1(tmp_path, arguments, message):
    result = run("build", *FEW, *arguments, "--out", tmp_path / "few.zarr")
    assert result.exit_code == 1
    assert result.stdout == ""
    last = result.stderr.splitlines()[-1]
    assert last.startswith(message)
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.glob("few*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scales", "3,x"], "scales '3,x' are no list of whole numbers. Give for instance 3,5,9"),
        (["--limit", "0"], "0 is not in the range x>=1"),
        (["--sclaes", "3"], "No such option"),
    ],
)
def test_what_the_command_line_cannot_read_ends_with_exit_code_1_too(arguments, message):
    result = run("build", "--dataset", "sample", *arguments)
    assert result.exit_code == 1
    assert message in result.stderr


def test_our_own_bugs_show_their_traceback(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("a bug")

    monkeypatch.setattr(cli.patchindex_build, "build_index", fail)
    assert isinstance(run("build", *FEW).exception, RuntimeError)


def test_info_shows_what_is_in_an_index(index):
    result = run("info", index.path)
    assert result.exit_code == 0
    assert "small: 40 images of 1 x 16 x 16" in result.stdout
    found = json.loads(run("info", index.path, "--json").stdout)
    assert [scale["patches"] for scale in found["scales"]] == [10_240, 10_240]
    assert found["boundary"] == "zeros"


def test_info_without_a_path_shows_versions_threads_and_gpu():
    result = run("info", "--load")
    for name in ("faiss", "zarr", "kernels", "threads", "FAISS", "GPU", "search"):
        assert re.search(rf"^{name}\s+\S", result.stdout, re.MULTILINE)
    assert set(json.loads(run("info", "--load", "--json").stdout)) == {
        "python", "versions", "kernels", "threads", "faiss_build", "gpu", "search",
    }  # fmt: skip


def test_info_of_nothing_is_one_line(tmp_path):
    result = run("info", tmp_path / "nowhere.zarr")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: there is no index at ")
    assert len(result.stderr.splitlines()) == 1


def test_verify_passes_a_whole_index_and_names_a_damaged_array(index, tmp_path):
    result = run("verify", index.path)
    assert (result.exit_code, "is whole: 20,480 patches in 2 scales" in result.stdout) == (0, True)
    path = build_small(tmp_path / "small.zarr").path
    with (path / "scales/7/shards/0/codes/c/0/0").open("r+b") as file:
        file.write(b"\x01\x02\x03")
    result = run("verify", path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "scales/7/shards/0/codes" in result.stderr.splitlines()[-1]


def test_datasets_are_listed():
    result = run("datasets")
    assert result.exit_code == 0
    assert re.search(r"^fashion_mnist\s+60,000 x 1 x 28 x 28", result.stdout, re.MULTILINE)


class Build:
    """A real `patchindex build`, in a process of its own."""

    def __init__(self, *arguments):
        self.process = start_interruptible(
            [sys.executable, "-m", "cli.patchindex", "build", *arguments],
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.told = ""

    def wait_for(self, mark):
        """Wait until it has left this file, which it does when a scale is trained."""
        while not mark.exists():
            assert self.process.poll() is None, self.process.stderr.read()
            time.sleep(0.001)

    def signal(self, number):
        os.killpg(self.process.pid, number)

    def end(self):
        """The exit code of the process when it has ended."""
        self.told += self.process.stderr.read()
        self.process.stderr.close()
        return self.process.wait()


@pytest.mark.slow
def test_a_killed_or_interrupted_build_is_finished_by_the_same_command(tmp_path):
    out, work = tmp_path / "killed.zarr", tmp_path / "killed.zarr.building"
    codes = Path("scales", "3", "shards", "0", "codes", "c", "0", "0")
    np.savez(tmp_path / "few.npz", images=small_images(300, side=28).pixels)
    command = ["--dataset", f"npz:{tmp_path / 'few.npz'}", "--scales", "3,7", "--out", str(out)]

    killed = Build(*command)
    killed.wait_for(work / "3.json")
    killed.signal(signal.SIGSTOP)
    refused = run("build", *command)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "another process is building" in refused.stderr.splitlines()[-1]
    killed.signal(signal.SIGKILL)
    assert killed.end() == -signal.SIGKILL

    interrupted = Build(*command)
    interrupted.wait_for(work / "7.json")
    interrupted.signal(signal.SIGINT)
    assert interrupted.end() == 130, interrupted.told
    assert "Interrupted. What is finished is kept; the same command resumes." in interrupted.told
    assert "resuming the build" in interrupted.told
    assert "Traceback" not in interrupted.told

    assert not out.exists()
    written = (work / "store" / codes).stat().st_mtime_ns
    resumed = run("build", *command)
    assert resumed.exit_code == 0
    assert (out / codes).stat().st_mtime_ns == written  # scale 3 was not done again
    whole = build_index(
        ImageSet.load(command[1]), IndexConfig(scales=(3, 7)), tmp_path / "whole.zarr"
    )
    assert array_checksums(PatchIndex.open(out)) == array_checksums(whole)
