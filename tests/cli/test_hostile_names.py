"""Files with names that try to do harm go through every command, and are found again."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from figures import assert_drawn
from hostile_folder import NAMES, SLASHED, write_hostile_folder
from PIL import Image

from cli.patchindex import main as patchindex
from cli.sampler import main as sampler
from patchindex.file_names import file_of

NUM_IMAGES = len(NAMES) + 1


def invoke(main, *arguments: object) -> Result:
    result = CliRunner().invoke(main, [*map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hostile") / "images"
    assert len(write_hostile_folder(root)) == NUM_IMAGES
    return root


@pytest.fixture(scope="module")
def index(folder: Path) -> Path:
    path = folder.parent / "hostile.zarr"
    dataset = f"folder:{folder}"
    invoke(
        patchindex, "build", "--dataset", dataset, "--resolution", 12, "--scales", 3, "--out", path
    )
    return path


@pytest.fixture(scope="module")
def finished(index: Path) -> Path:
    out = index.parent / "run"
    steps = ["--steps", 3, "--num", 2, "--seed", 1]
    invoke(sampler, "run", "--index", index, *steps, "--trace", "--out", out)
    return out


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy that a test may add to."""
    return shutil.copytree(finished, tmp_path / "run")


def assert_one_screen(text: str) -> None:
    """No control character reaches the terminal but the ends of lines, nor half of a character."""
    assert [line for line in text.split("\n") if not line.isprintable()] == []


def read_grey(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        return np.asarray(Image.open(file))


def test_a_query_names_the_files_and_they_are_found_again(
    folder: Path, index: Path, tmp_path: Path
) -> None:
    named = set()
    for path in sorted(folder.rglob("*.png"), key=os.fsencode):
        where = ["--index", index, "--image", path, "--pixel", "5,6", "--scale", 3, "--k", 1]
        (source,) = json.loads(invoke(patchindex, "query", *where, "--json").stdout)["neighbors"]
        assert source["distance"] == 0
        found = folder / file_of(source["name"])
        assert os.fsencode(found) == os.fsencode(path)
        assert (read_grey(found) == read_grey(path)).all()
        named.add(source["name"])
        assert source["class_name"] in ("<b>plain", "a<")
    assert len(named) == NUM_IMAGES


def test_the_table_and_the_picture_of_a_query_take_any_name(
    folder: Path, index: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "asked.npy", np.zeros((12, 12), np.uint8))
    for out in (tmp_path / "sources.png", tmp_path / "sources.svg"):
        where = ["--index", index, "--image", tmp_path / "asked.npy", "--pixel", "5,6"]
        table = invoke(patchindex, "query", *where, "--scale", 3, "--k", 24, "--out", out).stdout
    assert_one_screen(table)
    assert table.splitlines()[1].split()[-2:] == ["class", "file"]
    assert r"two\nlines.png" in table
    assert_drawn(tmp_path / "sources.png")


@pytest.mark.slow
def test_a_run_names_the_files_of_its_samples(folder: Path, finished: Path) -> None:
    account = json.loads((finished / "run.json").read_text(encoding="utf-8"))
    named = [image for sample in account["trace"]["attribution"] for image in sample["images"]]
    assert len({image["image"] for image in named}) > 5
    for image in named:
        assert (folder / file_of(image["name"])).is_file()
        assert image["class_name"] == image["name"].partition("/")[0]
    assert_drawn(finished / "attribution.png")


def test_the_page_names_the_files_and_holds_no_markup_of_theirs(folder: Path, run: Path) -> None:
    invoke(sampler, "explain", run)
    html = (run / "explain.html").read_text(encoding="utf-8")
    header = re.search(r'<script type="application/json" id="header">(.*?)</script>', html)[1]
    names = json.loads(header)["file_names"]
    assert len(names) == NUM_IMAGES
    assert {os.fsencode(file_of(name)).rpartition(b"/")[2] for name in names.values()} == {
        *NAMES,
        SLASHED,
    }
    assert "<img" not in html
    assert "<script>window" not in html


@pytest.mark.slow
def test_leave_out_names_what_was_left_out(folder: Path, run: Path) -> None:
    printed = invoke(sampler, "leave-out", run, "--sample", 1, "--top", 7).stdout
    assert_one_screen(printed)
    (check,) = json.loads((run / "leave_out.json").read_text(encoding="utf-8"))["checks"]
    for kind in ("removed", "compared"):
        for number, name in zip(check[kind], check[f"{kind}_names"], strict=True):
            assert (folder / file_of(name)).is_file()
            assert f"  image {number} ({name})" in printed.splitlines()
    assert_drawn(run / "leave_out-1.png")
    invoke(sampler, "explain", run)  # which reads it back


@pytest.mark.slow
def test_plots_are_drawn_again_with_names_and_pictures_and_without_them(
    index: Path, run: Path, tmp_path: Path
) -> None:
    invoke(sampler, "plot", run)
    assert_drawn(run / "attribution.png")
    account = json.loads((run / "run.json").read_text(encoding="utf-8"))
    account["source"]["index"] = str(tmp_path / "moved.zarr")
    (run / "run.json").write_text(json.dumps(account))
    (run / "samples.npy").unlink()
    with_pictures = (run / "attribution.png").read_bytes()
    invoke(sampler, "plot", run)
    assert (run / "attribution.png").read_bytes() != with_pictures


@pytest.mark.slow
def test_a_run_of_a_version_that_told_no_names_is_read(run: Path) -> None:
    account = json.loads((run / "run.json").read_text(encoding="utf-8"))
    for sample in account["trace"]["attribution"]:
        for image in sample["images"]:
            del image["name"], image["class_name"]
    (run / "run.json").write_text(json.dumps(account))
    for command in (["plot", run], ["leave-out", run, "--top", 2], ["explain", run]):
        invoke(sampler, *command)


def test_names_of_a_check_that_do_not_match_its_images_are_refused(run: Path) -> None:
    invoke(sampler, "leave-out", run, "--top", 2)
    with np.load(run / "leave_out.npz") as kept:
        arrays = dict(kept)
    told = json.loads(str(arrays["accounts"]))
    told[0]["removed_names"] = ["one"]
    np.savez(run / "leave_out.npz", **(arrays | {"accounts": np.array(json.dumps(told))}))
    result = CliRunner().invoke(sampler, ["explain", str(run)])
    assert result.exit_code == 1
    assert "removed_names is a list or part, but should be a list of 2 names" in result.output
