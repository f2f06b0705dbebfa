"""`sampler run` end to end on real images, and every mistake a user can make with it."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from cli.sampler import main
from patchindex import ImageSet, IndexConfig, build_index
from sampler import ELSMachine, sample
from sampler.noise import initial_noise
from sampler.results.trace import Trace
from sampler.scales import published_scales

NUM_IMAGES = 60
SCALES = (3, 9)
PUBLISHED = "fashion_mnist_resnet_zeros"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of a few real images."""
    path = tmp_path_factory.mktemp("indices") / "few.zarr"
    images = ImageSet.load("sample", limit=NUM_IMAGES)
    build_index(images, IndexConfig(scales=SCALES), path)
    return path


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["run", *map(str, arguments)])


def run(index: Path, out: Path, *arguments: object) -> np.ndarray:
    result = invoke("--index", index, "--steps", 3, "--num", 2, "--out", out, *arguments)
    assert result.exit_code == 0, result.output
    return np.load(out / "samples.npy")


def test_a_run_leaves_samples_a_picture_and_its_account(index: Path, tmp_path: Path) -> None:
    samples = run(index, tmp_path / "run")
    account = json.loads((tmp_path / "run" / "run.json").read_text())
    assert samples.shape == (2, 1, 32, 32)
    assert np.abs(samples).max() <= 1 + 1e-6
    with Image.open(tmp_path / "run" / "samples.png") as picture:
        assert picture.width > picture.height > 32
        assert len(np.unique(np.asarray(picture))) > 20
    assert account["source"]["sha256"] == ImageSet.load("sample", limit=NUM_IMAGES).sha256
    assert account["config"]["seed"] == 0
    assert account["versions"]["torch"]
    assert [step["patch_size"] for step in account["steps"]] == [9, 9, 9]
    assert all(0 < step["head_mass"] <= 1 for step in account["steps"])


SUMMED = "every patch is summed, which is no slower for 60 images; see --retrieve"


def test_where_that_is_no_slower_every_patch_is_summed(index: Path, tmp_path: Path) -> None:
    common = ("--index", index, "--steps", 2, "--num", 1, "--scales", 3)
    result = invoke(*common, "--out", tmp_path / "run")
    assert result.exit_code == 0
    assert SUMMED in result.output
    assert json.loads((tmp_path / "run" / "run.json").read_text())["config"]["exact"] is True
    result = invoke(*common, "--exact", "--out", tmp_path / "exact")
    assert SUMMED not in result.output
    both = (np.load(tmp_path / name / "samples.npy") for name in ("run", "exact"))
    np.testing.assert_array_equal(*both)


