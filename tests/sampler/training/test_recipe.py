"""The recipes: the paper's numbers, and settings that no training can have."""

from dataclasses import replace
from itertools import pairwise

import pytest
from small_networks import few_images

from patchindex import ImageSet
from sampler.errors import NetworkError
from sampler.training import TrainConfig, network_for, recipe


@pytest.mark.parametrize(
    ("num_images", "steps"), [(60_000, 300 * 469), (50_000, 300 * 391), (128, 300), (129, 600)]
)
def test_the_papers_recipe_is_300_epochs_of_batches_of_128(num_images, steps) -> None:
    config = recipe("paper", num_images)
    assert (config.steps, config.batch_size, config.learning_rate) == (steps, 128, 1e-4)
    assert (config.averaging, config.schedule) == (0, "cosine")


def test_the_papers_rate_decays_by_the_same_factor_every_step() -> None:
    config = recipe("paper", 50_000)
    assert config.rate_at(0) == 1e-4
    for step in (0, 1, 1000, 100_000):
        assert config.rate_at(step + 1) / config.rate_at(step) == pytest.approx(0.999965, rel=1e-9)
    # over 300 epochs of CIFAR-10, 0.999965 ** 117300
    assert config.rate_at(config.steps) == pytest.approx(0.0165e-4, rel=0.01)


def test_epochs_follow_the_batch_size_and_given_steps_win() -> None:
    assert recipe("paper", 1000, batch_size=50).steps == 300 * 20
    assert recipe("paper", 1000, steps=7, batch_size=50).steps == 7
    assert recipe("small", 1000, steps=7, seed=3) == replace(recipe("small", 5), steps=7, seed=3)


def test_a_cosine_begins_at_the_rate_and_ends_near_zero() -> None:
    config = recipe("small", 60_000)
    assert config.decay == "cosine"
    rates = [config.rate_at(step) for step in range(config.steps)]
    assert rates[0] == config.learning_rate
    assert rates[config.steps // 2] == pytest.approx(config.learning_rate / 2)
    assert 0 < rates[-1] < 1e-6 * rates[0]
    assert all(later < earlier for earlier, later in pairwise(rates))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps is 0. Give at least 1"),
        ({"batch_size": 0}, "batch_size is 0. Give at least 1"),
        ({"save_every": 0}, "save_every is 0. Give at least 1"),
        ({"seed": -1}, "seed is -1. Give at least 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0. Give a number above zero"),
        ({"learning_rate": float("nan")}, "learning_rate is nan. Give a number above zero"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0. Give a number above zero, and at most"),
        ({"learning_rate": float("inf")}, "learning_rate is inf. Give a number above zero"),
        ({"learning_rate": 1e39}, r"learning_rate is 1e\+39. .* at most 1e\+30"),
        ({"seed": 2**63}, "seed is 9223372036854775808. Give at most 9223372036854775807"),
        ({"averaging": 1.0}, "averaging is 1.0 and .* Give factors below 1"),
        ({"averaging": -0.1}, "averaging is -0.1 and"),
        ({"decay_per_step": 0.0}, "decay_per_step 0.0. Give factors below 1, the second above 0"),
        ({"decay_per_step": 1.1}, "decay_per_step 1.1. Give factors"),
        ({"precision": "half"}, "precision is 'half'. Give one of auto, float32, bfloat16"),
        ({"decay": "linear"}, "decay is 'linear'. Give one of exponential, cosine"),
        ({"schedule": "sine"}, "schedule is 'sine'. Give one of cosine, cosine_offset, linear"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message, unchecked) -> None:
    with pytest.raises(NetworkError, match=message):
        TrainConfig(**({"steps": 10} | settings))


@pytest.mark.parametrize("preset", ["small", "paper"])
def test_a_recipe_checks_what_it_is_told(preset) -> None:
    with pytest.raises(NetworkError, match="batch_size is 0"):
        recipe(preset, 1000, batch_size=0)


def test_a_recipe_that_is_not_there_is_refused() -> None:
    with pytest.raises(NetworkError, match=r"preset is 'huge'. Give one of small, paper"):
        recipe("huge", 1000)


@pytest.mark.parametrize(("conditional", "num_classes"), [(False, 0), (True, 10)])
def test_a_network_is_made_for_the_images(conditional, num_classes) -> None:
    config = network_for(few_images(4), "unet", "small", "circular", conditional=conditional)
    assert config.image_shape == (1, 8, 8)
    assert (config.architecture, config.padding) == ("unet", "circular")
    assert config.sizes.widths == (32, 64, 128)
    assert config.num_classes == num_classes


def test_the_paper_predicts_noise_and_the_small_recipe_velocity() -> None:
    predictions = {
        preset: network_for(few_images(4), "resnet", preset, "zeros", conditional=False).prediction
        for preset in ("paper", "small")
    }
    assert predictions == {"paper": "noise", "small": "velocity"}


def test_a_conditional_network_needs_labels() -> None:
    unlabelled = ImageSet.from_array(few_images(4).pixels, name="few")
    with pytest.raises(
        NetworkError,
        match=r"the images of few have no labels to train a .* Leave out --conditional, or give",
    ):
        network_for(unlabelled, "resnet", "small", "zeros", conditional=True)


def test_labels_too_large_for_classes_are_refused() -> None:
    images = few_images(4)
    wild = ImageSet.from_array(images.pixels, labels=[0, 1, 2, 2**40])
    with pytest.raises(NetworkError, match=r"run to 1099511627776, .* Number at most 1,000,000 cl"):
        network_for(wild, "unet", "small", "zeros", conditional=True)
