"""What a step learns from: real images, their noise, and nothing but the seed and the step."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from reference.reverse_process import legacy_cosine
from small_networks import few_images, network_config

from patchindex import ImageSet
from sampler.training import TrainConfig
from sampler.training.recipe import Batch, training_batch

SIGNAL = {"cosine": legacy_cosine, "linear": lambda t: 0.99 - 0.97 * t}


@pytest.fixture(scope="module")
def images() -> ImageSet:
    return few_images()


def batch_of(images: ImageSet, step: int = 0, **settings: object) -> Batch:
    config = TrainConfig(**({"steps": 10, "batch_size": 32} | settings))
    return training_batch(images, network_config(num_classes=10), config, step)


def same(one: Batch, other: Batch) -> bool:
    return all(
        getattr(one, name).equal(getattr(other, name)) for name in ("xt", "t", "label", "target")
    )


def test_seed_and_step_determine_a_batch(images) -> None:
    assert same(batch_of(images, 3, seed=1), batch_of(images, 3, seed=1, steps=99))
    assert not same(batch_of(images, 3, seed=1), batch_of(images, 4, seed=1))
    assert not same(batch_of(images, 3, seed=1), batch_of(images, 3, seed=2))


def test_no_global_generator_is_used_or_touched(images) -> None:
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    batch_of(images)
    assert torch.get_rng_state().equal(before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_a_state_is_a_training_image_with_the_noise_that_is_to_be_found(images, schedule) -> None:
    batch = batch_of(images, schedule=schedule)
    clean = images.pixels / 127.5 - 1
    chosen = []
    for xt, t, eps, label in zip(batch.xt, batch.t, batch.target, batch.label, strict=True):
        signal = SIGNAL[schedule](float(t))
        possible = np.sqrt(signal) * clean + np.sqrt(1 - signal) * eps.numpy()
        distance = np.abs(possible - xt.numpy()).max(axis=(1, 2, 3))
        chosen.append(distance.argmin())
        # float32; at t = 0.001 the share of noise is a difference of almost equal numbers
        assert distance.min() < 2e-5
        if signal > 0.01:  # otherwise many images are as near
            assert label == images.labels[chosen[-1]]
    assert len(set(chosen)) > 10


def test_times_are_thousandths_above_zero_up_to_one(images) -> None:
    t = batch_of(images, batch_size=8000).t
    assert t.dtype == torch.float32
    thousandths = (t.double() * 1000).round()
    torch.testing.assert_close(t.double(), thousandths / 1000, rtol=0, atol=1e-7)
    assert (thousandths.min(), thousandths.max()) == (1, 1000)
    assert t.mean() == pytest.approx(0.5, abs=0.02)  # 5 standard errors are 0.016


def test_noise_is_standard_normal_and_new_for_every_image(images) -> None:
    eps = batch_of(images, batch_size=1000).target
    # 64,000 numbers: a standard error of 0.004
    assert float(eps.mean()) == pytest.approx(0, abs=0.02)
    assert float(eps.square().mean()) == pytest.approx(1, abs=0.03)
    assert float((eps[::2] * eps[1::2]).mean()) == pytest.approx(0, abs=0.03)


def test_every_image_is_drawn(images) -> None:
    unlike = ImageSet.from_array(images.pixels, labels=np.arange(len(images)))
    assert len(batch_of(unlike, batch_size=1000).label.unique()) == len(images)


@pytest.mark.parametrize(("conditional", "labelled"), [(False, True), (True, False)])
def test_there_are_no_labels_unless_there_are_some_and_they_are_wanted(
    images, conditional, labelled
) -> None:
    some = images if labelled else ImageSet.from_array(images.pixels)
    config = TrainConfig(steps=1, batch_size=4)
    network = network_config(num_classes=10 if conditional else 0)
    assert training_batch(some, network, config, 0).label is None


def test_the_velocity_gives_back_image_and_noise(images) -> None:
    config = TrainConfig(steps=1, batch_size=32)
    noise = training_batch(images, network_config(), config, 0)
    network = replace(network_config(), prediction="velocity")
    velocity = training_batch(images, network, config, 0)
    assert velocity.xt.equal(noise.xt)
    signal = torch.tensor([legacy_cosine(float(t)) for t in noise.t])[:, None, None, None]
    eps = (1 - signal).sqrt() * noise.xt + signal.sqrt() * velocity.target
    torch.testing.assert_close(eps, noise.target, atol=1e-5, rtol=0)
    x0 = signal.sqrt() * noise.xt - (1 - signal).sqrt() * velocity.target
    nearest = (x0[:, None] - torch.from_numpy(images.pixels / 127.5 - 1)).abs().amax((2, 3, 4))
    assert nearest.min(1).values.max() < 1e-5


def test_a_memory_map_gives_the_same_batches(images, tmp_path) -> None:
    np.save(tmp_path / "pixels.npy", images.pixels)
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    on_disk = ImageSet.from_array(mapped, images.labels)
    assert same(batch_of(on_disk), batch_of(images))
