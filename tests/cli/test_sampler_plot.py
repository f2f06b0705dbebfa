"""`sampler plot` end to end on small runs, and every mistake a user can make with it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image
from small_index import build_small

from cli.sampler import main


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a trace, a verification and an audit, each in its folder."""
    folder = tmp_path_factory.mktemp("results")
    build_small(folder / "small.zarr")
    settings = ("--index", folder / "small.zarr", "--steps", 2, "--k", 16, "--tail", 64)
    run = ("--num", 2, "--scales", "3,9", "--trace", "--out", folder / "run")
    verify = ("--num", 1, "--scales", "3,7", "--recall-pixels", 2, "--out", folder / "verification")
    audit = ("--num", 1, "--scales", "3,7", "--pixels", 9, "--out", folder / "audit")
    for command in (("run", *run), ("verify", *verify), ("verify", *audit)):
        made = invoke(*command, *settings)
        assert made.exit_code == 0, made.output
    return folder


@pytest.fixture(scope="module")
def drawn(results: Path) -> Result:
    """What the command said when it drew the run."""
    return invoke("plot", results / "run")


@pytest.fixture
def run(results: Path, tmp_path: Path) -> Path:
    """A copy of the run's account and samples, for tests that change them."""
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("run.json", "samples.npy"):
        shutil.copy(results / "run" / name, folder)
    return folder


def change(path: Path, by: Callable[[dict[str, Any]], object]) -> None:
    account = json.loads(path.read_text())
    by(account)
    path.write_text(json.dumps(account))


def labels(path: Path) -> set[str]:
    """The words of a picture: matplotlib writes each as a comment beside its outlines."""
    lines = path.read_text().splitlines()
    return {line.strip()[5:-4] for line in lines if line.strip().startswith("<!-- ")}


def test_a_run_is_drawn_beside_its_account(results: Path, drawn: Result) -> None:
    assert drawn.exit_code == 0, drawn.output
    names = ["steps.png", "steps.svg", "attribution.png", "attribution.svg"]
    assert drawn.output.splitlines() == [str(results / "run" / name) for name in names]
    for name in ("steps.png", "attribution.png"):
        with Image.open(results / "run" / name) as picture:
            assert picture.width > 1500
    assert labels(results / "run" / "steps.svg") >= {
        "small, 40 images: ELS by retrieval (k 16, tail 64, nprobe 16), 2 samples",
        "patch size P, pixels",
        "asked for",
        "of the index, compared",
        "effective sample size, median",
        "head mass, median",
        "standard error (image: -1 to 1)",
        "patches compared per pixel, mean",
        "seconds per step, all samples",
        "t, from noise to image",
    }
    assert labels(results / "run" / "attribution.svg") >= {
        "small, 40 images: which of them made each sample, mean over the steps",
        "sample 0",
        "sample 1",
        "the heaviest",
        "other images",
        "unattributed",
    }


