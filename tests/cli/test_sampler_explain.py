"""`sampler explain` and `sampler leave-out` on a real run: the page holds what was traced."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from click.testing import CliRunner, Result
from numpy import ndarray
from page_file import read_page
from PIL import Image
from traced_run import NUM_IMAGES, SAMPLES, SEED, SIDE, STEPS, few_images, traced_run

from cli.sampler import main
from patchindex import ImageSet
from sampler import ELSMachine, sample
from sampler.noise import initial_noise
from sampler.results.output import reserve_output
from sampler.results.trace import Trace


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


@pytest.fixture(scope="module")
def images() -> ImageSet:
    return few_images()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return traced_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def run_dir(finished: Path, tmp_path: Path) -> Path:
    """A copy that a test may add to."""
    return shutil.copytree(finished, tmp_path / "run")


def read_pictures(run_dir: Path) -> dict[str, ndarray]:
    with np.load(run_dir / "leave_out.npz") as pictures:
        return dict(pictures)


def test_the_page_holds_what_was_traced(run_dir: Path, images: ImageSet) -> None:
    result = invoke("explain", run_dir)
    assert result.exit_code == 0, result.output
    assert re.search(
        rf"3 of 3 samples, \d+ of \d+ training images, .* MB: {run_dir}", result.output
    )
    header, arrays = read_page(run_dir / "explain.html")
    trace, account = Trace.open(run_dir), json.loads((run_dir / "run.json").read_text())
    assert [step["t"] for step in header["steps"]] == [1, 0.75, 0.5, 0.25]
    assert [step["patch_size"] for step in header["steps"]] == [7, 7, 3, 3]
    for told, kept in zip(header["samples"], account["trace"]["attribution"], strict=True):
        assert told["images"] == kept["images"]
    ids, weights = trace.source_ids()[..., :4], trace.read("source_weights")[..., :4].astype(float)
    listed = arrays["source_image"] >= 0
    assert listed.mean() > 0.2
    assert (listed == (weights >= 0.005)).all()
    found = arrays["source_image"].astype(np.int64) * SIDE**2 + arrays["source_place"]
    assert (found[listed] == ids[listed]).all()
    np.testing.assert_allclose(arrays["source_weight"] / 65535, weights * listed, atol=1e-5)
    total = arrays["source_weight"].sum(-1, dtype=np.int64) + arrays["unattributed"]
    assert (total == 65535).all()
    np.testing.assert_allclose(arrays["mean"] / 127.5 - 1, trace.read("mean"), atol=0.01)
    low, high = header["log_ranges"]["effective_sample_size"]
    shared = 10 ** (low + (high - low) * (arrays["effective_sample_size"] - 1.0) / 254)
    np.testing.assert_allclose(shared, trace.read("effective_sample_size"), rtol=0.05)
    assert set(arrays["source_image"][listed]) <= set(arrays["embedded_number"])
    for number, picture in zip(arrays["embedded_number"], arrays["embedded"], strict=True):
        assert (picture == images.pixels[number]).all()


def test_some_samples_may_be_chosen(run_dir: Path) -> None:
    assert invoke("explain", run_dir, "--samples", "2,0").exit_code == 0
    header, arrays = read_page(run_dir / "explain.html")
    assert [entry["number"] for entry in header["samples"]] == [2, 0]
    np.testing.assert_allclose(
        arrays["mean"][-1] / 127.5 - 1, np.load(run_dir / "samples.npy")[[2, 0]], atol=0.01
    )


def test_pictures_end_where_the_page_would_be_too_large(run_dir: Path, monkeypatch) -> None:
    monkeypatch.setattr("sampler.attribution.viewer.page.SHOWN_BYTES", 0)
    monkeypatch.setattr("sampler.attribution.viewer.page.TRIAL_IMAGES", 8)
    assert invoke("explain", run_dir).exit_code == 0
    header, arrays = read_page(run_dir / "explain.html")
    made = {entry["image"] for told in header["samples"] for entry in told["images"]}
    assert 10 <= len(made) < NUM_IMAGES
    assert made == set(arrays["embedded_number"])  # they alone, whatever the size


def test_pictures_have_fewer_levels_where_more_would_not_fit(run_dir: Path, monkeypatch) -> None:
    assert invoke("explain", run_dir).exit_code == 0
    header, whole = read_page(run_dir / "explain.html")
    assert header["facts"][-1][1].endswith("256 levels a channel")
    monkeypatch.setattr(
        "sampler.attribution.viewer.page.SHOWN_BYTES", (run_dir / "explain.html").stat().st_size
    )
    assert invoke("explain", run_dir).exit_code == 0
    header, reduced = read_page(run_dir / "explain.html")
    assert header["facts"][-1][1].endswith("64 levels a channel")
    assert (reduced["embedded_number"] == whole["embedded_number"]).all()
    difference = reduced["embedded"].astype(int) - whole["embedded"]
    assert 0 < np.abs(difference).max() <= 2


def test_a_page_of_many_samples_shows_the_first(run_dir: Path, monkeypatch) -> None:
    monkeypatch.setattr("sampler.attribution.viewer.payload.MOST_PIXELS", 2 * STEPS * SIDE**2)
    assert "2 of 3 samples" in invoke("explain", run_dir).output


def test_a_sample_is_made_again_without_the_images_that_made_it(
    run_dir: Path, images: ImageSet
) -> None:
    result = invoke("leave-out", run_dir, "--sample", 1, "--top", 3)
    assert result.exit_code == 0, result.output
    [check] = json.loads((run_dir / "leave_out.json").read_text())["checks"]
    account = json.loads((run_dir / "run.json").read_text())
    named = [entry["image"] for entry in account["trace"]["attribution"][1]["images"]]
    assert check["removed"] == named[:3]
    assert len(set(check["compared"]) - set(named[:3])) == 3
    pictures = read_pictures(run_dir)
    noise = initial_noise(SAMPLES, images, SEED)[1:2]
    for name, gone in (("without", check["removed"]), ("control", check["compared"])):
        left = ImageSet.from_array(np.delete(images.pixels, gone, axis=0))
        expected = sample(ELSMachine(left), noise, scales=[3, 7], steps=STEPS).images[0].numpy()
        np.testing.assert_allclose(pictures[name][0], expected, atol=1e-4)
    moved = pictures["without"][0] - np.load(run_dir / "samples.npy")[1]
    assert check["distance"] == pytest.approx(np.sqrt(np.square(moved).mean()), abs=1e-6)
    assert check["distance"] > 1e-3
    assert f"moved by {check['distance']:.4f}" in result.output
    with Image.open(run_dir / "leave_out-1.png") as picture:
        assert picture.width > 1000


def test_the_images_of_one_pixel_may_be_left_out(run_dir: Path) -> None:
    result = invoke("leave-out", run_dir, "--pixel", "8,7", "--top", 2, "--exact")
    assert result.exit_code == 0, result.output
    [check] = json.loads((run_dir / "leave_out.json").read_text())["checks"]
    trace = Trace.open(run_dir)
    weights = np.zeros(NUM_IMAGES)
    for step in range(STEPS):
        for patch, weight in zip(
            trace.source_ids(0, 8, 7)[step],
            trace.read("source_weights", 0, 8, 7)[step],
            strict=True,
        ):
            weights[patch // SIDE**2] += weight * (patch >= 0)
    assert check["removed"] == weights.argsort()[::-1][:2].tolist()
    values = check["at_pixel"]
    assert values["sample"] == pytest.approx(np.load(run_dir / "samples.npy")[0, :, 8, 7].tolist())
    assert values["without"] != values["sample"]
    assert "the pixel was" in result.output


@pytest.mark.slow
def test_exact_twins_are_held_against_an_exact_sample(run_dir: Path, images: ImageSet) -> None:
    index = json.loads((run_dir / "run.json").read_text())["source"]["index"]
    rough = ["--index", index, "--steps", 2, "--num", 1, "--scales", 3, "--k", 4, "--tail", 16]
    assert invoke("run", *rough, "--trace", "--overwrite", "--out", run_dir).exit_code == 0
    assert invoke("leave-out", run_dir, "--top", 2, "--exact").exit_code == 0
    [check] = json.loads((run_dir / "leave_out.json").read_text())["checks"]
    noise = initial_noise(1, images, 0)
    whole = sample(ELSMachine(images), noise, scales=[3], steps=2).images[0].numpy()
    assert np.abs(whole - np.load(run_dir / "samples.npy")[0]).max() > 0.05  # that was a rough run
    for name, distance in (("without", "distance"), ("control", "control_distance")):
        moved = read_pictures(run_dir)[name][0] - whole
        assert check[distance] == pytest.approx(np.sqrt(np.square(moved).mean()), abs=1e-5)


@pytest.mark.slow
def test_checks_are_kept_one_for_each_place_and_shown(run_dir: Path) -> None:
    for arguments in (["--sample", 2], ["--sample", 0], ["--sample", 2, "--top", 1]):
        assert invoke("leave-out", run_dir, "--top", 2, *arguments).exit_code == 0
    checks = json.loads((run_dir / "leave_out.json").read_text())["checks"]
    assert [(check["sample"], len(check["removed"])) for check in checks] == [(0, 2), (2, 1)]
    invoke("explain", run_dir, "--samples", "1,2")
    header, arrays = read_page(run_dir / "explain.html")
    [shown] = header["leave_out"]
    assert (shown["sample"], shown["removed"]) == (1, checks[1]["removed"])
    twin = read_pictures(run_dir)["without"][1]
    np.testing.assert_allclose(arrays["left_out"][0] / 127.5 - 1, twin.clip(-1, 1), atol=0.01)
    finished = np.load(run_dir / "samples.npy")[2].clip(-1, 1)
    np.testing.assert_allclose(arrays["held_against"][0] / 127.5 - 1, finished, atol=0.01)


def test_a_run_of_whole_images_is_explained(tmp_path: Path) -> None:
    out, limit = tmp_path / "is", ["--limit", NUM_IMAGES, "--resolution", SIDE]
    run = ["run", "--dataset", "sample", *limit, "--machine", "is", "--num", 1, "--steps", 3]
    assert invoke(*run, "--trace", "--out", out).exit_code == 0
    result = invoke("explain", out, "--dataset", "sample", *limit)
    assert result.exit_code == 0, result.output
    header, arrays = read_page(out / "explain.html")
    assert {step["patch_size"] for step in header["steps"]} == {2 * SIDE - 1}
    assert (arrays["source_place"][..., 0] == np.arange(SIDE**2).reshape(SIDE, SIDE)).all()
    assert invoke("leave-out", out, "--top", 1, "--dataset", "sample", *limit).exit_code == 0
    [check] = json.loads((out / "leave_out.json").read_text())["checks"]
    assert check["distance"] > 0.1  # the sample was that image


@pytest.mark.parametrize("command", ["explain", "leave-out"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--index", "nowhere.zarr"], r"nowhere\.zarr"),
        (["--dataset", "sample", "--limit", 61, "--resolution", SIDE], r"made from 60 images of"),
    ],
)
def test_other_images_are_refused(run_dir: Path, command, arguments, message) -> None:
    result = invoke(command, run_dir, *arguments)
    assert result.exit_code == 1
    assert re.search(message, result.output)
    assert not (run_dir / "explain.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explain", "--samples", "3"], "there is no sample 3.*from 0 to 2"),
        (["explain", "--samples", "a"], "'a' are no numbers"),
        (["leave-out", "--sample", "3"], "there is no sample 3.*from 0 to 2"),
        (["leave-out", "--top", "0"], "top is 0. Give at least 1"),
        (["leave-out", "--pixel", "16,2"], "pixel 16,2 lies outside.*below 16"),
        (["leave-out", "--pixel", "16"], "'16' is no row and column"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(run_dir: Path, arguments, message) -> None:
    result = invoke(arguments[0], run_dir, *arguments[1:])
    assert result.exit_code == 1
    assert re.search(message, result.output)


@pytest.mark.slow
def test_a_new_run_takes_nothing_over_from_the_old_one(run_dir: Path) -> None:
    assert invoke("leave-out", run_dir, "--top", 1).exit_code == 0
    assert invoke("explain", run_dir).exit_code == 0
    assert invoke("plot", run_dir).exit_code == 0
    index = json.loads((run_dir / "run.json").read_text())["source"]["index"]
    again = ["--index", index, "--steps", 2, "--num", 1, "--scales", 3, "--overwrite"]
    assert invoke("run", *again, "--out", run_dir).exit_code == 0
    assert {path.name for path in run_dir.iterdir()} == {
        "config.yaml", "run.json", "samples.npy", "samples.png",
    }  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [["explain"], ["leave-out"], ["plot"], ["run", "--dataset", "sample", "--overwrite", "--out"]],
)
def test_a_folder_in_which_another_process_writes_is_left_alone(run_dir: Path, arguments) -> None:
    (run_dir / ".tracing-x").mkdir()
    with reserve_output(run_dir, overwrite=True):
        (run_dir / ".tracing-x").mkdir()
        result = invoke(*arguments, run_dir)
        assert result.exit_code == 1
        refused = f"another process is writing to {run_dir} (process {os.getpid()} of"
        assert refused in result.output.splitlines()[-1]
        assert (run_dir / ".tracing-x").exists()


def test_more_images_than_are_named_cannot_be_left_out(run_dir: Path) -> None:
    result = invoke("leave-out", run_dir, "--top", 61)
    assert result.exit_code == 1
    assert re.search(r"61 images were asked for, but \d+ are named.*at most \d+", result.output)
    result = invoke("leave-out", run_dir, "--top", 31)
    assert result.exit_code == 1
    assert "31 of 60 images would leave too few" in result.output


def test_a_run_in_which_no_source_was_named_is_explained(run_dir: Path) -> None:
    trace = zarr.open_group(run_dir / "trace.zarr", mode="r+")
    nothing = (("source_ids", 2**32 - 1), ("source_weights", 0), ("image_shares", 0))
    with zarr.config.set({"array.write_empty_chunks": True}):  # as the trace was written
        for name, value in nothing:
            trace[name][...] = value
    shutil.rmtree(run_dir / "trace.zarr" / "chunk_crc32")  # as traces had none before
    account = json.loads((run_dir / "run.json").read_text())
    for told in account["trace"]["attribution"]:
        told["images"] = []
    (run_dir / "run.json").write_text(json.dumps(account))
    assert "0 of 0 training images" in invoke("explain", run_dir).output
    result = invoke("leave-out", run_dir)
    assert result.exit_code == 1
    assert "no training image was named for sample 0" in result.output


def test_folders_that_do_not_fit_together_are_told(run_dir: Path) -> None:
    account = json.loads((run_dir / "run.json").read_text())
    changed = account | {"steps": account["steps"][1:]}
    (run_dir / "run.json").write_text(json.dumps(changed))
    told = invoke("explain", run_dir).output
    assert "has 4 steps of 3 samples, but run.json tells of 3 and 3" in told
    (run_dir / "run.json").write_text(json.dumps(account))
    os.truncate(run_dir / "samples.npy", 40)
    result = invoke("leave-out", run_dir)
    assert result.exit_code == 1
    assert "samples.npy cannot be read" in result.output


def test_a_run_over_a_dataset_finds_it_again(tmp_path: Path) -> None:
    out, limit = tmp_path / "is", ["--limit", NUM_IMAGES, "--resolution", SIDE]
    run = ["run", "--dataset", "sample", *limit, "--machine", "is", "--num", 1, "--steps", 1]
    assert invoke(*run, "--label", 3, "--trace", "--out", out).exit_code == 0
    assert invoke("explain", out).exit_code == 0
    header, _ = read_page(out / "explain.html")
    assert ["Class", "3, Dress"] in header["facts"]
    assert header["num_training_images"] == (few_images().labels == 3).sum()


def test_an_index_that_has_moved_may_be_named(run_dir: Path, finished: Path) -> None:
    account = json.loads((run_dir / "run.json").read_text())
    account["source"]["index"] = str(run_dir / "gone.zarr")
    (run_dir / "run.json").write_text(json.dumps(account))
    result = invoke("explain", run_dir)
    assert result.exit_code == 1
    assert "If it has moved, give --index PATH" in result.output
    assert invoke("explain", run_dir, "--index", finished.parent / "few.zarr").exit_code == 0


def test_folders_without_a_trace_are_refused(finished: Path, tmp_path: Path) -> None:
    assert "holds no run: there is no run.json" in invoke("explain", tmp_path).output
    (tmp_path / "run.json").write_text("{")
    assert "run.json is not JSON" in invoke("explain", tmp_path).output
    (tmp_path / "run.json").write_text("[]")
    assert "holds list and no results" in invoke("explain", tmp_path).output
    shutil.copy(finished / "run.json", tmp_path)
    assert "no trace that can be read" in invoke("explain", tmp_path).output
    account = json.loads((finished / "run.json").read_text()) | {"trace": None}
    (tmp_path / "run.json").write_text(json.dumps(account))
    assert "has no trace. Sample it again with `sampler run --trace`" in (
        invoke("explain", tmp_path).output
    )


def test_damaged_checks_are_told(run_dir: Path) -> None:
    assert invoke("leave-out", run_dir, "--top", 1).exit_code == 0
    os.truncate(run_dir / "leave_out.npz", 100)
    result = invoke("explain", run_dir)
    assert result.exit_code == 1
    assert "Remove it, and repeat the checks with `sampler leave-out`" in result.output
