"""Tails of whole images: unbiased whatever the search returns, and honest about their error."""

from functools import cache

import numpy as np
import pytest
import torch
from reference.brute_search import BruteSearch, FarthestSearch, MissingSearch
from reference.samples import noisy_states, random_images
from reference.score_machines import Posterior, posterior

from patchindex import ImageSet
from sampler import ELSMachine
from sampler.estimator.tail import draw_images

SIDE, PATCH_SIZE, NUM_IMAGES = 6, 3, 160
ALPHA_BAR = 0.3  # sigma 1.5: weights differ by factors, no few images decide
TAIL = 720  # for which 66 of the 160 images are drawn
NUM_SEEDS = 60


@cache
def images() -> ImageSet:
    rng = np.random.default_rng(11)
    return ImageSet.from_array(
        random_images(rng, NUM_IMAGES, 1, SIDE, SIDE), labels=np.arange(NUM_IMAGES) % 2
    )


@cache
def state(num: int = 1) -> torch.Tensor:
    return torch.from_numpy(
        noisy_states(np.random.default_rng(12), images().pixels, num, ALPHA_BAR)
    )


@cache
def exact(boundary: str = "zeros") -> Posterior:
    return posterior(state()[0].numpy(), ALPHA_BAR, images().pixels, PATCH_SIZE, boundary=boundary)


def retrieved(search=BruteSearch, *, k: int = 40, tail: int = TAIL, seed: int = 0, **options):
    """The posterior of `state()` by a machine with this search."""
    boundary = options.pop("boundary", "zeros")
    machine = ELSMachine(search(images(), boundary=boundary), k=k, tail=tail, seed=seed)
    return machine.posterior(options.pop("xt", state()), ALPHA_BAR, PATCH_SIZE, **options)


@cache
def runs(search: type, boundary: str) -> list:
    """The same estimate with every seed."""
    return [retrieved(search, boundary=boundary, seed=seed) for seed in range(NUM_SEEDS)]


def is_corner() -> np.ndarray:
    border = np.isin(np.arange(SIDE), [0, SIDE - 1])
    return border[:, None] & border[None]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("search", "boundary"),
    [
        (BruteSearch, "zeros"),
        (MissingSearch, "zeros"),
        (FarthestSearch, "circular"),
        (BruteSearch, "circular_interior"),
    ],
)
def test_numerator_and_denominator_are_unbiased_whatever_the_search_misses(
    search: type, boundary: str
) -> None:
    truth, found = exact(boundary), runs(search, boundary)
    denominators = np.stack([np.exp(p.log_mass[0].numpy() - truth.log_mass) for p in found])
    numerators = denominators * np.stack([p.mean[0, 0].numpy() for p in found])
    sampled = ~is_corner() if boundary == "zeros" else np.ones((SIDE, SIDE), dtype=bool)
    for values, target in ((denominators, np.ones((SIDE, SIDE))), (numerators, truth.mean[0])):
        standard_error = values.std(axis=0, ddof=1)[sampled] / NUM_SEEDS**0.5
        z = (values.mean(axis=0) - target)[sampled] / standard_error
        # 36 pixels, two sums: 4.5 standard errors come up by chance once in 2,000 runs
        assert np.abs(z).max() < 4.5
        assert np.median(standard_error) < 0.02  # small enough to see a bias of 10 per cent


def test_standard_errors_match_the_spread_over_seeds_and_cover_the_truth() -> None:
    found, sampled = runs(BruteSearch, "zeros"), ~is_corner()
    means = np.stack([p.mean[0, 0].numpy() for p in found])[:, sampled]
    errors = np.stack([p.standard_error[0, 0].numpy() for p in found])[:, sampled]
    covered = np.abs(means - exact().mean[0][sampled]) <= 1.96 * errors
    assert 0.88 < covered.mean() < 0.99
    ratio = np.sqrt((errors**2).mean(axis=0)) / means.std(axis=0, ddof=1)
    # widened a little where few draws carry a sum, never narrowed
    assert 0.95 < np.median(ratio) < 1.3


