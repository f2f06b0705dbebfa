"""A whole verification on a small index: its states, its rows, its figure, and its mistakes."""

import json
import logging
from dataclasses import replace
from math import isnan, nan
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_index import build_small, small_images

from patchindex import PatchIndex, UserError
from sampler import ELSMachine, sample, sample_steps
from sampler.noise import initial_noise
from sampler.results.json_files import as_json
from sampler.results.output import reserve_output, write_whole
from sampler.results.study_figures import verification_figure
from sampler.results.study_results import VERIFY_FILE, StepComparison, VerifyResult
from sampler.results.style import save_figure
from sampler.results.write import write_verification
from sampler.run import SamplerConfig
from sampler.studies.verify import (
    VerifyConfig,
    plan_verification,
    pooled_r2,
    verify,
)

SAMPLING = SamplerConfig(num=2, steps=3, scales="3,7", k=16, tail=16, seed=4)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> PatchIndex:
    return build_small(tmp_path_factory.mktemp("indices") / "small.zarr")


@pytest.fixture(scope="module")
def verification(index: PatchIndex) -> VerifyResult:
    config = VerifyConfig(sampling=SAMPLING, recall_pixels=5, finals=True)
    return verify(plan_verification(index, config))


def verified(index: PatchIndex, **settings: object) -> VerifyResult:
    own = {name: settings.pop(name) for name in ("recall_pixels", "finals") if name in settings}
    config = VerifyConfig(sampling=replace(SAMPLING, **settings), **{"recall_pixels": 0} | own)
    return verify(plan_verification(index, config))


@pytest.mark.slow
def test_states_are_those_of_the_exact_trajectory(index, verification) -> None:
    machine = ELSMachine(index, k=16, tail=16, seed=4)
    expected, known = [], None

    noise = initial_noise(2, index.images, 4)
    for done in sample_steps(ELSMachine(index.images), noise, scales=[3, 7], steps=3):
        step = done.step
        found = machine.posterior(done.xt, step.alpha_bar, step.patch_size, known=known)
        known = found.head
        expected.append((step.t, step.patch_size, pooled_r2(found.mean, done.answer.mean)))
    own = sample(machine, noise, scales=[3, 7], steps=3)
    rows = [(row.t, row.patch_size, row.R2) for row in verification.steps]
    for row, other in zip(rows, expected, strict=True):
        assert row == pytest.approx(other, abs=1e-6)
    r = np.corrcoef(own.images[1].flatten(), done.reached[1].flatten())[0, 1]
    assert verification.finals.r[1] == pytest.approx(r, abs=1e-5)


def test_every_number_of_a_row_is_known(verification) -> None:
    for row in verification.steps:
        assert 0 < row.recall <= 1
        assert 0 < row.head_mass <= 1
        assert 0 <= row.coverage <= 1
        assert 1 <= row.effective_sample_size_10 <= row.effective_sample_size
        assert row.effective_sample_size <= row.effective_sample_size_90
        assert min(row.exact_seconds, row.retrieval_seconds) > 0


def test_drawing_every_patch_is_exact(index) -> None:
    whole = verified(index, tail=10**6)
    assert all(row.R2 > 1 - 1e-6 for row in whole.steps)
    assert all(isnan(row.coverage) for row in whole.steps)  # nothing was left to chance


def test_rows_are_told_as_soon_as_they_are_known(index) -> None:
    told: list[StepComparison] = []
    config = VerifyConfig(sampling=SAMPLING, recall_pixels=0)
    done = verify(plan_verification(index, config), on_row=told.append)
    assert tuple(told) == done.steps
    assert all(isnan(row.recall) for row in told)
    assert done.finals is None


def test_the_same_seed_gives_the_same_rows(index, verification) -> None:
    again = verified(index, recall_pixels=5)
    for row, other in zip(verification.steps, again.steps, strict=True):
        clock = {"exact_seconds": 0.0, "retrieval_seconds": 0.0}
        assert replace(row, **clock) == replace(other, **clock)


def test_the_truncated_average_leaves_its_error_unknown(index) -> None:
    found = verified(index, tail=0)
    assert all(isnan(row.coverage) for row in found.steps)
    values = as_json(found)
    assert [step["standard_error"] for step in values["steps"]] == [None] * 3
    json.dumps(values, allow_nan=False)


def test_a_class_is_compared_with_its_own_images(index) -> None:
    label = int(np.bincount(index.images.labels).argmax())
    found = verified(index, label=label, tail=10**6, recall_pixels=3)
    assert all(row.R2 > 1 - 1e-6 for row in found.steps)


