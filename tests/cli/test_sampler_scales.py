"""What a run compared is what its table, its account, its plots and its page say."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from small_index import build_small, small_images

from cli.sampler import main


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scales 3 and 7."""
    path = tmp_path_factory.mktemp("indices") / "small.zarr"
    build_small(path, small_images(24))
    return path


@pytest.fixture(scope="module")
def served(index: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A traced run that asks for sizes which the index lacks, and what it printed."""
    out = tmp_path_factory.mktemp("runs") / "served"
    return out, sample(index, out, "--scales", "5,9", "--trace")


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


def sample(index: Path, out: Path, *arguments: object) -> Result:
    result = invoke(
        "run", "--index", index, "--num", 1, "--steps", 2, "--k", 16, "--tail", 64, "--out", out,
        *arguments,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return result


def read(folder: Path, name: str = "run.json") -> dict:
    return json.loads((folder / name).read_text())


def header_of(page: Path) -> dict:
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'id="header">(.*?)</script>', text)[1])


def test_the_account_and_the_table_have_what_was_compared_and_one_warning_has_both(
    served: tuple[Path, Result],
) -> None:
    folder, result = served
    account = read(folder)
    assert account["schema_version"] == 2
    assert account["scales"] == {
        "name": "5,9",
        "asked": [5, 9],
        "patch_sizes": [3, 7],
        "sigmas": None,
    }
    assert [step["patch_size"] for step in account["steps"]] == [7, 3]
    assert [step["asked_patch_size"] for step in account["steps"]] == [9, 5]
    assert re.findall(r"^ [01]\.\d\d +(\w+) ", result.stdout, re.MULTILINE) == ["7", "3"]
    assert result.stderr.splitlines() == [
        "the index lacks scale 5 (scale 3 serves in its place), scale 9 (scale 7 serves in its "
        "place)"
    ]


def test_the_page_and_the_leave_out_check_have_what_was_compared(
    served: tuple[Path, Result],
) -> None:
    folder, _ = served
    assert invoke("leave-out", folder, "--top", 1).exit_code == 0
    result = invoke("explain", folder)
    assert result.exit_code == 0, result.output
    assert "lacks" not in result.stderr
    header = header_of(folder / "explain.html")
    assert [step["patch_size"] for step in header["steps"]] == [7, 3]
    assert dict(header["facts"])["Patch sizes"] == "3, 7 (5,9; 5, 9 were asked for too)"


def test_a_run_of_an_older_version_is_explained_as_what_it_compared(
    served: tuple[Path, Result], tmp_path: Path
) -> None:
    folder, _ = served
    account = read(folder)
    del account["schema_version"]
    account["scales"] = {"name": "5,9", "patch_sizes": [5, 9]}
    for step in account["steps"]:
        step["patch_size"] = step.pop("asked_patch_size")
    for name in ("trace.zarr", "samples.npy"):
        (tmp_path / name).symlink_to(folder / name)
    (tmp_path / "run.json").write_text(json.dumps(account))
    for command in ("explain", "plot"):
        result = invoke(command, tmp_path)
        assert result.exit_code == 0, result.output
    header = header_of(tmp_path / "explain.html")
    assert [step["patch_size"] for step in header["steps"]] == [7, 3]
    assert "of the index, compared" in (tmp_path / "steps.svg").read_text()


def test_the_scales_in_an_account_repeat_the_run(index: Path, tmp_path: Path) -> None:
    result = sample(index, tmp_path / "default")
    assert result.stderr.splitlines() == [
        "scales: the index's own, spread evenly over t: 3 to t = 0.50, 7 to t = 1.00"
    ]
    listed = ",".join(map(str, read(tmp_path / "default")["scales"]["patch_sizes"]))
    assert sample(index, tmp_path / "again", "--scales", listed).stderr == ""
    first, again = (np.load(tmp_path / name / "samples.npy") for name in ("default", "again"))
    np.testing.assert_array_equal(first, again)


@pytest.mark.slow
def test_a_run_of_whole_images_says_so_everywhere(index: Path, tmp_path: Path) -> None:
    result = sample(index, tmp_path, "--machine", "is", "--trace", "--scales", "5,9")
    account = read(tmp_path)
    assert account["scales"] == {
        "name": "5,9",
        "asked": [5, 9],
        "patch_sizes": None,
        "sigmas": None,
    }
    assert {step["patch_size"] for step in account["steps"]} == {None}
    assert re.findall(r"^ [01]\.\d\d +(\w+) ", result.stdout, re.MULTILINE) == ["image", "image"]
    for command in ("explain", "plot"):
        assert invoke(command, tmp_path).exit_code == 0
    header = header_of(tmp_path / "explain.html")
    assert header["whole_images"]
    assert dict(header["facts"])["Patch sizes"] == "whole images are compared"
    assert "the IS machine compares whole images" in (tmp_path / "steps.svg").read_text()


def test_a_folder_of_pictures_gets_no_scales_of_another_set(tmp_path: Path) -> None:
    images = small_images(6)
    np.savez(tmp_path / "own.npz", images=images.pixels)
    result = invoke(
        "run", "--dataset", f"npz:{tmp_path / 'own.npz'}", "--num", 1, "--steps", 4,
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert [step["patch_size"] for step in read(tmp_path / "run")["steps"]] == [15, 9, 5, 3]
    assert (
        "scales: the default ones of an index, spread evenly over t: 3 to t = 0.25, 5 to t = 0.50, "
        "9 to t = 0.75, 15 to t = 1.00"
    ) in result.stderr


@pytest.mark.slow
def test_a_verification_follows_the_same_rule(index: Path, tmp_path: Path) -> None:
    result = invoke(
        "verify", "--index", index, "--num", 1, "--steps", 2, "--k", 16, "--tail", 64,
        "--recall-pixels", 2, "--out", tmp_path,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    account = read(tmp_path, "verify.json")
    assert account["scales"]["patch_sizes"] == [3] * 10 + [7] * 10
    assert "scales: the index's own, spread evenly over t" in result.stderr
    assert "lacks" not in result.stderr


def test_a_run_takes_its_noise_levels_as_they_are(index: Path, tmp_path: Path) -> None:
    result = invoke(
        "run", "--index", index, "--num", 1, "--k", 16, "--tail", 64, "--out", tmp_path,
        "--sigmas", "20,2,0.2,0", "--sampler", "heun", "--scales", "3,7",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    account = read(tmp_path)
    assert account["config"]["sigmas"] == [20, 2, 0.2]
    assert account["config"]["steps"] == 3
    assert account["config"]["sampler"] == "heun"
    assert [step["sigma"] for step in account["steps"]] == pytest.approx([20, 2, 0.2])
    assert [step["patch_size"] for step in account["steps"]] == [7, 3, 3]


def test_scales_of_another_schedule_serve_at_the_same_noise(index: Path, tmp_path: Path) -> None:
    # patch size 3 below sigma = 1, and 7 above: edm's two levels are 0.002 and 80
    (tmp_path / "times.yaml").write_text("schedule: edm\n0.5: 3\n1: 7\n")
    (tmp_path / "sigmas.yaml").write_text("schedule: sigmas\n0.1: 3\n0.9: 3\n1.2: 7\n")
    for name, sizes in (("sigmas", [7, 7, 3, 3]), ("times", [7, 7, 3, 3])):
        result = invoke(
            "run", "--index", index, "--num", 1, "--k", 16, "--tail", 64, "--out", tmp_path / name,
            "--sigmas", "30,1.5,0.8,0.1", "--scales", tmp_path / f"{name}.yaml",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        assert [step["patch_size"] for step in read(tmp_path / name)["steps"]] == sizes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--sigmas", "1,2"), "sigmas are 1, 2. Give falling noise levels in data units"),
        (("--sigmas", "a,b"), "sigmas 'a,b' are no list of numbers, and no file"),
        (("--sigmas", "2,1", "--steps", "2"), "both --sigmas and --steps were given"),
        (("--sigmas", "2,1", "--schedule", "edm"), "both --sigmas and --schedule were given"),
        (("--schedule", "karras"), "schedule is 'karras'. Give one of cosine"),
        (("--scales", "no.yaml"), "there is no scales file 'no.yaml'. Give the scales.yaml that"),
    ],
)
def test_noise_levels_that_are_none_are_told_in_one_line(index, tmp_path, arguments, message):
    result = invoke("run", "--index", index, "--out", tmp_path / "out", *arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("schedule: fast\n0.5: 3\n1: 3\n", "name the schedule 'fast'. It must be one of cosine"),
        ("schedule: [1]\n0.5: 3\n1: 3\n", "name the schedule [1]"),
        ("schedule: sigmas\n-1: 3\n", "have the sigmas -1. Give a patch size for each noise"),
        ("schedule: sigmas\n1: 4\n", "contain 4. Give odd positive whole numbers"),
        ("schedule: linear\n0.5: 3\n0.7: 5\n", "lack a patch size for t ="),
    ],
)
def test_scales_of_no_schedule_are_told_in_one_line(index, tmp_path, text, message):
    (tmp_path / "scales.yaml").write_text(text)
    scales = ("--scales", tmp_path / "scales.yaml")
    result = invoke("run", "--index", index, "--out", tmp_path / "out", *scales)
    assert result.exit_code == 1
    assert message in result.stderr
