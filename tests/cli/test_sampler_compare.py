"""`sampler calibrate` and `sampler compare` end to end, and every mistake a user can make."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from small_networks import network_config, random_network

from cli.sampler import main
from patchindex import ImageSet
from sampler.networks import weight_file
from sampler.scales import resolve_scales

IMAGES = ["--resolution", 8, "--limit", 60]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network for labelled 8 x 8 images on disk, as training leaves it."""
    return write_network(tmp_path_factory.mktemp("network"), num_classes=10)


def write_network(folder: Path, **settings: int) -> Path:
    made = random_network(network_config(**settings))
    values = {"network": made.config.values(), "schedule": "cosine"}
    weights, _ = weight_file(made.module, half=False)
    (folder / "network.safetensors").write_bytes(weights)
    (folder / "network.json").write_text(json.dumps(values))
    return folder


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def compare(network: Path, out: Path, *arguments: object) -> Result:
    return invoke(
        "compare", "--network", network, "--dataset", "sample", *IMAGES, "--num", 2,
        "--steps", 2, "--network-steps", 2, "--scales", "3,5", "--out", out, *arguments,
    )  # fmt: skip


def calibrate(out: Path, *arguments: object) -> Result:
    return invoke(
        "calibrate", "--dataset", "sample", *IMAGES, "--num", 2, "--steps", 4,
        "--candidates", "3,5", "--out", out, *arguments,
    )  # fmt: skip


def test_a_comparison_prints_the_papers_table_and_leaves_its_files(
    network: Path, tmp_path: Path
) -> None:
    result = compare(network, tmp_path / "out", "--network-steps", 3)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert " ".join(lines[0].split()) == "2 samples ELS LS IS ELS > IS Wiener nearest image"
    assert [line for line in lines if line.startswith("network in")] == [
        f"network in {steps} steps, theory in 2" for steps in (2, 3)
    ]
    assert sum("r, median" in line for line in lines) == 2
    assert "of 2" in next(line for line in lines if "r, median" in line)
    account = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert account["versions"]["torch"]
    assert len(account["labels"]) == 2
    assert {"images.npz", "samples.png", "scatter.png"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }


@pytest.mark.slow
def test_equal_seeds_give_equal_comparisons(network: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert compare(network, tmp_path / name, "--seed", 3).exit_code == 0
    with np.load(tmp_path / "one/images.npz") as one, np.load(tmp_path / "two/images.npz") as two:
        assert all(np.array_equal(one[key], two[key]) for key in one)


@pytest.mark.slow
def test_a_calibration_leaves_scales_that_the_sampler_reads(network: Path, tmp_path: Path) -> None:
    result = calibrate(tmp_path / "out", "--network", network)
    assert result.exit_code == 0, result.output
    scales = resolve_scales(str(tmp_path / "out" / "scales.yaml"))
    assert len(scales) == 4
    assert set(scales) <= {3, 5}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "calibrate.json", "config.yaml", "receptive_field.png", "scales.png", "scales.yaml",
    ]  # fmt: skip
    account = json.loads((tmp_path / "out" / "calibrate.json").read_text())
    assert len(account["effective_width"]) == 4
    told = result.stdout.splitlines()
    assert told[0].split()[:4] == ["t", "sigma", "patch", "size"]
    assert [int(line.split()[2]) for line in told[1:5]] == list(scales)
    assert "merit: cosine between the scores" in told[5]
    ran = compare(network, tmp_path / "ran", "--scales", tmp_path / "out")
    assert ran.exit_code == 0, ran.output


def test_without_a_network_no_receptive_field_is_drawn(tmp_path: Path) -> None:
    assert calibrate(tmp_path / "out").exit_code == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["calibrate.json", "config.yaml", "scales.png", "scales.yaml"]