@pytest.mark.slow
def test_equal_accounts_give_equal_files(
    results: Path, drawn: Result, run: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again"
    assert invoke("plot", run, "--out", again).exit_code == 0
    files = sorted(path.name for path in again.iterdir())
    assert files == ["attribution.png", "attribution.svg", "steps.png", "steps.svg"]
    for name in files:
        assert (again / name).read_bytes() == (results / "run" / name).read_bytes()
    assert {path.name for path in run.iterdir()} == {"run.json", "samples.npy"}


@pytest.mark.slow
@pytest.mark.parametrize(("folder", "name"), [("verification", "verify"), ("audit", "audit")])
def test_a_verification_is_drawn_again_as_it_was(
    folder: str, name: str, results: Path, tmp_path: Path
) -> None:
    result = invoke("plot", results / folder, "--out", tmp_path / "again")
    assert result.exit_code == 0, result.output
    for file in (f"{name}.png", f"{name}.svg"):
        assert (tmp_path / "again" / file).read_bytes() == (results / folder / file).read_bytes()


@pytest.mark.slow
def test_a_run_and_a_verification_in_one_folder_are_both_drawn(results: Path, run: Path) -> None:
    shutil.copy(results / "verification" / "verify.json", run)
    change(run / "run.json", lambda account: account.update(trace=None))
    (run / "attribution.svg").write_text("of the run before")
    assert invoke("plot", run).exit_code == 0
    pictures = {path.name for path in run.iterdir() if path.suffix not in (".json", ".npy")}
    assert pictures == {"steps.png", "steps.svg", "verify.png", "verify.svg"}


def test_unknown_numbers_are_drawn_as_such(run: Path) -> None:
    def forget(account: dict[str, Any]) -> None:
        del account["trace"]  # as in the account of a version that knew none
        for step in account["steps"]:
            step |= {"head_mass": None, "standard_error": None}

    change(run / "run.json", forget)
    assert invoke("plot", run).exit_code == 0
    assert "not known" in labels(run / "steps.svg")


def cut(*keys: str | int) -> Callable[[dict[str, Any]], object]:
    """Take out what lies under these keys."""

    def take(account: Any) -> None:
        for key in keys[:-1]:
            account = account[key]
        del account[keys[-1]]

    return take


@pytest.mark.parametrize(
    ("by", "told"),
    [
        (cut("config"), "lacks config: another version wrote it. Make the"),
        (cut("config", "tolerance"), "lacks config.tolerance: another version"),
        (cut("source", "index_scales"), "lacks source.index_scales: "),
        (cut("steps"), "lacks steps: "),
        (lambda account: account.update(steps=[]), ": steps is a list or part, but should be a"),
        (lambda account: account.update(steps=[3]), ": steps[0] is 3, but should be names and"),
        (cut("steps", 1, "summed_exactly"), "lacks steps[1].summed_exactly: "),
        (cut("steps", 1, "asked_patch_size"), "lacks steps[1].asked_patch_size: "),
        (lambda account: account["steps"][1].update(patch_size=None), ": steps[1].patch_size is n"),
        (lambda account: account["steps"][0].update(t=None), ": steps[0].t is null, but should"),
        (lambda account: account["steps"][0].update(seconds="1 s"), 'steps[0].seconds is "1 s", '),
        (lambda account: account.update(trace=1), ": trace is 1, but should be names and values"),
        (cut("trace", "attribution"), "lacks trace.attribution: "),
        (cut("trace", "attribution", 1, "others"), "lacks trace.attribution[1].others: "),
        (
            cut("trace", "attribution", 0, "images", 0, "label"),
            "lacks trace.attribution[0].images[0].label: ",
        ),
    ],
)
def test_an_account_of_another_version_is_named_with_what_it_lacks(
    by: Callable[[dict[str, Any]], object], told: str, run: Path
) -> None:
    change(run / "run.json", by)
    error = mistake(run)
    assert "run.json" in error
    assert told in error


def test_an_old_verification_is_named_with_what_it_lacks(results: Path, tmp_path: Path) -> None:
    shutil.copy(results / "verification" / "verify.json", tmp_path)
    change(tmp_path / "verify.json", cut("steps", 0, "recall"))
    assert "verify.json lacks steps[0].recall: another version wrote it" in mistake(tmp_path)
    shutil.copy(results / "verification" / "verify.json", tmp_path)
    change(tmp_path / "verify.json", cut("config", "k"))
    assert "verify.json lacks config.k: another version wrote it" in mistake(tmp_path)


def mistake(folder: Path, *arguments: object) -> str:
    """The one line of a command that fails, and leaves no picture."""
    result = invoke("plot", folder, *arguments)
    assert result.exit_code == 1, result.output
    (line,) = result.output.splitlines()
    assert line.startswith("Error: ")
    assert not [*folder.glob("*.png"), *folder.glob("*.svg")]
    return line


@pytest.mark.parametrize("folder", [".", "absent"])
def test_a_folder_without_results_is_named(folder: str, tmp_path: Path) -> None:
    error = mistake(tmp_path / folder)
    assert "holds neither run.json nor verify.json nor audit.json. Give the folder that" in error


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "run.json is not JSON"),
        ("[1]", "run.json holds list and no results"),
    ],
)
def test_a_file_that_is_no_account_is_named(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(text)
    error = mistake(tmp_path)
    assert message in error
    assert "Make the results again, with --overwrite." in error


def test_an_account_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "run.json").mkdir()
    assert "run.json cannot be read (Is a directory)" in mistake(tmp_path)


def test_an_output_folder_that_cannot_be_made_is_named(run: Path) -> None:
    error = mistake(run, "--out", run / "run.json" / "plots")
    assert "cannot be written (Not a directory). Give another --out" in error
