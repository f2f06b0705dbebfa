"""An audit by pixels: its sums are the exact machine's, its pixels any, its states retrieval's."""

import json
from collections import Counter
from dataclasses import replace
from itertools import count
from math import isnan, nan
from pathlib import Path

import numpy as np
import pytest
import torch
from small_index import build_small, small_images

from patchindex import PatchIndex, UserError
from sampler import ELSMachine, sample_steps
from sampler.noise import initial_noise
from sampler.results.audit_result import AuditedStep, AuditResult, read_audit
from sampler.results.study_figures import audit_figure
from sampler.results.tables import AUDIT_HEADER, audit_row
from sampler.results.write import write_audit
from sampler.run import SamplerConfig
from sampler.studies.audit import AuditConfig, at_places, audit, draw_places, exact_at, plan_audit
from sampler.studies.verify import VerifyConfig, plan_verification, verify

SAMPLING = SamplerConfig(num=2, steps=3, scales="3,7", k=16, tail=8, seed=4)
EVERY_PIXEL = 2 * 16 * 16
CLOCK = {"exact_seconds": 0.0, "retrieval_seconds": 0.0, "audit_seconds": 0.0}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> PatchIndex:
    return build_small(tmp_path_factory.mktemp("indices") / "small.zarr")


@pytest.fixture(scope="module")
def audited(index: PatchIndex) -> AuditResult:
    return audit(plan_audit(index, AuditConfig(sampling=SAMPLING, pixels=20)))


def audit_of(index: PatchIndex, pixels: int, **settings: object) -> AuditResult:
    config = AuditConfig(sampling=replace(SAMPLING, **settings), pixels=pixels)
    return audit(plan_audit(index, config))


@pytest.mark.slow
@pytest.mark.parametrize("boundary", ["zeros", "circular", "circular_interior"])
@pytest.mark.parametrize("label", [None, 3])
def test_the_sums_are_the_exact_machines_posterior_at_these_pixels(
    tmp_path: Path, rng, boundary: str, label: int | None
) -> None:
    images = small_images(60, channels=3)
    index = build_small(tmp_path / "small.zarr", images, scales=(3, 7), boundary=boundary)
    plan = plan_audit(index, AuditConfig(sampling=replace(SAMPLING, label=label)))
    exact = ELSMachine(images, boundary)
    for done in sample_steps(plan.retrieval, plan.noise, scales=[3, 7], steps=3, label=label):
        places = draw_places(done.xt, 30, rng)
        found = exact_at(plan, done, places)
        step = done.step
        whole = exact.posterior(done.xt, step.alpha_bar, step.patch_size, label=label)
        expected = at_places(whole, places)
        torch.testing.assert_close(found.mean, expected.mean, atol=1e-4, rtol=0)
        torch.testing.assert_close(found.log_mass, expected.log_mass, atol=1e-3, rtol=1e-5)
        torch.testing.assert_close(
            found.effective_sample_size, expected.effective_sample_size, atol=0, rtol=1e-3
        )
        torch.testing.assert_close(found.num_scored, expected.num_scored)
        assert not found.standard_error.any()


def test_a_place_is_state_row_and_column(index) -> None:
    xt = initial_noise(2, index.images, 0)
    posterior = ELSMachine(index.images).posterior(xt, 0.5, 3)
    found = at_places(posterior, torch.tensor([[1, 2, 5], [0, 15, 0]]))
    torch.testing.assert_close(found.mean[0, :, 0, 0], posterior.mean[1, :, 2, 5])
    torch.testing.assert_close(found.log_mass[1, 0, 0], posterior.log_mass[0, 15, 0])
    assert found.mean.shape == (2, 1, 1, 1)


def test_every_pixel_is_drawn_as_often_as_any_other(rng) -> None:
    xt = torch.zeros(2, 3, 4, 5)
    drawn = Counter()
    for _ in range(2000):
        places = draw_places(xt, 4, rng)
        assert len(set(map(tuple, places.tolist()))) == 4
        drawn.update(map(tuple, places.tolist()))
    assert len(drawn) == 40  # the corners among them
    # 200 each, of a deviation of 13
    assert min(drawn.values()) > 130
    assert max(drawn.values()) < 270


def test_as_many_pixels_as_there_are_or_more_are_all(rng) -> None:
    places = draw_places(torch.zeros(2, 1, 3, 4), 25, rng)
    assert places.tolist() == [list(place) for place in np.ndindex(2, 3, 4)]


@pytest.mark.slow
def test_states_are_those_of_retrievals_own_trajectory(index) -> None:
    every = audit_of(index, EVERY_PIXEL + 1)
    machine, exact = ELSMachine(index, k=16, tail=8, seed=4), ELSMachine(index.images)
    steps = sample_steps(machine, initial_noise(2, index.images, 4), scales=[3, 7], steps=3)
    for row, done in zip(every.steps, steps, strict=True):
        step = done.step
        truth = exact.posterior(done.xt, step.alpha_bar, step.patch_size).mean.double()
        sse = (done.answer.mean - truth).square().sum()
        assert pytest.approx(float(1 - sse / (truth - truth.mean()).square().sum())) == row.R2
        assert (row.t, row.patch_size, row.num_pixels) == (step.t, step.patch_size, EVERY_PIXEL)


