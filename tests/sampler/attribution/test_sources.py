"""The sources that a machine names: the heaviest patches, their true weights, and their images."""

import numpy as np
import pytest
import torch
from numpy import ndarray
from reference.brute_search import BruteSearch
from reference.samples import noisy_states, random_images

from patchindex import ImageSet
from sampler import ELSMachine, ISMachine
from sampler.exact import LEAST_LISTED
from sampler.posterior import Posterior

SIGNAL, SIDE, NUM_SOURCES = 0.9, 7, 5


@pytest.fixture
def images(rng: np.random.Generator) -> ImageSet:
    return ImageSet.from_array(random_images(rng, 6, 2, SIDE, SIDE), labels=[0, 1, 1, 0, 1, 0])


@pytest.fixture
def xt(rng: np.random.Generator, images: ImageSet) -> torch.Tensor:
    return torch.from_numpy(noisy_states(rng, images.pixels, 3, SIGNAL))


def cut_cells(place: int, radius: int) -> tuple[int, int]:
    """Cells of a window that lie before and behind the image's border, along one axis."""
    return max(0, radius - place), max(0, place + radius - (SIDE - 1))


def true_weights(state: ndarray, images: ndarray, pixel: tuple[int, int], size: int) -> ndarray:
    """Normalized weights [n, h, w] of all patches for one pixel, zero where they are not legal."""
    radius = size // 2
    wide = ((0, 0), (radius, radius), (radius, radius))
    query = np.pad(state.astype(np.float64) / np.sqrt(SIGNAL), wide)
    query = query[:, pixel[0] : pixel[0] + size, pixel[1] : pixel[1] + size]
    dist_sq = np.full((len(images), SIDE, SIDE), np.inf)
    for n, image in enumerate(images.astype(np.float64) / 127.5 - 1):
        padded = np.pad(image, wide)
        for y, x in np.ndindex(SIDE, SIDE):
            if [cut_cells(v, radius) for v in (y, x)] == [cut_cells(v, radius) for v in pixel]:
                dist_sq[n, y, x] = ((padded[:, y : y + size, x : x + size] - query) ** 2).sum()
    weights = np.exp(-(dist_sq - dist_sq.min()) * SIGNAL / (2 * (1 - SIGNAL)))
    return weights / weights.sum()


def assert_true(posterior: Posterior, xt: torch.Tensor, images: ImageSet, size: int) -> None:
    """The heaviest patches are listed with their weights, and images have what theirs add up to."""
    sources = posterior.sources
    assert sources is not None
    shares = np.zeros((len(xt), len(images)))
    for b, y, x in np.ndindex(len(xt), SIDE, SIDE):
        weights = true_weights(xt[b].numpy(), images.pixels, (y, x), size)
        shares[b] += weights.sum(axis=(1, 2)) / SIDE**2
        ids, found = sources.ids[b, y, x].numpy(), sources.weights[b, y, x].numpy()
        listed = ids >= 0
        assert len(set(ids[listed])) == listed.sum()
        np.testing.assert_allclose(found[listed], weights.ravel()[ids[listed]], atol=2e-5)
        heaviest = np.sort(weights.ravel())[::-1][:NUM_SOURCES]
        assert (heaviest[: len(found)][~listed] < LEAST_LISTED).all()
        np.testing.assert_allclose(found[listed], heaviest[: len(found)][listed], atol=2e-5)
    np.testing.assert_allclose(sources.image_shares.dense(len(images)), shares, atol=2e-4)
    total = sources.weights.sum(-1) + sources.unattributed
    np.testing.assert_allclose(total, np.ones_like(total), atol=1e-6)


@pytest.mark.parametrize("size", [3, 5])
def test_an_exact_machine_names_the_heaviest_patches(images, xt, size) -> None:
    posterior = ELSMachine(images).posterior(xt, SIGNAL, size, num_sources=NUM_SOURCES)
    assert_true(posterior, xt, images, size)
    with_index = ELSMachine(BruteSearch(images, scales=(3,)), exact=True)
    found = with_index.posterior(xt, SIGNAL, size, num_sources=NUM_SOURCES).sources
    assert torch.equal(found.ids, posterior.sources.ids)


@pytest.mark.parametrize("size", [3, 5])
def test_retrieval_names_them_too(images, xt, size, monkeypatch) -> None:
    """Every patch is in the head of a pixel, or found for those that were summed whole."""
    monkeypatch.setattr("sampler.estimator.sources.NUM_FOUND", 1000)
    search = BruteSearch(images, scales=(size,))
    machine = ELSMachine(search, k=6 * (SIDE + 1 - size) ** 2, tail=2)
    posterior = machine.posterior(xt, SIGNAL, size, num_sources=NUM_SOURCES)
    assert_true(posterior, xt, images, size)