def test_the_head_is_counted_once_however_many_of_its_images_are_drawn() -> None:
    # at little noise a few patches hold all the mass: counted twice, they would double it
    alpha_bar = 0.98
    xt = torch.from_numpy(noisy_states(np.random.default_rng(3), images().pixels, 1, alpha_bar))
    truth = posterior(xt[0].numpy(), alpha_bar, images().pixels, PATCH_SIZE)
    machine = ELSMachine(BruteSearch(images()), k=400, tail=TAIL)
    found = machine.posterior(xt, alpha_bar, PATCH_SIZE)
    np.testing.assert_allclose(found.mean[0], truth.mean, atol=5e-3)
    np.testing.assert_allclose(found.log_mass[0], truth.log_mass, atol=5e-3)
    assert float(found.head_mass.min()) > 0.98


def test_a_tail_that_draws_every_image_is_exact() -> None:
    found = retrieved(FarthestSearch, tail=11 * NUM_IMAGES)
    np.testing.assert_allclose(found.mean[0], exact().mean, atol=2e-4)
    np.testing.assert_allclose(found.log_mass[0], exact().log_mass, atol=1e-3)
    assert not found.standard_error.any()
    assert (found.k_hat == -torch.inf).all()


def test_bounded_weights_have_a_small_pareto_shape() -> None:
    k_hat = retrieved().k_hat[0].numpy()
    assert np.median(k_hat[~is_corner()]) < 0.5
    assert (k_hat[is_corner()] == -np.inf).all()


def test_a_seed_fixes_the_result_and_no_batch_changes_it() -> None:
    first, again, other = retrieved(seed=5), retrieved(seed=5), retrieved(seed=6)
    for field in ("mean", "log_mass", "standard_error", "k_hat"):
        assert torch.equal(getattr(first, field), getattr(again, field))
    assert not torch.equal(first.mean, other.mean)
    together = retrieved(seed=5, xt=state(3))
    torch.testing.assert_close(retrieved(seed=5, xt=state(3)[:1]).mean, together.mean[:1])


def test_a_label_restricts_head_and_tail() -> None:
    mine = images().pixels[1::2]
    expected = posterior(state()[0].numpy(), ALPHA_BAR, mine, PATCH_SIZE)
    found = [retrieved(label=1, seed=seed) for seed in range(30)]
    mass = np.stack([np.exp(p.log_mass[0].numpy() - expected.log_mass) for p in found])
    standard_error = np.maximum(mass.std(axis=0, ddof=1) / 30**0.5, 1e-4)
    assert (np.abs(mass.mean(axis=0) - 1) < 4.5 * standard_error).all()


def test_every_image_is_drawn_equally_often_and_never_twice() -> None:
    rng = np.random.default_rng(0)
    members, brightness = np.arange(1, 300, 2), rng.random(300)
    counts = np.zeros(300)
    for seed in range(400):
        draws = draw_images(members, brightness, 70, np.random.default_rng(seed))
        drawn = draws.groups.flatten().numpy()
        assert len(np.unique(drawn)) == len(drawn) == 70
        assert (draws.group_of[draws.groups] == torch.arange(35)[:, None]).all()
        assert int((draws.group_of >= 0).sum()) == 70
        assert draws.inverse_probability == pytest.approx(150 / 70)
        counts[drawn] += 1
    assert not counts[0::2].any()
    # 400 draws show a share of 0.467 to 0.025
    np.testing.assert_allclose(counts[1::2] / 400, 70 / 150, atol=4.5 * 0.025)


def test_groups_fill_registers_where_there_are_enough_of_them() -> None:
    members, brightness = np.arange(3000), np.zeros(3000)
    shapes = [
        tuple(draw_images(members, brightness, num, np.random.default_rng(0)).groups.shape)
        for num in (64, 127, 128, 1024, 2050)
    ]
    assert shapes == [(32, 2), (42, 3), (32, 4), (64, 16), (128, 16)]
