"""The sampling loop against the published one written out in float64."""

import weakref
from itertools import pairwise

import numpy as np
import pytest
import torch
from reference.brute_search import BruteSearch
from reference.reverse_process import legacy_cosine, reverse_process
from reference.samples import random_images
from reference.score_machines import posterior

from patchindex import ImageSet, UserError
from sampler import ELSMachine, ISMachine, LSMachine, Posterior, sample, sample_steps
from sampler.scales import Scales
from sampler.schedule import plan_steps

STEPS = 6
SCALES = [1, 3, 3, 5, 7, 9]
# float32 states through six steps; low-noise steps turn 1e-6 in a state into 1e-4 in a mean
ATOL = 1e-3


@pytest.fixture
def images(rng: np.random.Generator) -> np.ndarray:
    return random_images(rng, 3, 1, 6, 5)


@pytest.fixture
def noise(rng: np.random.Generator) -> torch.Tensor:
    return torch.from_numpy(rng.standard_normal((2, 1, 6, 5), dtype=np.float32))


def reference_samples(
    images: np.ndarray, noise: torch.Tensor, machine: str, *, reference_steps: bool = False
) -> np.ndarray:
    def denoiser(xt: np.ndarray, alpha_bar: float, patch_size: int) -> np.ndarray:
        return posterior(xt, alpha_bar, images, patch_size, machine=machine).mean

    return np.stack(
        [
            reverse_process(
                denoiser, x.numpy(), SCALES, steps=STEPS, reference_steps=reference_steps
            )
            for x in noise
        ]
    )


@pytest.mark.parametrize("reference_steps", [False, True])
@pytest.mark.parametrize(("name", "cls"), [("ELS", ELSMachine), ("LS", LSMachine)])
def test_samples_equal_the_published_loop(images, noise, name, cls, reference_steps) -> None:
    machine = cls(ImageSet.from_array(images))
    result = sample(machine, noise, scales=SCALES, steps=STEPS, reference_steps=reference_steps)
    expected = reference_samples(images, noise, name, reference_steps=reference_steps)
    np.testing.assert_allclose(result.images, expected, atol=ATOL)


def test_reference_steps_are_not_the_plain_ones(images, noise) -> None:
    plain = reference_samples(images, noise, "ELS")
    shifted = reference_samples(images, noise, "ELS", reference_steps=True)
    assert np.abs(plain - shifted).max() > 10 * ATOL


@pytest.mark.parametrize(
    ("cls", "scale"), [(ISMachine, 3), (LSMachine, 3), (ELSMachine, 7), (ELSMachine, 11)]
)
def test_one_training_image_is_all_that_can_be_sampled(images, noise, cls, scale) -> None:
    # windows of 7 and more make ELS the LS machine: one legal center per pixel
    machine = cls(ImageSet.from_array(images[:1]))
    result = sample(machine, noise, scales=[scale] * 4, steps=4)
    expected = np.broadcast_to(images[:1] / 127.5 - 1, noise.shape)
    np.testing.assert_allclose(result.images, expected, atol=1e-5)


def test_the_ideal_machine_memorizes(images, noise) -> None:
    result = sample(ISMachine(ImageSet.from_array(images)), noise, scales=[3] * 20, steps=20)
    distance = np.abs(result.images.numpy()[:, None] - (images / 127.5 - 1)[None])
    assert distance.max(axis=(2, 3, 4)).min(axis=1).max() < 1e-3


def test_the_last_step_returns_the_posterior_mean(images, noise) -> None:
    machine = ELSMachine(ImageSet.from_array(images))
    alpha_bar = legacy_cosine(1.0)
    result = sample(machine, noise, scales=[3], steps=1)
    expected = machine.posterior(noise, alpha_bar, 3).mean
    torch.testing.assert_close(result.images.float(), expected.float(), rtol=0, atol=1e-5)


def test_the_batch_size_does_not_change_a_sample(images, noise) -> None:
    machine = ELSMachine(ImageSet.from_array(images))
    together = sample(machine, noise, scales=SCALES, steps=STEPS).images
    for b in range(len(noise)):
        alone = sample(machine, noise[b : b + 1], scales=SCALES, steps=STEPS).images
        torch.testing.assert_close(together[b : b + 1], alone, rtol=0, atol=1e-4)


def test_a_retrieved_machine_that_finds_everything_samples_the_same(images, noise) -> None:
    image_set = ImageSet.from_array(images)
    exact = sample(ELSMachine(image_set), noise, scales=SCALES, steps=STEPS).images
    retrieved = ELSMachine(BruteSearch(image_set, scales=(1, 3, 5, 7, 9)), k=90, tail=16)
    found = sample(retrieved, noise, scales=SCALES, steps=STEPS).images
    torch.testing.assert_close(found, exact, rtol=0, atol=ATOL)