def test_a_scale_that_the_index_lacks_is_named_once(index, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        found = verified(index, scales="3,9,11")
    assert [row.patch_size for row in found.steps] == [7, 7, 3]
    assert (found.scales.name, found.scales.asked) == ("3,9,11", (3, 9, 11))
    assert found.scales.patch_sizes == (3, 7, 7)
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "lacks scale 9 (scale 7 serves in its place), scale 11 (scale 7 serves" in warning


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"recall_pixels": -1}, r"recall_pixels is -1\. Give a number of pixels per step"),
        ({"k": 0}, r"k is 0\. Give at least 1 patch"),
        ({"steps": 0}, r"steps is 0\. Give at least 1"),
        ({"schedule": "sine"}, r"schedule is 'sine'\. Give one of cosine"),
        ({"num": 0}, r"num is 0\. Give at least 1 sample"),
        ({"label": 99}, r"no image of small has label 99"),
        ({"scales": "3,4"}, r"contain 4\. Give odd positive whole numbers"),
        ({"scales": "65"}, r"scale 65 is too large for 16x16 images"),
    ],
)
def test_mistakes_are_found_before_any_work(index, settings, message) -> None:
    own = {"recall_pixels": settings.pop("recall_pixels", 0)}
    with pytest.raises(UserError, match=message):
        plan_verification(index, VerifyConfig(sampling=replace(SAMPLING, **settings), **own))


def test_files_appear_whole_with_the_account_last(verification, tmp_path) -> None:
    write_verification(verification, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= {
        "verify.json",
        "verify.png",
        "verify.svg",
    }
    with Image.open(tmp_path / "verify.png") as picture:
        assert picture.width > 1500
        assert len(np.unique(np.asarray(picture.convert("L")))) > 30
    account = json.loads((tmp_path / "verify.json").read_text())
    assert account["source"]["sha256"]
    assert account["config"]["k"] == 16
    assert account["config"]["recall_pixels"] == 5
    assert account["summary"]["R2"]["lowest"] == min(row.R2 for row in verification.steps)
    assert len(account["finals"]["r"]) == 2


def test_a_file_that_fails_leaves_none_of_the_others(tmp_path) -> None:
    def fail(path: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"cannot be written to .* \(No space left on device\)"):
        write_whole({"a.txt": lambda path: path.write_text("a") and None, "b.txt": fail}, tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.name != "home"]


def test_a_verification_is_not_replaced_unasked_but_may_lie_beside_a_run(tmp_path) -> None:
    (tmp_path / "run.json").write_text("{}")
    unasked = reserve_output(tmp_path, overwrite=False, kind=VERIFY_FILE)
    with unasked:
        (tmp_path / VERIFY_FILE).write_text("{}")
    refused = r"already holds a verification\. Give another --out"
    unasked = reserve_output(tmp_path, overwrite=False, kind=VERIFY_FILE)
    with pytest.raises(UserError, match=refused), unasked:
        pass
    with reserve_output(tmp_path, overwrite=True, kind=VERIFY_FILE):
        pass


def test_equal_figures_are_equal_files(verification, tmp_path) -> None:
    for name in ("a.svg", "b.svg"):
        save_figure(verification_figure(verification), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_the_figure_says_what_is_not_known(verification) -> None:
    unknown = dict.fromkeys(("recall", "head_mass", "coverage", "standard_error", "R2"), nan)
    figure = verification_figure(
        replace(verification, steps=(replace(verification.steps[0], **unknown),))
    )
    figure.draw_without_rendering()
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert texts.count("not known") == 2
    legends = [text.get_text() for axes in figure.axes if axes.get_legend()
               for text in axes.get_legend().get_texts()]  # fmt: skip
    assert "recall of the k nearest: not known" in legends
    assert "stated (standard error): not known" in legends


def test_a_perfect_step_stays_on_the_logarithmic_axis(verification) -> None:
    steps = tuple(replace(step, R2=1.0, rmse=0.0) for step in verification.steps)
    figure = verification_figure(replace(verification, steps=steps))
    low, high = figure.axes[0].get_ylim()
    assert 0 < low <= 1e-9
    assert high >= 5e-3
    figure.draw_without_rendering()


def test_states_of_any_number_of_channels_are_compared(tmp_path) -> None:
    colour = build_small(tmp_path / "colour.zarr", small_images(20, channels=3), scales=(3,))
    found = verified(colour, scales="3", recall_pixels=4, tail=256)
    assert all(row.R2 > 0.5 for row in found.steps)
