"""One-step denoising of held-out images, against loops, and where its outcome is known."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from figures import assert_drawn
from reference.locality import crops_denoiser, mask_denoiser
from reference.score_machines import posterior
from small_index import build_small, small_images

from patchindex import ImageSet
from patchindex.images import to_unit
from sampler import ELSMachine
from sampler.denoiser import Images
from sampler.errors import NetworkError, ResultsError, SamplerConfigError
from sampler.networks import NetworkDenoiser
from sampler.noise import initial_noise
from sampler.results.denoise_result import MeanOverImages, read_denoising
from sampler.results.run_result import SamplerConfig
from sampler.results.tables import denoising_lines
from sampler.schedule import signal_share
from sampler.studies.denoise import DENOISERS, DenoiseConfig, denoise_held_out
from sampler.studies.held_out import draw_from, hold_out_of
from sampler.studies.locality_baselines import published_side

ALL = small_images(40, 6)
SAMPLING = SamplerConfig(num=3, seed=4, scales="3", sigmas=(2.0, 0.3))
CONFIG = DenoiseConfig(sampling=SAMPLING)
QUICK = DenoiseConfig(sampling=SAMPLING, denoisers=("is",))
HELD = hold_out_of(ALL, SAMPLING)
REST = HELD.rest.images


def noisy(sigma: float) -> np.ndarray:
    return (HELD.images + sigma * initial_noise(3, REST, 4)).numpy()


def brute_force(name: str, y: np.ndarray, sigma: float) -> np.ndarray:
    unit = to_unit(REST.pixels).numpy()
    if name in ("is", "ls", "els"):
        share = signal_share(sigma)
        size = None if name == "is" else 3
        return posterior(np.sqrt(share) * y, share, REST.pixels, size, machine=name.upper()).mean
    if name == "lukoianov":
        return mask_denoiser(unit, y, sigma, 0.005)
    if name == "pspc":
        return crops_denoiser(unit, y, sigma, published_side(sigma))
    flat = unit.reshape(len(unit), -1).astype(np.float64)
    covariance = np.cov(flat.T, bias=True)
    gain = np.linalg.solve(covariance + sigma**2 * np.eye(flat.shape[1]), covariance)
    return (flat.mean(0) + (y.reshape(-1) - flat.mean(0)) @ gain).reshape(y.shape)


def test_every_error_is_that_of_a_loop() -> None:
    found = denoise_held_out(REST, HELD.images, config=CONFIG)
    assert tuple(found.errors) == DENOISERS
    for name in DENOISERS:
        for at, sigma in enumerate(CONFIG.sigmas):
            clean, y = HELD.images.numpy().astype(np.float64), noisy(sigma)
            means = np.stack([brute_force(name, state, sigma) for state in y])
            expected = ((means - clean) ** 2).mean(axis=(1, 2, 3))
            np.testing.assert_allclose(found.errors[name][at], expected, rtol=2e-3, atol=1e-5)
            level = found.result.levels[name][at]
            centered = clean - clean.mean(axis=(1, 2, 3), keepdims=True)
            spread = (centered**2).mean(axis=(1, 2, 3))
            np.testing.assert_allclose(level.R2, np.median(1 - expected / spread), atol=2e-3)


def test_intervals_are_of_the_mean_and_of_the_difference_in_pairs() -> None:
    found = denoise_held_out(REST, HELD.images, config=CONFIG)
    errors, els = found.errors["pspc"][1].numpy(), found.errors["els"][1].numpy()
    level = found.result.levels["pspc"][1]
    for told, values in ((level.error, errors), (level.beyond_els, errors - els)):
        assert told is not None
        np.testing.assert_allclose(told.mean, values.mean(), rtol=1e-9)
        half = 1.96 * values.std(ddof=1) / np.sqrt(3)
        np.testing.assert_allclose(told.half_width, half, rtol=1e-9)
    assert found.result.levels["els"][1].beyond_els is None
    assert np.isnan(MeanOverImages.of(torch.tensor([0.5])).half_width)


def test_a_network_that_knows_the_answer_errs_nowhere() -> None:
    def perfect(y: Images, sigma: float) -> Images:
        return HELD.images[torch.arange(len(y)) % len(HELD.images)]  # tried on others, too

    found = denoise_held_out(REST, HELD.images, network=perfect, config=QUICK)
    assert found.result.network == "perfect"
    assert all(level.error.mean == 0 for level in found.result.levels["network"])
    assert all(level.R2 == 1 for level in found.result.levels["network"])


def test_a_network_that_does_nothing_errs_by_the_noise() -> None:
    found = denoise_held_out(REST, HELD.images, network=lambda y, _: y, config=QUICK)
    noise = initial_noise(3, REST, 4).double()
    for at, sigma in enumerate(CONFIG.sigmas):
        expected = (sigma * noise).square().flatten(1).mean(1)
        torch.testing.assert_close(found.errors["network"][at], expected, rtol=1e-5, atol=0)


def test_only_a_network_with_classes_is_told_them(caplog) -> None:
    def labelled(y: Images, sigma: torch.Tensor, label: torch.Tensor | None) -> Images:
        return ELSMachine(REST).denoise(y, sigma.float(), 3, label=label)

    network = NetworkDenoiser(labelled, num_classes=REST.num_classes)
    config = replace(CONFIG, denoisers=("els",))
    with caplog.at_level(logging.INFO):
        found = denoise_held_out(
            REST, HELD.images, network=network, config=config, label=HELD.label
        )
    assert "the network is told the class of each image" in caplog.text
    assert found.result.network_labels
    assert HELD.label is not None
    y = torch.from_numpy(noisy(0.3))
    means = ELSMachine(REST).denoise(y, 0.3, 3, label=HELD.label)
    expected = (means - HELD.images).double().square().flatten(1).mean(1)
    torch.testing.assert_close(found.errors["network"][1], expected, rtol=1e-3, atol=1e-6)
    plain = denoise_held_out(REST, HELD.images, config=config, label=HELD.label)
    torch.testing.assert_close(found.errors["els"], plain.errors["els"])
    with pytest.raises(NetworkError, match=r"needs one for each sample"):
        denoise_held_out(REST, HELD.images, network=network, config=config)


def test_a_label_keeps_the_images_of_its_class_for_all() -> None:
    images = small_images(120, 6)
    sampling = replace(SAMPLING, label=1)
    held = hold_out_of(images, sampling)
    assert held.label is not None
    assert set(held.label.tolist()) == {1}
    assert len(held.rest.images) == 117
    config = DenoiseConfig(sampling=sampling)
    found = denoise_held_out(held.rest, held.images, config=config)
    alone = denoise_held_out(
        held.rest.images.with_label(1), held.images, config=replace(config, sampling=SAMPLING)
    )
    for name, errors in found.errors.items():
        torch.testing.assert_close(errors, alone.errors[name], rtol=1e-4, atol=1e-6, msg=name)


def test_retrieval_serves_els_and_denoises_other_images(tmp_path) -> None:
    index = build_small(tmp_path / "small.zarr", small_images(40, 16))
    sampling = SamplerConfig(num=2, scales="3,7", sigmas=(0.5,), k=64, tail=1024)
    with pytest.raises(SamplerConfigError, match=r"an index holds all .* with --held-out"):
        hold_out_of(index, sampling)
    held = draw_from(small_images(60, 16), index, sampling)
    config = DenoiseConfig(sampling=sampling, denoisers=("els",))
    found = denoise_held_out(held.rest, held.images, config=config, origin=held.origin)
    exact = denoise_held_out(index.images, held.images, config=config)
    torch.testing.assert_close(found.errors["els"], exact.errors["els"], rtol=0.05, atol=1e-3)
    assert found.result.title == "small, 40 images: 2 images of small"


def test_neither_an_image_nor_a_level_depends_on_the_others() -> None:
    whole = denoise_held_out(REST, HELD.images, config=CONFIG)
    one = replace(CONFIG, sampling=replace(SAMPLING, sigmas=(0.3,)))
    alone = denoise_held_out(REST, HELD.images[:1], config=one)
    for name, errors in whole.errors.items():
        torch.testing.assert_close(errors[1:, :1], alone.errors[name], rtol=1e-4, atol=1e-6)


def test_steps_are_told_of_each_denoiser() -> None:
    told: list[tuple[str, float, int]] = []
    config = replace(QUICK, denoisers=("is", "pspc"))
    denoise_held_out(REST, HELD.images, config=config, on_step=lambda *step: told.append(step))
    whole = [step for step in dict.fromkeys(told) if step[1] == int(step[1])]
    assert whole == [("is", 1, 2), ("is", 2, 2), ("pspc", 1, 2), ("pspc", 2, 2)]


@pytest.mark.slow
def test_what_is_written_is_read_back_and_drawn(tmp_path) -> None:
    found = denoise_held_out(REST, HELD.images, network=lambda y, _: y, config=CONFIG)
    found.write(tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "denoise.json", "denoise.png",
    ]  # fmt: skip
    assert read_denoising(tmp_path / "out" / "denoise.json") == found.result
    assert found.result.title == "small, 37 images: 3 images held out"
    assert_drawn(tmp_path / "out" / "denoise.png")
    text = (tmp_path / "out" / "denoise.json").read_text()
    (tmp_path / "out" / "denoise.json").write_text(text.replace('"device": "cpu"', '"device": 3'))
    with pytest.raises(ResultsError, match="device is 3, but should be text"):
        read_denoising(tmp_path / "out" / "denoise.json")


def test_any_subset_is_drawn_and_listed(tmp_path) -> None:
    for names in (("wiener", "pspc"), ("els",)):
        config = replace(CONFIG, denoisers=names)
        found = denoise_held_out(REST, HELD.images[:1], config=config)
        found.write(tmp_path)  # of one image there is no interval
        heads = [line for line in denoising_lines(found.result) if line.startswith("   sigma")]
        assert len(heads) == (4 if "els" in names else 3)
        assert read_denoising(tmp_path / "denoise.json").levels.keys() == set(names)


def test_a_network_that_fails_is_told_by_its_noise_level() -> None:
    config = replace(CONFIG, denoisers=("els",))
    with pytest.raises(NetworkError, match="returns NaN or infinite numbers for finite states of"):
        denoise_held_out(REST, HELD.images, network=lambda y, _: y * torch.inf, config=config)


def test_training_images_among_the_held_out_are_told(caplog) -> None:
    held = draw_from(ALL, REST, replace(SAMPLING, seed=5))
    denoise_held_out(REST, held.images, config=QUICK)
    assert "held-out images are among the training images" in caplog.text
    caplog.clear()
    denoise_held_out(REST, HELD.images, config=QUICK)
    assert "among the training images" not in caplog.text


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(2, 1, 5, 6), r"have shape \(2, 1, 5, 6\), but those of small are 1x6x6"),
        (torch.zeros(0, 1, 6, 6), r"have shape \(0, 1, 6, 6\), .* Give shape \[b, 1, 6, 6\]"),
        (torch.full((1, 1, 6, 6), 1.5), r"values outside \[-1, 1\]"),
        (torch.full((1, 1, 6, 6), torch.nan), r"values outside \[-1, 1\]"),
    ],
)
def test_images_that_cannot_be_held_out_are_refused(images, message) -> None:
    with pytest.raises(SamplerConfigError, match=message):
        denoise_held_out(REST, images, config=QUICK)


def test_no_more_images_are_held_out_than_there_are() -> None:
    many = replace(SAMPLING, num=40)
    with pytest.raises(SamplerConfigError, match=r"40 images cannot be held out of 40"):
        hold_out_of(ALL, many)
    with pytest.raises(SamplerConfigError, match=r"40 images .* but small has 37. Give --num"):
        draw_from(REST, ALL, many)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("is", "cls"), r"denoisers names 'cls'\. Give some of is, ls, els, wiener"),
        (("is", "is"), r"denoisers names 'is' more than once"),
    ],
)
def test_names_of_no_denoiser_are_refused(names, message) -> None:
    with pytest.raises(SamplerConfigError, match=message):
        DenoiseConfig(denoisers=names)


def test_without_sigmas_there_are_eight() -> None:
    assert DenoiseConfig(sampling=SamplerConfig()).sigmas == DenoiseConfig().sigmas
    assert len(DenoiseConfig().sigmas) == 8


def test_published_scales_serve_what_was_held_out_of() -> None:
    images = replace(small_images(30, 28), name="fashion_mnist")
    sampling = SamplerConfig(num=2, sigmas=(0.5,))
    held = hold_out_of(images, sampling)
    config = DenoiseConfig(sampling=sampling, denoisers=("ls",))
    found = denoise_held_out(held.rest, held.images, config=config)
    assert found.result.scales.name == "fashion_mnist_resnet_zeros"
    assert isinstance(held.rest, ImageSet)