@pytest.mark.slow
def test_the_first_step_of_all_pixels_is_that_of_a_verification(index) -> None:
    """Both begin with the same noise."""
    row = audit_of(index, EVERY_PIXEL).steps[0]
    whole = verify(plan_verification(index, VerifyConfig(sampling=SAMPLING, recall_pixels=0)))
    for name in ("R2", "rmse", "coverage", "head_mass", "standard_error", "num_scored",
                 "effective_sample_size", "effective_sample_size_10"):  # fmt: skip
        expected = getattr(whole.steps[0], name)
        assert getattr(row, name) == pytest.approx(expected, rel=1e-3, nan_ok=True), name


@pytest.mark.slow
def test_the_same_seed_gives_the_same_rows_and_another_other_pixels(index, audited) -> None:
    def without_clock(result: AuditResult) -> list[AuditedStep]:
        return [replace(row, **CLOCK) for row in result.steps]

    again = audit_of(index, 20)
    assert repr(without_clock(again)) == repr(without_clock(audited))  # nan is equal there
    assert repr(without_clock(audit_of(index, 21))) != repr(without_clock(audited))


def test_each_step_draws_its_own_pixels(index, monkeypatch) -> None:
    drawn = []

    def noted(xt, count, rng):
        drawn.append(draw_places(xt, count, rng))
        return drawn[-1]

    monkeypatch.setattr("sampler.studies.audit.draw_places", noted)
    audit_of(index, 9)
    assert len({str(places.tolist()) for places in drawn}) == 3


def test_drawing_every_patch_is_exact(index) -> None:
    whole = audit_of(index, 50, tail=10**6)
    assert all(row.R2 > 1 - 1e-6 for row in whole.steps)
    assert all(isnan(row.coverage) for row in whole.steps)


def test_the_truncated_average_leaves_its_error_unknown(index) -> None:
    found = audit_of(index, 30, tail=0)
    assert all(isnan(row.coverage) and isnan(row.standard_error) for row in found.steps)
    assert all(row.unreliable == 0 for row in found.steps)  # without draws there is no k-hat


@pytest.mark.slow
def test_intervals_that_are_not_vouched_for_are_counted(index, monkeypatch) -> None:
    """Every pixel that was drawn for has some k-hat; those summed whole have -inf."""
    monkeypatch.setattr("sampler.studies.audit.LARGEST_K_HAT", -1e9)
    machine = ELSMachine(index, k=16, tail=8, seed=4)
    noise = initial_noise(2, index.images, 4)
    steps = sample_steps(machine, noise, scales=[3, 7], steps=3)
    for row, done in zip(audit_of(index, EVERY_PIXEL).steps, steps, strict=True):
        drawn = (done.answer.k_hat > -torch.inf).double().mean()
        assert row.unreliable == pytest.approx(float(drawn))
        assert row.unreliable > 0


@pytest.mark.slow
def test_one_gray_pixel_has_no_r2(index, tmp_path: Path) -> None:
    found = audit_of(index, 1)
    assert all(isnan(row.R2) for row in found.steps)
    write_audit(found, tmp_path)
    assert json.loads((tmp_path / "audit.json").read_text())["steps"][0]["R2"] is None
    assert audit_row(found.steps[0]).split()[3] == "-"


def test_exact_seconds_grow_with_the_images_that_are_left_out(index, monkeypatch) -> None:
    clock = count(0.0)  # each look at it is a second later
    monkeypatch.setattr("sampler.studies.audit.perf_counter", lambda: next(clock))
    monkeypatch.setattr("sampler.studies.audit._TIMED_IMAGES", 8)
    assert [row.exact_seconds for row in audit_of(index, 2).steps] == [40 / 8] * 3


def test_rows_are_told_as_soon_as_they_are_known_and_summed_up(index) -> None:
    told: list[AuditedStep] = []
    config = AuditConfig(sampling=SAMPLING, pixels=12)
    done = audit(plan_audit(index, config), on_row=told.append)
    assert tuple(told) == done.steps
    assert done.summary.R2.lowest == min(row.R2 for row in told)
    assert done.summary.R2.median == sorted(row.R2 for row in told)[1]
    assert done.summary.audit_seconds == pytest.approx(sum(row.audit_seconds for row in told))


def test_files_appear_whole_and_read_back(audited, tmp_path: Path) -> None:
    write_audit(audited, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= {"audit.json", "audit.png", "audit.svg"}
    again = read_audit(tmp_path / "audit.json")
    assert repr(again.steps) == repr(audited.steps)  # nan is equal there
    assert again.config.pixels == 20
    assert again.title.endswith("against exact sums for 20 pixels a step")


def test_the_figure_says_what_is_not_known(audited) -> None:
    unknown = dict.fromkeys(("head_mass", "coverage", "standard_error", "R2"), nan)
    figure = audit_figure(replace(audited, steps=(replace(audited.steps[0], **unknown),)))
    figure.draw_without_rendering()
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert texts.count("not known") == 2


def test_the_table_lines_up(audited) -> None:
    assert {len(audit_row(row)) for row in audited.steps} == {len(AUDIT_HEADER)}


@pytest.mark.parametrize(
    ("settings", "pixels", "message"),
    [
        ({}, 0, r"pixels is 0\. Give a number of pixels per step, at least 1"),
        ({}, -3, r"pixels is -3\. Give a number of pixels per step, at least 1"),
        ({"label": 99}, 8, r"no image of small has label 99"),
        ({"scales": "3,4"}, 8, r"contain 4\. Give odd positive whole numbers"),
        ({"steps": 0}, 8, r"steps is 0\. Give at least 1"),
    ],
)
def test_mistakes_are_found_before_any_work(index, settings, pixels, message) -> None:
    with pytest.raises(UserError, match=message):
        plan_audit(index, AuditConfig(sampling=replace(SAMPLING, **settings), pixels=pixels))