def test_whole_images_are_the_sources_of_the_ideal_machine(images, xt) -> None:
    posterior = ISMachine(images).posterior(xt, SIGNAL, label=1, num_sources=NUM_SOURCES)
    sources = posterior.sources
    assert sources is not None
    flat = images.pixels.reshape(6, -1).astype(np.float64) / 127.5 - 1
    queries = xt.numpy().reshape(3, 1, -1).astype(np.float64) / np.sqrt(SIGNAL)
    weights = np.exp(-((queries - flat) ** 2).sum(-1) * SIGNAL / (2 * (1 - SIGNAL)))
    weights[:, [0, 3, 5]] = 0  # of another class
    weights /= weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(sources.image_shares.dense(6), weights, atol=1e-6)
    first = sources.ids[:, :, :, 0].numpy()
    assert (first // SIDE**2 == weights.argmax(axis=1)[:, None, None]).all()
    assert (first % SIDE**2 == np.arange(SIDE**2).reshape(SIDE, SIDE)).all()
    assert (sources.ids[..., 3:] == -1).all()  # the class has three images


@pytest.mark.slow
@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("label", [None, 1])
def test_beside_a_tail_sources_have_their_true_weights(rng, size, label, monkeypatch) -> None:
    """The way of every real run: searched pixels, their neighbors, corners, an estimated mass."""
    pixels = np.concatenate([random_images(rng, 150, 1, SIDE, SIDE)] * 2)
    images = ImageSet.from_array(pixels, np.arange(300) // 150)
    state = torch.from_numpy(noisy_states(rng, pixels[:150], 1, SIGNAL))
    monkeypatch.setattr("sampler.estimator.estimate.ENOUGH_DRAWS", 10**9)  # search all pixels
    search = BruteSearch(images, scales=(size,))
    machine = ELSMachine(search, k=40, tail=8)
    posterior = machine.posterior(state, SIGNAL, size, label=label, num_sources=NUM_SOURCES)
    assert ((posterior.head_mass > 0) & (posterior.head_mass < 1)).any()
    sources = posterior.sources
    of_class = pixels if label is None else pixels[150:]
    first = 0 if label is None else 150 * SIDE**2
    errors, attributed = [], 0.0
    for y, x in np.ndindex(SIDE, SIDE):
        weights = true_weights(state[0].numpy(), of_class, (y, x), size).ravel()
        ids, found = sources.ids[0, y, x].numpy(), sources.weights[0, y, x].numpy()
        listed = ids >= 0  # in corners only those that are not light
        heaviest = np.sort(weights)[::-1][:NUM_SOURCES]
        assert (heaviest[~listed] < 1.01 * LEAST_LISTED).all()
        ids, found, heaviest = ids[listed], found[listed], heaviest[listed]
        assert (ids >= first).all()
        errors += (found / weights[ids - first]).tolist()
        attributed += weights[ids - first].sum() / SIDE**2
        np.testing.assert_allclose(  # the heaviest were found
            weights[ids - first], heaviest, rtol=1e-3
        )
    assert np.median(errors) == pytest.approx(1, abs=0.02)
    np.testing.assert_allclose(errors, 1, atol=0.35)  # the mass is an estimate
    assert attributed < float(sources.image_shares.share.sum()) <= 1 + 1e-5


def test_sources_are_shares_of_the_mass_that_a_tolerance_led_to(rng) -> None:
    images = ImageSet.from_array(random_images(rng, 40, 1, SIDE, SIDE))
    state = torch.from_numpy(noisy_states(rng, images.pixels, 2, SIGNAL))
    machine = ELSMachine(BruteSearch(images), k=4, tail=0, tolerance=0.0)
    posterior = machine.posterior(state, SIGNAL, 3, num_sources=NUM_SOURCES)
    assert (posterior.rounds == 2).any()  # all patches were summed, but four were listed before
    sources = posterior.sources
    for b, y, x in np.ndindex(2, SIDE, SIDE):
        weights = true_weights(state[b].numpy(), images.pixels, (y, x), 3).ravel()
        ids = sources.ids[b, y, x].numpy()
        listed = ids >= 0
        found = sources.weights[b, y, x].numpy()[listed]
        np.testing.assert_allclose(found, weights[ids[listed]], atol=1e-4)


@pytest.mark.parametrize("tail", [2, 8, 400])
def test_naming_sources_changes_no_estimate(rng, tail) -> None:
    images = ImageSet.from_array(random_images(rng, 90, 1, SIDE, SIDE))
    xt = torch.from_numpy(noisy_states(rng, images.pixels, 2, SIGNAL))
    machine = ELSMachine(BruteSearch(images), k=16, tail=tail)
    plain = machine.posterior(xt, SIGNAL, 3)
    traced = machine.posterior(xt, SIGNAL, 3, num_sources=NUM_SOURCES)
    assert plain.sources is None
    for name in ("mean", "log_mass", "standard_error", "num_scored", "head_mass", "k_hat"):
        torch.testing.assert_close(getattr(plain, name), getattr(traced, name), rtol=0, atol=0)


def test_states_that_are_estimated_apart_have_the_same_sources(rng, monkeypatch) -> None:
    images = ImageSet.from_array(random_images(rng, 40, 1, SIDE, SIDE))
    xt = torch.from_numpy(noisy_states(rng, images.pixels, 3, SIGNAL))
    machine = ELSMachine(BruteSearch(images), k=16, tail=4)
    whole = machine.posterior(xt, SIGNAL, 3, num_sources=NUM_SOURCES).sources
    monkeypatch.setattr("sampler.machines.PIXELS_PER_CHUNK", 1)
    apart = machine.posterior(xt, SIGNAL, 3, num_sources=NUM_SOURCES).sources
    assert (whole.ids == apart.ids).all()
    assert whole.image_shares.share.sum() > 0.1
    torch.testing.assert_close(whole.image_shares.dense(40), apart.image_shares.dense(40))
