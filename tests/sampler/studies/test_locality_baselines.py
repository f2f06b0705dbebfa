"""Masks of the Wiener filter and averaged crops, against loops in float64."""

import numpy as np
import pytest
import torch
from reference.locality import crops_denoiser, mask_denoiser
from small_index import small_images

from patchindex import ImageSet
from patchindex.images import to_unit
from sampler import ISMachine
from sampler.denoiser import Denoiser, Images
from sampler.errors import SamplerConfigError
from sampler.studies import locality_baselines
from sampler.studies.locality_baselines import (
    BASELINES,
    lukoianov_denoiser,
    pspc_denoiser,
    published_side,
)

IMAGES = small_images(60, 6, channels=2)
UNIT = to_unit(IMAGES.pixels).numpy()
SIGMAS = [0.1, 0.7, 5.0]


def states(sigma: float, rng: np.random.Generator, num: int = 3) -> Images:
    noise = rng.standard_normal((num, *UNIT.shape[1:]))
    return torch.from_numpy((UNIT[:num] + sigma * noise).astype(np.float32))


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("threshold", [0.02, 0.2])
def test_masks_are_those_of_a_loop(sigma, threshold, rng) -> None:
    y = states(sigma, rng)
    found = lukoianov_denoiser(IMAGES, threshold=threshold)(y, sigma)
    for state, mean in zip(y.numpy(), found.numpy(), strict=True):
        # float32 distances of some hundred sigma squared: log weights are right to 1e-4
        np.testing.assert_allclose(
            mean, mask_denoiser(UNIT, state, sigma, threshold), atol=2e-4, rtol=0
        )


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("side", [1, 3, 4, 9])
def test_crops_are_those_of_a_loop(sigma, side, rng) -> None:
    y = states(sigma, rng)
    found = pspc_denoiser(IMAGES, side_at=lambda _: side)(y, sigma)
    for state, mean in zip(y.numpy(), found.numpy(), strict=True):
        np.testing.assert_allclose(mean, crops_denoiser(UNIT, state, sigma, side), atol=2e-4)


def test_crops_of_images_that_are_not_square(rng) -> None:
    images = ImageSet.from_array(np.ascontiguousarray(IMAGES.pixels[:, :, :4]), layout="nchw")
    y = states(0.3, rng)[:, :, :4]
    found = pspc_denoiser(images, side_at=lambda _: 5)(y, 0.3)
    np.testing.assert_allclose(
        found[1], crops_denoiser(UNIT[:, :, :4], y[1].numpy(), 0.3, 5), atol=2e-4
    )


def all_kinds(label: torch.Tensor | None = None) -> list[Denoiser]:
    return [
        lukoianov_denoiser(IMAGES, label, threshold=0.1),
        pspc_denoiser(IMAGES, label, side_at=lambda _: 3),
    ]


@pytest.mark.parametrize("kind", [0, 1])
def test_neither_batch_nor_block_matters(kind, rng, monkeypatch) -> None:
    y = states(0.5, rng, 4)
    whole = all_kinds()[kind](y, 0.5)
    monkeypatch.setattr(locality_baselines, "BLOCK_NUMBERS", 7 * y[0].numel())
    blocks = all_kinds()[kind](y, 0.5)  # of one image
    alone = torch.cat([all_kinds()[kind](state[None], 0.5) for state in y])  # of seven
    for other in (blocks, alone):
        torch.testing.assert_close(other, whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", [0, 1])
def test_each_state_meets_images_of_its_own_class(kind, rng) -> None:
    y = states(0.4, rng)
    assert IMAGES.labels is not None
    label = torch.from_numpy(IMAGES.labels[:3].astype(np.int64))
    found = all_kinds(label)[kind](y, 0.4)
    for i, value in enumerate(label.tolist()):
        members, state = UNIT[IMAGES.labels == value], y[i].numpy()
        expected = (
            mask_denoiser(members, state, 0.4, 0.1) if kind == 0
            else crops_denoiser(members, state, 0.4, 3)
        )  # fmt: skip
        np.testing.assert_allclose(found[i], expected, atol=2e-4)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_masks_and_crops_of_everything_are_the_ideal_machine(sigma, rng) -> None:
    y = states(sigma, rng)
    ideal = ISMachine(IMAGES)(y, sigma)
    for denoiser in (
        lukoianov_denoiser(IMAGES, threshold=0.0),
        pspc_denoiser(IMAGES, side_at=lambda _: 6),
    ):
        torch.testing.assert_close(denoiser(y, sigma), ideal, atol=2e-4, rtol=0)


@pytest.mark.parametrize("name", ["lukoianov", "pspc"])
def test_much_noise_gives_the_mean_image(name, rng) -> None:
    found = BASELINES[name](IMAGES, None, None)(states(1.0, rng), 1e4)
    np.testing.assert_allclose(found, np.stack([UNIT.mean(axis=0)] * 3), atol=2e-3)


@pytest.mark.parametrize("name", ["lukoianov", "pspc"])
def test_little_noise_gives_training_images_back(name, rng) -> None:
    found = BASELINES[name](IMAGES, None, None)(torch.from_numpy(UNIT[5:8]), 1e-3)
    np.testing.assert_allclose(found, UNIT[5:8], atol=1e-4)


def test_coordinates_that_all_images_agree_on_keep_their_value(rng) -> None:
    pixels = IMAGES.pixels.copy()
    pixels[:, 0, 0] = 7
    images = ImageSet.from_array(pixels, layout="nchw")
    found = lukoianov_denoiser(images)(states(0.5, rng), 0.5)
    np.testing.assert_allclose(found[:, 0, 0], 7 / 127.5 - 1, atol=1e-6)
    expected = mask_denoiser(
        to_unit(pixels).numpy(), states(0.5, np.random.default_rng(0))[0].numpy(), 0.5, 0.05
    )
    np.testing.assert_allclose(found[0], expected, atol=2e-4)


def test_sides_are_the_published_ones() -> None:
    published = {
        80.0: 32,
        9.0: 32,
        5.3: 23,
        3.26: 15,
        1.92: 11,
        1.09: 7,
        0.585: 5,
        0.296: 3,
        0.002: 3,
    }
    assert {sigma: published_side(sigma) for sigma in published} == published


def test_a_threshold_that_is_none_is_refused() -> None:
    with pytest.raises(SamplerConfigError, match=r"threshold is 2.0\. Give a share from 0 to 1"):
        lukoianov_denoiser(IMAGES, threshold=2.0)
