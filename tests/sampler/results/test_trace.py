"""The trace of a run: what is written is what the machine said, and shares sum to 1."""

from pathlib import Path

import numpy as np
import pytest
from reference.brute_search import BruteSearch
from reference.samples import random_images

from patchindex import ImageSet, UserError
from patchindex.step_store import StepStore
from sampler import ELSMachine, sample_steps
from sampler.noise import initial_noise
from sampler.results.trace import IMAGES_PER_STEP, Trace, TraceWriter

STEPS, NUM, NUM_IMAGES = 3, 2, 90


@pytest.fixture
def traced(rng: np.random.Generator, tmp_path: Path) -> tuple[Trace, TraceWriter, list]:
    """A trace, what wrote it, and the states and posteriors that it was given."""
    images = ImageSet.from_array(random_images(rng, NUM_IMAGES, 1, 7, 6), labels=np.arange(90) % 4)
    writer, given = TraceWriter(tmp_path / "trace.zarr", images, STEPS), []

    machine = ELSMachine(BruteSearch(images), k=16, tail=64)
    noise = initial_noise(NUM, images, 0)
    for done in sample_steps(machine, noise, scales=[3], steps=STEPS, num_sources=4):
        done.answer.sources.ids[0, 0, 0, -1] = -1  # as where fewer were found
        given.append((done.xt, done.answer))
        writer.write(done.xt, done.answer)
    return Trace.open(tmp_path), writer, given


def test_a_trace_holds_what_the_machine_said(traced) -> None:
    trace, _, given = traced
    ids, half = trace.source_ids(), {"rtol": 1e-3, "atol": 1e-4}
    assert (ids == -1).any()
    assert (ids >= 0).any()
    for step, (xt, posterior) in enumerate(given):
        sources = posterior.sources
        image_shares = sources.image_shares.dense(NUM_IMAGES)
        np.testing.assert_array_equal(ids[step], sources.ids)
        np.testing.assert_allclose(trace.read("state")[step], xt, **half)
        np.testing.assert_allclose(trace.read("mean")[step], posterior.mean, **half)
        np.testing.assert_allclose(trace.read("source_weights")[step], sources.weights, **half)
        np.testing.assert_allclose(trace.read("unattributed")[step], sources.unattributed, **half)
        np.testing.assert_allclose(
            trace.read("effective_sample_size")[step], posterior.effective_sample_size, rtol=1e-6
        )
        np.testing.assert_allclose(trace.read("head_mass")[step], posterior.head_mass, **half)
        np.testing.assert_allclose(
            trace.read("standard_error")[step], posterior.standard_error[:, 0], **half
        )
        numbers, shares = trace.read("image_numbers")[step], trace.read("image_shares")[step]
        assert shares.shape == (NUM, IMAGES_PER_STEP)
        np.testing.assert_allclose(
            shares, np.take_along_axis(image_shares.numpy(), numbers, axis=1)
        )
        np.testing.assert_allclose(
            trace.read("image_unattributed")[step], 1 - image_shares.sum(1), atol=1e-6
        )


def test_weights_and_the_unattributed_share_sum_to_one(traced) -> None:
    trace, _, _ = traced
    total = trace.read("source_weights").astype(float).sum(-1) + trace.read("unattributed")
    np.testing.assert_allclose(total, 1, atol=2e-3)


def test_the_attribution_is_the_mean_over_the_steps_and_sums_to_one(traced) -> None:
    _, writer, given = traced
    every = [posterior.sources.image_shares.dense(NUM_IMAGES) for _, posterior in given]
    mean = sum(every).numpy() / STEPS
    result = writer.result()
    assert result.bytes > 1000
    for sample_shares, told in zip(mean, result.attribution, strict=True):
        heaviest = sample_shares.argsort()[::-1][:10].tolist()
        assert [entry.image for entry in told.images] == heaviest
        assert [entry.label for entry in told.images] == [i % 4 for i in heaviest]
        listed = [entry.share for entry in told.images]
        np.testing.assert_allclose(listed, sample_shares[heaviest], rtol=1e-5)
        assert sum(listed) + told.others + told.unattributed == pytest.approx(1, abs=1e-5)


def test_what_is_no_trace_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"trace\.zarr is no trace that can be read.*again"):
        Trace.open(tmp_path)
    StepStore.create(tmp_path / "trace.zarr", {"format": "sampler-trace", "version": 99})
    with pytest.raises(UserError, match=r"'version': 99.*but this version reads.*'version': 1"):
        Trace.open(tmp_path)
    with pytest.raises(UserError, match=r"trace\.zarr exists already"):
        StepStore.create(tmp_path / "trace.zarr", {})


def test_a_damaged_array_is_told_by_name(traced, tmp_path: Path) -> None:
    trace, _, _ = traced
    chunk = next((tmp_path / "trace.zarr" / "mean" / "c").rglob("0"))
    chunk = chunk if chunk.is_file() else next(p for p in chunk.rglob("*") if p.is_file())
    chunk.write_bytes(b"torn")
    with pytest.raises(UserError, match=r"array mean of .*trace\.zarr cannot be read"):
        _ = trace.read("mean")
    with pytest.raises(UserError, match=r"array nothing of .* cannot be read"):
        _ = trace.read("nothing")


def test_some_samples_or_one_pixel_may_be_read_alone(traced) -> None:
    trace, _, _ = traced
    assert trace.shape == (STEPS, NUM, 1, 7, 6)
    np.testing.assert_array_equal(trace.read("mean", [1, 0]), trace.read("mean")[:, [1, 0]])
    np.testing.assert_array_equal(trace.source_ids(1, 3, 2), trace.source_ids()[:, 1, 3, 2])
