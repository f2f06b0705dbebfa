"""Shares of exact sums: every image has its own, against brute force that writes patches out."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy import ndarray
from pretended_crew import PretendedCrew
from reference.samples import noisy_states, random_images
from reference.score_machines import (
    as_unit,
    ideal_dictionary,
    legal_centers,
    local_dictionary,
)

from patchindex import ImageSet
from patchindex.crew import LOCAL
from sampler import ELSMachine, ISMachine, LSMachine
from sampler.estimator import Sources
from sampler.exact import LEAST_LISTED, heaviest
from sampler.score_machine import ScoreMachine

NUM, CHANNELS, HEIGHT, WIDTH = 19, 2, 7, 6
BOUNDARIES = ("zeros", "circular", "circular_interior")
CASES = [("ELS", boundary) for boundary in BOUNDARIES] + [("LS", "zeros"), ("LS", "circular")]


def true_shares(
    state: ndarray, images: ndarray, signal: float, size: int | None, machine: str, boundary: str
) -> tuple[ndarray, dict[tuple[int, int], dict[int, float]]]:
    """The mean share [n] of each image, and of each pixel the share of each patch by its id."""
    shares, patches = np.zeros(len(images)), {}
    dictionary = ideal_dictionary if machine == "IS" else local_dictionary(machine, boundary)
    y = state.astype(np.float64) / np.sqrt(signal)
    for pixel in np.ndindex(HEIGHT, WIDTH):
        dist_sq, _ = dictionary(y, as_unit(images), pixel, size)
        weights = np.exp(-(dist_sq - dist_sq.min()) * signal / (2 * (1 - signal)))
        weights = (weights / weights.sum()).reshape(len(images), -1)
        shares += weights.sum(axis=1) / (HEIGHT * WIDTH)
        legal = np.zeros((HEIGHT, WIDTH), dtype=bool)
        if machine == "IS":
            legal[pixel] = True
        else:
            legal = legal_centers(machine, boundary, pixel, size, (HEIGHT, WIDTH))
        centers = np.flatnonzero(legal)
        ids = np.arange(len(images))[:, None] * HEIGHT * WIDTH + centers
        patches[pixel] = dict(zip(ids.ravel().tolist(), weights.ravel().tolist(), strict=True))
    return shares, patches


def made(images: ImageSet, machine: str, boundary: str) -> ScoreMachine:
    if machine == "IS":
        return ISMachine(images)
    return LSMachine(images, boundary) if machine == "LS" else ELSMachine(images, boundary)


def some_images(rng: np.random.Generator) -> ImageSet:
    pixels = random_images(rng, NUM, CHANNELS, HEIGHT, WIDTH)
    return ImageSet.from_array(pixels, labels=np.arange(NUM) % 3)


def sources_of(machine: ScoreMachine, xt: torch.Tensor, signal: float, size: int, **kw) -> Sources:
    sources = machine.posterior(xt, signal, size, num_sources=4, **kw).sources
    assert sources is not None
    return sources


@pytest.mark.parametrize("signal", [0.1, 0.7])
@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize(("machine", "boundary"), [*CASES, ("IS", "zeros")])
def test_every_image_has_the_share_of_all_its_patches(rng, machine, boundary, size, signal) -> None:
    images = some_images(rng)
    xt = torch.from_numpy(noisy_states(rng, images.pixels, 2, signal))
    sources = sources_of(made(images, machine, boundary), xt, signal, size)
    assert sources.complete
    found = sources.image_shares.dense(NUM)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)
    for b in range(2):
        shares, patches = true_shares(xt[b].numpy(), images.pixels, signal, size, machine, boundary)
        np.testing.assert_allclose(found[b], shares, rtol=1e-3, atol=1e-6)
        for pixel, true in patches.items():
            ids, weights = sources.ids[b][pixel].tolist(), sources.weights[b][pixel].tolist()
            for number, weight, largest in zip(
                ids, weights, sorted(true.values())[:-5:-1], strict=True
            ):
                if number < 0:
                    assert weight == 0 < largest < 1.01 * LEAST_LISTED
                else:
                    assert weight == pytest.approx(largest, rel=1e-3, abs=1e-6)
                    assert weight == pytest.approx(true[number], rel=1e-3, abs=1e-6)


@pytest.mark.parametrize(("machine", "boundary"), CASES)
def test_only_the_class_that_was_asked_for_has_shares(rng, machine, boundary) -> None:
    images = some_images(rng)
    xt = torch.from_numpy(noisy_states(rng, images.pixels, 2, 0.5))
    found = sources_of(made(images, machine, boundary), xt, 0.5, 3, label=1)
    chosen = np.flatnonzero(np.arange(NUM) % 3 == 1)
    alone = ImageSet.from_array(images.pixels[chosen])
    expected = sources_of(made(alone, machine, boundary), xt, 0.5, 3)
    shares = found.image_shares.dense(NUM)
    torch.testing.assert_close(shares[:, chosen], expected.image_shares.dense(len(chosen)))
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-6)
    listed = found.ids >= 0
    plane = HEIGHT * WIDTH
    numbers = torch.from_numpy(chosen)[expected.ids.clamp(min=0) // plane] * plane
    assert torch.equal(found.ids[listed], (numbers + expected.ids % plane)[listed])


@pytest.mark.parametrize(("machine", "boundary"), CASES)
def test_any_crew_gives_the_same_bits(rng, machine, boundary, monkeypatch) -> None:
    monkeypatch.setattr("sampler.exact.BLOCK_PIXELS", 4 * HEIGHT * WIDTH)
    monkeypatch.setattr("sampler.exact.STATES_AT_ONCE", 2)
    images = some_images(rng)
    xt = torch.from_numpy(noisy_states(rng, images.pixels, 3, 0.5))
    for label in (None, 2):
        done = []
        for size in (0, 1, 2, 3):
            crew = PretendedCrew(size) if size else LOCAL
            monkeypatch.setattr("sampler.exact.UNITS_PER_WORKER", 1)
            ours = replace(images, crew=crew) if size else images
            done.append(sources_of(made(ours, machine, boundary), xt, 0.5, 3, label=label))
            if size:
                assert crew.units == [crew.units[0]] * 2
        for other in done[1:]:
            assert torch.equal(other.ids, done[0].ids)
            assert torch.equal(other.weights, done[0].weights)
            for name in ("state", "image", "share"):
                ours, theirs = (getattr(each.image_shares, name) for each in (other, done[0]))
                assert torch.equal(ours, theirs), name


def test_of_equal_shares_those_with_smaller_ids_are_kept() -> None:
    places, ids = torch.tensor([5, 2, 5, 5, 2]), torch.tensor([9, 4, 3, 7, 1])
    shares = torch.tensor([0.25, 0.5, 0.25, 0.5, 0.125])
    kept = heaviest(places, ids, shares, 2)
    assert [each.tolist() for each in kept] == [[2, 2, 5, 5], [4, 1, 7, 3], [0.5, 0.125, 0.5, 0.25]]