@pytest.mark.parametrize(
    "asked",
    [
        ("--retrieve",), ("--k", 16), ("--tail", 4096), ("--nprobe", 16), ("--tolerance", 1),
        ("--strict-scales",), ("--scales", 5),
    ],
    ids=lambda asked: asked[0],
)  # fmt: skip
def test_retrieval_is_not_replaced_where_it_was_asked_for_or_compares_other_patches(
    index: Path, tmp_path: Path, asked: tuple[object, ...]
) -> None:
    scales = () if asked[0] == "--scales" else ("--scales", 3)
    common = ("--index", index, "--steps", 2, "--num", 1, *scales)
    result = invoke(*common, *asked, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert SUMMED not in result.output
    assert json.loads((tmp_path / "run" / "run.json").read_text())["config"]["exact"] is False


def test_large_sets_are_retrieved_from(index: Path, tmp_path: Path, monkeypatch) -> None:
    # of each of 60 images a pixel meets 900 patches inside, 30 at the edges, and one in the corners
    num_patches = 60 * (30**4 + 4 * 30 * 30 + 4) / 32**2
    for times, exact in ((1.001, True), (0.999, False)):
        limit = times * num_patches / (64 * 4096)
        monkeypatch.setattr("sampler.estimator.estimate.SCANNED_IN_THE_TIME", limit)
        out = tmp_path / str(exact)
        result = invoke(
            "--index", index, "--steps", 2, "--num", 1, "--scales", 3, "--trace", "--out", out
        )
        assert (SUMMED in result.output) == exact
        assert json.loads((out / "run.json").read_text())["config"]["exact"] is exact
        assert (out / "trace.zarr").is_dir()


@pytest.mark.parametrize("machine", [(), ("--exact", "--scales", "3,9"), ("--machine", "is")])
def test_a_trace_lies_beside_the_samples_and_changes_nothing(
    index: Path, tmp_path: Path, machine: tuple[str, ...]
) -> None:
    plain = run(index, tmp_path / "plain", *machine)
    traced = run(index, tmp_path / "traced", "--trace", *machine)
    np.testing.assert_array_equal(plain, traced)
    trace = Trace.open(tmp_path / "traced")
    assert trace.source_ids().shape == (3, 2, 32, 32, 8)
    np.testing.assert_allclose(trace.read("mean")[-1], traced, atol=1e-3)
    accounts = [json.loads((tmp_path / d / "run.json").read_text()) for d in ("plain", "traced")]
    assert accounts[0]["trace"] is None
    for told in accounts[1]["trace"]["attribution"]:
        assert 0 < told["images"][0]["share"] <= 1
    assert not list((tmp_path / "traced").glob(".*"))


@pytest.mark.slow
def test_a_trace_goes_with_the_run_that_it_is_of(index: Path, tmp_path: Path) -> None:
    run(index, tmp_path, "--trace")
    run(index, tmp_path, "--trace", "--seed", 1, "--overwrite")
    np.testing.assert_allclose(
        Trace.open(tmp_path).read("mean")[-1], np.load(tmp_path / "samples.npy"), atol=1e-3
    )
    run(index, tmp_path, "--overwrite")
    assert not (tmp_path / "trace.zarr").exists()


@pytest.mark.parametrize("machine", ["els", "ls", "is"])
def test_exact_runs_need_no_index_to_name_every_image(machine: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = invoke(
        "--dataset", "sample", "--limit", 20, "--resolution", 12, "--steps", 2, "--num", 1,
        "--scales", "3", "--trace", "--machine", machine, "--out", out,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "Every training image's share is counted" in result.output
    trace = json.loads((out / "run.json").read_text())["trace"]
    assert trace["complete"]
    told = trace["attribution"][0]
    assert told["others"] + sum(image["share"] for image in told["images"]) == pytest.approx(1)
    assert told["unattributed"] == pytest.approx(0, abs=1e-6)
    assert told["rest"]["average_share"] == 1 / 20
    assert 1 <= told["rest"]["effective_images"] <= 20


def test_an_exact_run_equals_the_machine_in_the_library(index: Path, tmp_path: Path) -> None:
    samples = run(index, tmp_path / "run", "--exact", "--seed", 5, "--scales", PUBLISHED)
    images = ImageSet.load("sample", limit=NUM_IMAGES)
    scales = published_scales()[PUBLISHED]
    expected = sample(ELSMachine(images), initial_noise(2, images, 5), scales=scales, steps=3)
    np.testing.assert_allclose(samples, expected.images, atol=1e-5)


def test_a_tolerance_is_kept_and_the_ways_to_it_are_told(index: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = invoke(
        "--index", index, "--steps", 3, "--num", 2, "--tail", 128, "--tolerance", 0.02,
        "--out", out,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    steps = json.loads((out / "run.json").read_text())["steps"]
    assert all(step["standard_error"] <= 0.02 for step in steps)
    again, exactly = (
        sum(step[name] for step in steps) / 3 for name in ("estimated_again", "summed_exactly")
    )
    assert again > 0  # of so few images that the second round draws all
    assert (
        f"tolerance 0.02: {1 - again - exactly:.1%} of the pixels accepted at once, "
        f"{again:.1%} estimated again, {exactly:.1%} summed exactly"
    ) in result.output


def test_a_tolerance_that_is_none_is_refused(index: Path, tmp_path: Path) -> None:
    result = invoke("--index", index, "--tolerance", -1, "--out", tmp_path / "run")
    assert result.exit_code == 1
    assert "tolerance is -1.0. Give a standard error in [-1, 1] units" in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("machine", ["ls", "is"])
def test_every_machine_samples_from_a_dataset(machine: str, tmp_path: Path) -> None:
    result = invoke(
        "--dataset", "sample", "--limit", 20, "--machine", machine,
        "--steps", 2, "--num", 1, "--out", tmp_path,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert (tmp_path / "samples.npy").exists()


def test_a_seed_means_the_same_images_in_any_batch_and_number_of_threads(
    index: Path, tmp_path: Path
) -> None:
    pair = run(index, tmp_path / "pair")
    alone = run(index, tmp_path / "alone", "--num", 1, "--threads", 1)
    np.testing.assert_allclose(alone[0], pair[0], atol=1e-5)


def test_noise_from_a_file_replaces_the_seeded_noise(index: Path, tmp_path: Path) -> None:
    images = ImageSet.load("sample", limit=NUM_IMAGES)
    np.save(tmp_path / "noise.npy", initial_noise(2, images, 0).numpy())
    from_file = run(index, tmp_path / "a", "--noise", tmp_path / "noise.npy", "--seed", 0)
    np.testing.assert_array_equal(from_file, run(index, tmp_path / "b"))


def test_a_class_is_sampled_from_its_own_images_alone(index: Path, tmp_path: Path) -> None:
    of_class = run(index, tmp_path / "a", "--label", 3, "--exact", "--scales", PUBLISHED)
    images = ImageSet.load("sample", limit=NUM_IMAGES).with_label(3)
    scales = published_scales()[PUBLISHED]
    expected = sample(ELSMachine(images), initial_noise(2, images, 0), scales=scales, steps=3)
    np.testing.assert_allclose(of_class, expected.images, atol=1e-5)


def test_the_newest_index_serves_when_none_is_named(tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = invoke("--steps", 2, "--num", 1, "--out", out)
    assert result.exit_code == 1
    assert "there is no index yet. Build one with `patchindex build" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--k", 0], r"k is 0\. Give at least 1 patch"),
        (["--k", 10**12], "k is 1000000000000, but a pixel has .* Give 1 to"),
        (["--k", -5, "--exact"], r"k is -5\. Give at least 1 patch"),
        (["--tail", -1], "tail is -1. Give at least 2 draws"),
        (["--tolerance", "nan"], "tolerance is nan. Give a standard error"),
        (["--tolerance", "inf"], "tolerance is inf. Give a standard error"),
        (["--tail", 1], "tail is 1. Give at least 2 draws"),
        (["--nprobe", 0], "nprobe is 0. Give at least 1 inverted list"),
        (["--label", 77], "no image of .* has label 77. Give one of these labels: 0, 1"),
        (["--scales", "3,4"], "contain 4. Give odd positive whole numbers"),
        (["--scales", "65"], "scale 65 is too large for 32x32 images"),
        (["--scales", "nonsense"], "neither a file, nor a list like 3,3,5,9, nor known"),
        (["--machine", "gan"], "machine is 'gan'. Give one of els, ls, is"),
        (["--sampler", "euler"], "sampler is 'euler'. Give one of ddim, heun"),
        (["--schedule", "sine"], "schedule is 'sine'. Give one of cosine"),
        (["--steps", 0], "steps is 0. Give at least 1"),
        (["--steps", 1, "--reference-steps"], "steps is 1. Give at least 2"),
        (["--steps", 10**9], "steps is 1000000000. Give at most 100,000"),
        (["--num", 0], "num is 0. Give at least 1 sample"),
        (["--num", 10**9], "num is 1000000000: so many samples of 1x32x32 need 16,384.0 GB of mem"),
        (["--num", 2**200], "of memory at the least, but"),
        (["--seed", 2**200], "Give a whole number, 0 or more, of at most 18446744073709551615"),
        (["--seed", -1], "seed is -1. Give a whole number, 0 or more"),
        (["--strict-scales", "--scales", "3,17"], "scale 17 is not in the index, which has"),
        (["--scales", "3,65", "--exact"], "scale 65 is too large for 32x32 images"),
        (["--boundary", "circular"], "boundary circular was asked for, but the index"),
        (["--dataset", "sample"], "both --index and --dataset were given"),
        (["--crop", "center"], "--resolution, --crop and --limit belong to --dataset"),
        (["--limit", 5], "--resolution, --crop and --limit belong to --dataset"),
        (["--threads", 0], "threads is 0. Give 1..1024"),
        (["--noise", "absent.npy"], "noise file absent.npy cannot be read"),
    ],
)
def test_a_mistake_is_one_clear_line_and_exit_code_1(
    arguments: list[object],
    message: str,
    index: Path,
    tmp_path: Path,
    unchecked: None,
) -> None:
    out = tmp_path / "run"
    result = invoke("--index", index, "--out", out, *arguments)
    assert result.exit_code == 1, result.output
    error = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert len(error) == 1
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(error[0])
    assert not list(out.glob("samples*")), "something half-written was left"


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        (np.zeros((2, 1, 28, 28), "f4"), r"has shape \(2, 1, 28, 28\), but the images are 1x32x32"),
        (np.full((1, 1, 32, 32), np.nan, "f4"), "values that are not finite"),
        (np.zeros((1, 1, 32, 32), "i8"), "of int64. Give at least one sample"),
        (np.zeros((0, 1, 32, 32), "f4"), "holds 0 samples"),
    ],
)
def test_noise_that_is_none_is_refused(
    noise: np.ndarray, message: str, index: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "noise.npy", noise)
    result = invoke("--index", index, "--out", tmp_path / "run", "--noise", tmp_path / "noise.npy")
    assert result.exit_code == 1
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(result.output)


def test_an_output_folder_that_cannot_be_made_is_named(index: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    result = invoke("--index", index, "--out", tmp_path / "file" / "run")
    assert result.exit_code == 1
    assert "cannot be written" in result.output


def test_a_run_is_not_replaced_unasked(index: Path, tmp_path: Path) -> None:
    run(index, tmp_path / "run")
    before = (tmp_path / "run" / "run.json").read_text()
    result = invoke("--index", index, "--out", tmp_path / "run")
    assert result.exit_code == 1
    assert "already holds a run. Give another --out, or --overwrite" in result.output
    assert (tmp_path / "run" / "run.json").read_text() == before


def test_the_naive_average_says_that_it_is_biased(
    index: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(index, tmp_path / "run", "--tail", 0)
    account = json.loads((tmp_path / "run" / "run.json").read_text())
    assert account["steps"][0]["standard_error"] is None
    assert "is biased" in caplog.text
