"""With `--json` stdout holds one document, that of the file where there is one; all else is told
on stderr."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from cli.patchindex import COMMANDS as OF_PATCHINDEX
from cli.patchindex import main as patchindex
from cli.sampler import COMMANDS as OF_SAMPLER
from cli.sampler import main as sampler
from patchindex import ImageSet

FEW = ["--dataset", "sample", "--limit", "24", "--resolution", "8"]
SHORT = ["--steps", "2", "--num", "1", "--device", "cpu"]


def call(main, *arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def document(main, *arguments: object) -> dict:
    """What stdout held, which was that alone; stderr has what people are told."""
    result = call(main, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an index, a traced run and a picture."""
    folder = tmp_path_factory.mktemp("json")
    built = document(
        patchindex, "build", *FEW, "--scales", "3,5", "--device", "cpu", "--out", folder / "i.zarr"
    )
    assert [scale["patch_size"] for scale in built["scales"]] == [3, 5]
    assert built["path"] == str(folder / "i.zarr")
    np.save(folder / "one.npy", ImageSet.load("sample", limit=24, resolution="8").pixels[3])
    ran = document(
        sampler, "run", "--index", folder / "i.zarr", *SHORT, "--trace", "--out", folder / "run"
    )
    assert ran == json.loads((folder / "run/run.json").read_text())
    assert ran["schema_version"] == 2
    return folder


def test_every_command_that_prints_results_has_it() -> None:
    lacking = [
        command.name
        for command in (*OF_PATCHINDEX, *OF_SAMPLER)
        if not any(option.name == "as_json" for option in command.params)
    ]
    assert lacking == ["worker"]


def test_findings_about_indices(work: Path) -> None:
    assert document(patchindex, "info", work / "i.zarr")["images"] == [24, 1, 8, 8]
    assert document(patchindex, "verify", work / "i.zarr") == {
        "path": str(work / "i.zarr"), "whole": True, "patches": 2 * 24 * 64, "scales": [3, 5],
    }  # fmt: skip
    named = document(patchindex, "datasets")
    assert {"sample", "mnist"} <= {card["name"] for card in named}
    assert all(card["licence"] for card in named)


def test_what_is_installed() -> None:
    found = document(patchindex, "info")
    assert set(found) == {
        "python", "versions", "kernels", "processors", "threads", "faiss_build", "gpu",
    }  # fmt: skip


def test_a_pixel_and_a_whole_picture(work: Path) -> None:
    asked = ["query", "--index", work / "i.zarr", "--image", work / "one.npy", "--device", "cpu"]
    found = document(patchindex, *asked, "--pixel", "4,4", "--scale", "3")
    assert found["neighbors"][0]["image"] == 3
    report = work / "report.json"
    found = document(patchindex, *asked, "--all", "--held-out-images", "0", "--out", report)
    assert found == json.loads(report.read_text())
    alone = document(patchindex, *asked, "--all", "--held-out-images", "0")
    assert alone["pictures"] == found["pictures"]
    out = work / "explained"
    asked = ["--image", work / "one.npy", "--index", work / "i.zarr", "--held-out-images", "0"]
    found = document(sampler, "explain", *asked, "--draws", "1", "--sigmas", "0.1", "--out", out)
    assert found == json.loads((out / "attribution.json").read_text())


@pytest.mark.slow
def test_what_is_made_of_a_run(work: Path) -> None:
    run = work / "run"
    page = document(sampler, "explain", run)
    assert Path(page["page"]).stat().st_size == page["bytes"]
    assert page["samples"] == [0]
    left = document(sampler, "leave-out", run, "--top", "2", "--device", "cpu")
    assert left == json.loads((run / "leave_out.json").read_text())
    assert all(Path(file).exists() for file in document(sampler, "plot", run)["files"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "arguments", "file"),
    [
        ("verify", ["--recall-pixels", "4"], "verify.json"),
        ("verify", ["--pixels", "4"], "audit.json"),
    ],
)
def test_studies_of_an_index_print_their_file(work: Path, tmp_path, name, arguments, file) -> None:
    asked = [name, "--index", work / "i.zarr", *SHORT, *arguments, "--out", tmp_path]
    found = document(sampler, *asked)
    assert found == json.loads((tmp_path / file).read_text())
    assert found["schema_version"] >= 1


@pytest.mark.slow
def test_a_training_and_studies_of_its_network_print_their_files(tmp_path: Path) -> None:
    net = tmp_path / "net"
    training = ["train", *FEW, "--gradient-steps", "2", "--batch-size", "4", "--device", "cpu"]
    found = document(sampler, *training, "--out", net)
    assert found == json.loads((net / "network.json").read_text())
    assert found == document(sampler, *training, "--out", net)  # which is complete already
    out = tmp_path / "out"
    found = document(sampler, "calibrate", *FEW, *SHORT, "--candidates", "3,5", "--out", out)
    assert found == json.loads((out / "calibrate.json").read_text())
    of_network = [*FEW, "--network", net, "--scales", "3", "--device", "cpu", "--out", out]
    found = document(sampler, "compare", *of_network, "--network-steps", "2", *SHORT)
    assert found == json.loads((out / "compare.json").read_text())
    found = document(sampler, "denoise", *of_network, "--sigmas", "1,0.2", "--num", "2")
    assert found == json.loads((out / "denoise.json").read_text())


def test_people_are_told_the_same_on_stderr(tmp_path: Path) -> None:
    asked = ["run", *FEW, "--scales", "3", *SHORT]
    plain = call(sampler, *asked, "--out", tmp_path / "plain")
    result = call(sampler, *asked, "--out", tmp_path / "json", "--json")
    told = [line for line in plain.stdout.splitlines() if line.startswith(" ")]
    assert len(told) == 3
    assert told[0] in result.stderr.splitlines()
    assert f"{tmp_path}/json/samples.png" in result.stderr


@pytest.mark.parametrize(
    ("main", "arguments", "message"),
    [
        (patchindex, ["info", "no.zarr"], "Error: "),
        (patchindex, ["info", "no.zarr", "--load"], "Error: --load asks what the libraries"),
        (sampler, ["plot", "nothing"], "Error: nothing holds neither run.json"),
        (sampler, ["run", "--dataset", "mnits"], "Error: "),
    ],
)
def test_an_error_is_one_line_on_stderr_and_nothing_on_stdout(main, arguments, message) -> None:
    result = call(main, *arguments, "--json")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith(message)
