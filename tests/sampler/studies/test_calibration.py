"""Calibration finds the scales that are known to be there, and says what is wrong with input."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from machine_network import machine_network
from reference.score_machines import posterior
from small_index import build_small, small_images

from patchindex import ImageSet, UserError
from sampler import ELSMachine
from sampler.follower import Follower
from sampler.results.run_result import SamplerConfig
from sampler.results.study_figures import scales_figure
from sampler.scales import published_scales, resolve_scales
from sampler.schedule import plan_steps
from sampler.studies.calibrate import (
    CalibrateConfig,
    Calibration,
    calibrate,
    calibrate_to_images,
)
from sampler.studies.held_out import hold_out

IMAGES = small_images(25, 10)
HIDDEN = (3, 5, 3, 9, 7)
CONFIG = CalibrateConfig(sampling=SamplerConfig(num=2, steps=5), candidates=(9, 3, 5, 7))


def test_the_scales_of_a_machine_that_poses_as_a_network_are_found() -> None:
    network = machine_network(ELSMachine(IMAGES), HIDDEN)
    run = calibrate(network, IMAGES, config=CONFIG)
    assert run.calibration.scales() == dict(zip((0.2, 0.4, 0.6, 0.8, 1.0), HIDDEN, strict=True))
    best = run.calibration.merit.amax(dim=1)
    torch.testing.assert_close(best, torch.ones_like(best), atol=1e-5, rtol=0)


def test_a_conditional_network_is_held_against_the_images_of_its_classes() -> None:
    network = machine_network(ELSMachine(IMAGES), HIDDEN, num_classes=10)
    images = small_images(60, 10)
    network = machine_network(ELSMachine(images), HIDDEN, num_classes=images.num_classes)
    run = calibrate(network, images, config=CONFIG)
    assert tuple(run.calibration.scales().values()) == HIDDEN


def test_retrieval_serves_as_the_machine_with_the_scales_of_its_index(tmp_path) -> None:
    index = build_small(tmp_path / "small.zarr", small_images(40, 16))
    scales = (3, 7, 7)
    network = machine_network(ELSMachine(index.images), scales)
    config = CalibrateConfig(sampling=SamplerConfig(num=2, steps=3, k=64, tail=1024))
    run = calibrate(network, index, config=config)
    assert run.calibration.candidates == (3, 7)
    assert tuple(run.calibration.scales().values()) == scales


def test_without_a_network_merit_is_minus_the_error_on_images_held_out(rng) -> None:
    held, rest = hold_out(IMAGES, 2, seed=1)
    steps = plan_steps((3,), 3, "cosine")
    noise = torch.from_numpy(rng.standard_normal(held.shape).astype(np.float32))
    machine = Follower(ELSMachine(rest), None)
    found = calibrate_to_images(held, machine, (3, 5), noise=noise, steps=steps)
    for i, step in enumerate(steps):
        for j, patch_size in enumerate((3, 5)):
            x0, eps = held[1].double().numpy(), noise[1].double().numpy()
            xt = np.sqrt(step.alpha_bar) * x0 + np.sqrt(1 - step.alpha_bar) * eps
            mean = posterior(xt, step.alpha_bar, rest.pixels, patch_size).mean
            error = ((mean - x0) ** 2).mean()
            assert float(found.merit[i, j, 1]) == pytest.approx(-error, rel=1e-4)


def test_images_held_out_are_in_no_dictionary() -> None:
    held, rest = hold_out(IMAGES, 5, seed=2)
    assert len(held) == 5
    assert len(rest) == len(IMAGES) - 5
    pixels = ((held + 1) * 127.5).round().byte().numpy()
    together = np.concatenate([pixels, rest.pixels])
    assert sorted(image.tobytes() for image in together) == sorted(
        image.tobytes() for image in IMAGES.pixels
    )
    assert rest.labels is not None
    assert len(rest.labels) == len(rest)


def test_of_one_class_nothing_else_is_held_out_or_compared() -> None:
    label = int(np.bincount(IMAGES.labels).argmax())
    sampling = SamplerConfig(num=2, steps=2, label=label)
    config = CalibrateConfig(sampling=sampling, candidates=(3, 5))
    of_class = IMAGES.with_label(label)
    alone = replace(config, sampling=replace(sampling, label=None))
    expected = calibrate(None, of_class, config=alone).calibration.merit
    torch.testing.assert_close(calibrate(None, IMAGES, config=config).calibration.merit, expected)


def test_the_median_of_an_even_number_is_the_lower_middle_one() -> None:
    merit = torch.zeros(1, 3, 4)
    for sample, best in enumerate([2, 0, 1, 2]):
        merit[0, best, sample] = 1
    found = Calibration(times=(1.0,), candidates=(3, 5, 7), merit=merit)
    assert found.best() == (5,)
    assert (found.best(0.0), found.best(1.0)) == ((3,), (7,))


def test_the_file_it_writes_is_what_the_sampler_reads(tmp_path) -> None:
    network = machine_network(ELSMachine(IMAGES), HIDDEN)
    path = tmp_path / "scales.yaml"
    path.write_text(calibrate(network, IMAGES, config=CONFIG).result.scales_yaml)
    assert resolve_scales(str(path)) == HIDDEN


def test_the_published_scales_of_such_a_network_stand_beside() -> None:
    images = ImageSet.from_array(IMAGES.pixels, IMAGES.labels, name="fashion_mnist")
    run = calibrate(machine_network(ELSMachine(images), HIDDEN), images, config=CONFIG)
    assert run.result.published == "fashion_mnist_resnet_zeros"
    assert calibrate(None, IMAGES, config=CONFIG).result.published is None
    lines = scales_figure(run.result).axes[0].lines
    published = [line for line in lines if line.get_label() == "published"]
    expected = published_scales()["fashion_mnist_resnet_zeros"]
    np.testing.assert_array_equal(published[0].get_ydata(), expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "0.25: 3\n0.5: 3\n1.0: 5\n",
            r"lack a patch size for t = 0.75. Give one for each of the 4",
        ),
        ("0.5: 3\n0.75: 3\n1.0: 5\n", r"lack a patch size for t = 0.25"),
        ("0.25: 3\n0.5: 3\n0.75: 5\n", r"lack a patch size for t = 1"),
        ("low: 3\n1.0: 5\n", "have the times 'low', 1.0. Give a patch size for each time t = 1/n"),
        ("0.5: 4\n1.0: 5\n", "contain 4. Give odd positive whole numbers"),
        ("{}", "have the times . Give a patch size"),
    ],
)
def test_a_scales_file_that_lacks_a_noise_level_is_refused(tmp_path, text, message) -> None:
    path = tmp_path / "scales.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        resolve_scales(str(path))


def test_what_cannot_be_calibrated_is_refused(tmp_path) -> None:
    network = machine_network(ELSMachine(IMAGES), HIDDEN)
    with pytest.raises(
        UserError, match=r"was trained on images of 1x10x10, but those of small are 1x8"
    ):
        calibrate(network, small_images(10, 8), config=CONFIG)
    conditional = machine_network(ELSMachine(IMAGES), HIDDEN, num_classes=10)
    unlabelled = ImageSet.from_array(IMAGES.pixels, name="plain")
    with pytest.raises(
        UserError, match=r"with 10 classes, but plain has no labels. Give the images"
    ):
        calibrate(conditional, unlabelled, config=CONFIG)
    with pytest.raises(UserError, match=r"among the candidates contain 4. Give odd"):
        calibrate(network, IMAGES, config=replace(CONFIG, candidates=(3, 4)))
    with pytest.raises(
        UserError, match=r"25 images cannot be held out of 25. Give --num from 1 to 24"
    ):
        hold_out(IMAGES, 25, seed=0)
    index = build_small(tmp_path / "small.zarr", small_images(40, 16))
    with pytest.raises(UserError, match=r"an index holds all of them. Give --dataset"):
        calibrate(None, index, config=CalibrateConfig())


def test_the_machine_has_the_border_of_the_networks_padding(tmp_path) -> None:
    circular = machine_network(ELSMachine(IMAGES, "circular"), HIDDEN, padding="circular")
    found = tuple(calibrate(circular, IMAGES, config=CONFIG).calibration.scales().values())
    assert found[:-1] == HIDDEN[:-1]  # at t = 1 all scores are alike to the last digit
    asked = replace(CONFIG, sampling=replace(CONFIG.sampling, boundary="zeros"))
    with pytest.raises(UserError, match=r"pads with circular, but boundary zeros was asked for"):
        calibrate(circular, IMAGES, config=asked)
    index = build_small(tmp_path / "small.zarr", small_images(40, 10), scales=(3, 7))
    with pytest.raises(UserError, match=r"but the index was built for boundary zeros. Give an"):
        calibrate(circular, index, config=replace(CONFIG, candidates=(3, 7)))
