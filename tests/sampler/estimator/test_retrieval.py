"""Settings of the retrieved machine, and what it does where the index lacks a scale."""

import logging

import numpy as np
import pytest
import torch
from reference.brute_search import BruteSearch, MissingSearch
from reference.samples import noisy_states, random_images

from patchindex import ImageSet, PatchGeometry, UserError
from sampler import ELSMachine
from sampler.estimator.patch_tail import uniform_draws
from sampler.estimator.query import NeighborSearch


@pytest.fixture
def images(rng: np.random.Generator) -> ImageSet:
    return ImageSet.from_array(random_images(rng, 4, 1, 7, 7), labels=[0, 1, 1, 0])


@pytest.fixture
def xt(rng: np.random.Generator, images: ImageSet) -> torch.Tensor:
    return torch.from_numpy(noisy_states(rng, images.pixels, 2, 0.5))


def test_brute_force_is_a_search_that_the_machine_accepts(images) -> None:
    assert isinstance(BruteSearch(images), NeighborSearch)


def test_brute_force_finds_what_misses_do_not(images, xt) -> None:
    windows = xt[:1, 0, 1:4, 1:4].reshape(1, 9)
    interior = PatchGeometry(height=7, width=7, patch_size=3).signature_at(2, 2)
    patches = np.lib.stride_tricks.sliding_window_view(
        images.pixels[:, 0] / 127.5 - 1, (3, 3), (1, 2)
    )
    dist_sq = ((patches.reshape(-1, 9) - windows.numpy()) ** 2).sum(axis=1)
    n, y, x = np.unravel_index(dist_sq.argsort()[:5], (4, 5, 5))
    found = BruteSearch(images).search(3, interior, windows, 5, nprobe=1)
    assert found.tolist() == [((n * 7 + y + 1) * 7 + x + 1).tolist()]
    missed = MissingSearch(images).search(3, interior, windows, 5, nprobe=1)
    assert set(missed.ravel().tolist()) != set(found.ravel().tolist())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 0}, r"k is 0\. Give at least 1 patch"),
        ({"k": 101}, r"k is 101, but a pixel has 100 patches.*use the exact machine"),
        ({"tail": -1}, r"tail is -1\. Give at least 2 draws"),
        ({"tail": 1}, r"tail is 1\. Give at least 2 draws"),
        ({"nprobe": 0}, r"nprobe is 0\. Give at least 1"),
        ({"tolerance": -0.1}, r"tolerance is -0.1\. Give a standard error .* 0 scans exactly"),
        ({"tolerance": float("nan")}, r"tolerance is nan\. Give a standard error"),
        ({"seed": -1}, r"seed is -1\. Give a whole number, 0 or more"),
    ],
)
def test_settings_out_of_range_are_refused(images, settings, message) -> None:
    with pytest.raises(UserError, match=message):
        ELSMachine(BruteSearch(images), **{"k": 4} | settings)


def test_another_boundary_than_the_indexs_is_refused(images) -> None:
    with pytest.raises(UserError, match=r"boundary circular was asked for.*built for zeros"):
        ELSMachine(BruteSearch(images), boundary="circular", k=4)
    assert ELSMachine(BruteSearch(images), boundary="zeros", k=4).images is images


@pytest.mark.parametrize(("asked", "nearest"), [(9, 7), (1, 3), (5, 3)])
def test_the_nearest_scale_serves_with_one_warning(images, xt, caplog, asked, nearest) -> None:
    machine = ELSMachine(BruteSearch(images, scales=(3, 7)), k=4, tail=16)
    with caplog.at_level(logging.WARNING):
        found = machine.posterior(xt, 0.5, asked)
        machine.posterior(xt, 0.5, asked)
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 1
    assert f"scale {asked} " in warnings[0]
    assert f"scale {nearest} " in warnings[0]
    assert torch.equal(found.mean, machine.posterior(xt, 0.5, nearest).mean)


def test_strict_scales_refuse_a_scale_that_the_index_lacks(images, xt) -> None:
    machine = ELSMachine(BruteSearch(images, scales=(3, 7)), k=4, tail=16, strict_scales=True)
    machine.posterior(xt, 0.5, 3)
    with pytest.raises(UserError, match=r"scale 5 is not in the index, which has \[3, 7\]"):
        machine.posterior(xt, 0.5, 5)


def test_a_scale_that_is_none_is_not_served_by_another(images, xt) -> None:
    with pytest.raises(UserError, match="scale 4 is not a patch size"):
        ELSMachine(BruteSearch(images), k=4).posterior(xt, 0.5, 4)


def test_a_machine_without_a_tail_says_that_it_is_biased(images, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        ELSMachine(BruteSearch(images), k=4, tail=0)
    assert "tail is 0" in caplog.text


def test_draws_are_legal_distinct_and_equally_likely() -> None:
    geometry = PatchGeometry(height=6, width=7, patch_size=3)
    members = np.array([1, 4])
    for signature in geometry.signatures:
        legal = [
            (n * 6 + y) * 7 + x
            for n in members
            for y in signature.rows.centers
            for x in signature.cols.centers
        ]
        num_draws, counts = (len(legal) + 1) // 2, dict.fromkeys(legal, 0)
        for seed in range(200):
            rng = np.random.default_rng(seed)
            for patch in uniform_draws(members, signature, geometry, num_draws, rng):
                counts[int(patch)] += 1  # KeyError where it is not legal
        share = np.array(list(counts.values())) / 200
        # every patch is in a draw with probability num_draws / n; 200 draws show it to 0.035
        np.testing.assert_allclose(share, num_draws / len(legal), atol=4.5 * 0.036)
        assert share.max() <= 1