def test_results_are_not_replaced_unasked(network: Path, tmp_path: Path) -> None:
    for name, kind, run in (
        ("compare.json", "comparison", lambda: compare(network, tmp_path)),
        ("calibrate.json", "calibration", lambda: calibrate(tmp_path)),
    ):
        (tmp_path / name).write_text("kept")
        result = run()
        assert result.exit_code == 1
        assert f"already holds a {kind}. Give another --out, or --overwrite" in result.output
        assert (tmp_path / name).read_text() == "kept"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--network", "nowhere"], "network 'nowhere' is neither a file nor bundled (bundled:"),
        (["--network-steps", 0], "network_steps is (2, 0). Give at least one number above 0"),
        (["--resolution", 16], "was trained on images of 1x8x8, but those of sample are 1x16x16"),
        (["--scales", "4"], "contain 4. Give odd positive whole numbers"),
        (["--num", 0], "num is 0. Give at least 1 sample"),
        (["--label", 77], "no image of sample has label 77. Give one of these labels: 0, 1"),
        (["--device", "toaster"], "device is 'toaster'. Give auto, cpu or cuda"),
        (["--index", "here"], "both --index and --dataset were given"),
    ],
)
def test_a_mistake_is_one_clear_line_and_exit_code_1(
    network: Path, tmp_path: Path, unchecked: None, arguments: list[object], message: str
) -> None:
    result = compare(network, tmp_path / "out", *arguments)
    assert result.exit_code == 1, result.output
    errors = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert not list((tmp_path / "out").glob("*")), "something half-written was left"


def test_images_without_labels_do_not_suit_a_conditional_network(
    network: Path, tmp_path: Path
) -> None:
    images = ImageSet.load("sample", resolution=8, limit=20)
    np.savez(tmp_path / "plain.npz", images=images.pixels)
    result = compare(network, tmp_path / "out", "--dataset", f"npz:{tmp_path / 'plain.npz'}")
    assert result.exit_code == 1
    assert "was trained with 10 classes, but" in result.output
    assert "has no labels. Give the images it was trained on" in result.output


def test_weights_of_another_network_are_refused(network: Path, tmp_path: Path) -> None:
    other = write_network(tmp_path, num_classes=0)
    (other / "network.json").write_bytes((network / "network.json").read_bytes())
    result = compare(other, tmp_path / "out")
    assert result.exit_code == 1
    assert "that network.json describes. Give the pair that was written together" in result.output


@pytest.fixture
def hers(tmp_path: Path, monkeypatch) -> str:
    """A network of the user's own, in a module of the current folder."""
    (tmp_path / "a_network.py").write_text(
        "def shrink():\n    return lambda y, s: y / (1 + s**2)\n"
    )
    monkeypatch.chdir(tmp_path)
    yield "python:a_network:shrink"
    sys.modules.pop("a_network", None)


def test_a_network_of_the_users_own_is_compared_at_noise_levels_asked_for(hers: str) -> None:
    result = invoke(
        "compare", "--network", hers, "--dataset", "sample", *IMAGES, "--num", 2, "--out", "ran",
        "--scales", "3,5", "--sigmas", "9,1,0.2", "--sampler", "heun",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    account = json.loads(Path("ran", "compare.json").read_text())
    assert account["config"]["sigmas"] == pytest.approx([9, 1, 0.2])
    assert account["network"]["name"] == hers
    assert account["labels"] is None
    assert list(account["results"]) == ["3"], "the network has these noise levels, too"
    twice = ("--network-steps", 2, "--sigmas", "9,1", "--out", "other")
    refused = invoke("compare", "--network", hers, "--dataset", "sample", *IMAGES, *twice)
    assert refused.exit_code == 1
    assert "both --sigmas and --network-steps were given" in refused.stderr


@pytest.mark.slow
def test_scales_by_sigma_are_written_and_read(hers: str) -> None:
    result = calibrate(Path("found"), "--network", hers, "--schedule", "edm")
    assert result.exit_code == 0, result.output
    assert "schedule: edm" in Path("found", "scales.yaml").read_text()
    by_sigma = invoke(
        "calibrate", "--dataset", "sample", *IMAGES, "--num", 2, "--candidates", "3,5",
        "--sigmas", "9,1,0.2", "--out", "by_sigma",
    )  # fmt: skip
    assert by_sigma.exit_code == 0, by_sigma.output
    assert "schedule: sigmas\n0.2: " in Path("by_sigma", "scales.yaml").read_text()
    for folder in ("found", "by_sigma"):
        ran = invoke(
            "compare", "--network", hers, "--dataset", "sample", *IMAGES, "--num", 1, "--steps", 3,
            "--network-steps", 2, "--scales", f"{folder}/scales.yaml", "--out", f"{folder}/ran",
        )  # fmt: skip
        assert ran.exit_code == 0, ran.output
