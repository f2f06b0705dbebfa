"""`sampler denoise` end to end, baselines of `sampler compare`, and the mistakes of their users."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from small_index import build_small, small_images
from small_networks import network_config, random_network

from cli.sampler import main
from sampler.networks import weight_file
from sampler.results.denoise_result import read_denoising

IMAGES = ["--dataset", "sample", "--resolution", 8, "--limit", 60]


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def denoise(out: Path, *arguments: object) -> Result:
    return invoke(
        "denoise", *IMAGES, "--num", 3, "--scales", "3,5", "--sigmas", "10,0.2", "--out", out,
        *arguments,
    )  # fmt: skip


def error_of(result: Result) -> str:
    assert result.exit_code == 1, result.output
    (line,) = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    return line


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network for labelled 8 x 8 images on disk, as training leaves it."""
    folder = tmp_path_factory.mktemp("network")
    made = random_network(network_config(num_classes=10))
    values = {"network": made.config.values(), "schedule": "cosine"}
    (folder / "network.safetensors").write_bytes(weight_file(made.module, half=False)[0])
    (folder / "network.json").write_text(json.dumps(values))
    return folder


def test_a_study_prints_its_table_and_leaves_its_files(network: Path, tmp_path: Path) -> None:
    result = denoise(tmp_path / "out", "--network", network)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[1].split() == [
        "sigma", "patch", "IS", "LS", "ELS", "Wiener", "Lukoianov", "PSPC", "network",
    ]  # fmt: skip
    assert [line.split()[:2] for line in lines[2:4]] == [["10", "5"], ["0.2", "3"]]
    assert "the network was told the class of each image; nothing else was" in lines
    assert "3 images in" in lines[-1]
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["denoise.json", "denoise.png"]
    account = read_denoising(tmp_path / "out" / "denoise.json")
    assert account.config.num == 3
    assert account.source.num_images == 57
    assert account.held_out is None
    again = denoise(tmp_path / "out", "--network", network)
    assert "already holds a denoising study. Give another --out" in error_of(again)


def test_some_denoisers_meet_images_of_another_set(tmp_path: Path) -> None:
    result = denoise(
        tmp_path / "out", "--held-out", "sample", "--denoiser", "ls", "--denoiser", "wiener"
    )
    assert result.exit_code == 0, result.output
    account = read_denoising(tmp_path / "out" / "denoise.json")
    assert list(account.levels) == ["ls", "wiener"]
    assert account.source.num_images == 60
    assert account.held_out == "sample"


def test_an_index_needs_images_that_it_does_not_hold(tmp_path: Path) -> None:
    index = build_small(tmp_path / "small.zarr", small_images(40, 16))
    asked = ["denoise", "--index", index.path, "--num", 2, "--sigmas", "0.5", "--out"]
    found = error_of(invoke(*asked, tmp_path / "out"))
    assert "an index holds all of its images, so that none can be held out" in found
    result = invoke(*asked, tmp_path / "out", "--held-out", "sample", "--denoiser", "els")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num", 60], "60 images cannot be held out of 60. Give --num from 1 to 59"),
        (["--num", 2001, "--held-out", "sample"], "but sample has 2000. Give --num of at most"),
        (["--sigmas", "1,b"], "sigmas '1,b' are no list of numbers, and no file"),
        (["--sigmas", "1,1"], "sigmas are 1, 1. Give falling noise levels"),
        (["--denoiser", "cls"], "denoisers names 'cls'. Give some of is, ls, els"),
        (["--label", 77], "no image of sample has label 77. Give one of these labels: 0, 1"),
        (["--resolution", 16, "--network"], "was trained on images of 1x8x8, but those of sample"),
    ],
)
def test_a_mistake_is_one_clear_line_and_exit_code_1(
    network: Path, tmp_path: Path, unchecked: None, arguments: list[object], message: str
) -> None:
    given = [*arguments, network] if arguments[-1] == "--network" else arguments
    assert message in error_of(denoise(tmp_path / "out", *given))
    assert not list((tmp_path / "out").glob("*")), "something half-written was left"


def test_a_comparison_has_the_baselines_that_are_asked_for(
    network: Path, tmp_path: Path, unchecked: None
) -> None:
    asked = [
        "compare", "--network", network, *IMAGES, "--num", 2, "--steps", 2, "--network-steps", 2,
        "--scales", "3,5", "--out",
    ]  # fmt: skip
    result = invoke(*asked, tmp_path / "out", "--baseline", "pspc", "--baseline", "lukoianov")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0].split()[-4:] == ["Lukoianov", "PSPC", "nearest", "image"]
    account = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert account["config"]["baselines"] == ["pspc", "lukoianov"]
    assert "wiener" not in account["r"]["2"]
    wrong = invoke(*asked, tmp_path / "none", "--baseline", "mean")
    assert "baselines names 'mean'. Give some of wiener, lukoianov, pspc" in error_of(wrong)