def test_a_label_reaches_the_machine(images, noise) -> None:
    labelled = ImageSet.from_array(images, labels=[0, 1, 0])
    result = sample(LSMachine(labelled), noise, scales=[3] * 3, steps=3, label=1)
    expected = np.broadcast_to(images[1:2] / 127.5 - 1, noise.shape)
    np.testing.assert_allclose(result.images, expected, atol=1e-5)


def test_each_step_leads_to_the_next_and_the_last_to_the_sample(images, noise) -> None:
    machine = LSMachine(ImageSet.from_array(images))
    done = list(sample_steps(machine, noise, scales=SCALES, steps=STEPS))
    assert len(done) == STEPS
    assert torch.equal(done[0].xt, noise)
    for before, after in pairwise(done):
        assert after.xt is before.reached
        assert after.step.t == before.step.t_next
    assert torch.equal(done[-1].reached, sample(machine, noise, scales=SCALES, steps=STEPS).images)
    assert torch.equal(done[-1].reached, done[-1].answer.mean)


def test_a_run_holds_no_posterior_but_the_last(images, noise) -> None:
    machine = LSMachine(ImageSet.from_array(images))
    posterior, told, held = machine.posterior_of, [], []

    def watched(*arguments, **options) -> Posterior:
        found = posterior(*arguments, **options)
        told.append(weakref.ref(found.standard_error))
        held.append(sum(reference() is not None for reference in told))
        return found

    machine.posterior_of = watched
    sample(machine, noise, scales=SCALES, steps=STEPS)
    assert len(held) == STEPS > 2
    assert max(held) == 2


def test_scales_are_asked_for_as_a_run_is_asked_for_them(images, noise, tmp_path) -> None:
    machine, sigmas = ELSMachine(ImageSet.from_array(images)), (0.5, 5.0)
    file = tmp_path / "scales.yaml"
    file.write_text("schedule: sigmas\n0.5: 3\n5.0: 5\n", encoding="utf-8")
    told = [str(file), Scales(patch_sizes=(3, 5), sigmas=sigmas)]
    for scales in told:
        found = sample(machine, noise, scales=scales, steps=3)
        expected = [Scales(patch_sizes=(3, 5), sigmas=sigmas).at(s.sigma) for s in found.steps]
        assert [step.patch_size for step in found.steps] == expected
        steps = list(sample_steps(machine, noise, scales=scales, steps=3))
        assert steps[-1].reached.equal(found.images)
    as_text = sample(machine, noise, scales="3,5,5", steps=3).images
    assert as_text.equal(sample(machine, noise, scales=(3, 5, 5), steps=3).images)
    with pytest.raises(UserError, match=r"nowhere\.yaml"):
        sample(machine, noise, scales="nowhere.yaml", steps=3)


def test_the_noise_is_left_alone(images, noise) -> None:
    before = noise.clone()
    sample(LSMachine(ImageSet.from_array(images)), noise, scales=SCALES, steps=STEPS)
    assert noise.equal(before)


@pytest.mark.parametrize(
    ("num_scales", "expected"),
    [(6, [6, 5, 4, 3, 2, 1]), (12, [12, 10, 8, 6, 4, 2]), (2, [2, 2, 1, 1, 1, 1]), (1, [1] * 6)],
)
def test_scales_are_spread_evenly_over_time(num_scales, expected) -> None:
    steps = plan_steps(range(1, num_scales + 1), 6, "cosine")
    assert [step.patch_size for step in steps] == expected
    np.testing.assert_allclose([step.t for step in steps], np.arange(6, 0, -1) / 6)


def test_reports_have_the_sizes_that_were_compared(images, noise, caplog) -> None:
    image_set = ImageSet.from_array(images)
    retrieved = ELSMachine(BruteSearch(image_set, scales=(1, 3)), k=9, tail=16)
    for machine, compared in (
        (retrieved, [3, 3, 1]),
        (ELSMachine(image_set), [7, 5, 1]),
        (ISMachine(image_set), [None] * 3),
    ):
        result = sample(machine, noise, scales=[1, 5, 7], steps=3)
        assert [step.patch_size for step in result.steps] == compared
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "scale 5 (scale 3 serves in its place), scale 7 (scale 3 serves" in warning


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps is 0. Give at least 1"),
        ({"steps": 1, "reference_steps": True}, "steps is 1. Give at least 2"),
        ({"scales": []}, "there are no scales. Give at least one odd patch size"),
        ({"schedule": "quadratic"}, "schedule is 'quadratic'. Give one of cosine"),
    ],
)
def test_runs_that_cannot_be_are_refused(images, noise, options, message) -> None:
    machine = LSMachine(ImageSet.from_array(images))
    with pytest.raises(UserError, match=message):
        sample(machine, noise, **{"scales": [3], "steps": 2} | options)
