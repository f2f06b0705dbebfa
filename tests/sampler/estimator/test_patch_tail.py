"""Tails of single patches: unbiased whatever the search returns, and honest about their error."""

from functools import cache

import numpy as np
import pytest
import torch
from reference.brute_search import BruteSearch, FarthestSearch, MissingSearch
from reference.samples import noisy_states, random_images
from reference.score_machines import Posterior, posterior

from patchindex import ImageSet
from sampler import ELSMachine

SEARCHES = [BruteSearch, MissingSearch, FarthestSearch]
SIDE, PATCH_SIZE, NUM_IMAGES = 7, 3, 6
ALPHA_BAR = 0.3  # sigma 1.5: weights differ by factors, no few patches decide
NUM_SEEDS = 60
TAIL = 24  # fewer than the patches of an edge, so that edges are sampled too
EVERY = NUM_IMAGES * (SIDE - 2) ** 2  # the largest dictionary, that of the interior


@cache
def images() -> ImageSet:
    rng = np.random.default_rng(11)
    return ImageSet.from_array(
        random_images(rng, NUM_IMAGES, 1, SIDE, SIDE), labels=[0, 1, 0, 1, 1, 1]
    )


@cache
def state(num: int = 1, alpha_bar: float = ALPHA_BAR) -> torch.Tensor:
    return torch.from_numpy(
        noisy_states(np.random.default_rng(12), images().pixels, num, alpha_bar)
    )


@cache
def exact(alpha_bar: float = ALPHA_BAR, boundary: str = "zeros") -> Posterior:
    xt = state(1, alpha_bar)[0].numpy()
    return posterior(xt, alpha_bar, images().pixels, PATCH_SIZE, boundary=boundary)


def retrieved(search=BruteSearch, *, k: int = 8, tail: int = TAIL, seed: int = 0, **options):
    """The posterior of `state()` by a machine with this search."""
    alpha_bar = options.pop("alpha_bar", ALPHA_BAR)
    boundary = options.pop("boundary", "zeros")
    machine = ELSMachine(search(images(), boundary=boundary), k=k, tail=tail, seed=seed)
    return machine.posterior(state(1, alpha_bar), alpha_bar, PATCH_SIZE, **options)


@cache
def runs(search: type, boundary: str) -> list[Posterior]:
    """The same estimate with every seed."""
    return [retrieved(search, boundary=boundary, seed=seed) for seed in range(NUM_SEEDS)]


def is_corner() -> np.ndarray:
    """Pixels [h, w] whose window crosses both axes' borders: a single legal center."""
    border = np.isin(np.arange(SIDE), [0, SIDE - 1])
    return border[:, None] & border[None]


@pytest.mark.parametrize(
    ("search", "boundary"),
    [
        (BruteSearch, "zeros"),
        (MissingSearch, "zeros"),
        (MissingSearch, "circular"),
        (FarthestSearch, "circular"),
        (BruteSearch, "circular_interior"),
    ],
)
def test_numerator_and_denominator_are_unbiased_whatever_the_search_misses(
    search: type, boundary: str
) -> None:
    truth = exact(boundary=boundary)
    found = runs(search, boundary)
    denominators = np.stack([np.exp(p.log_mass[0].numpy() - truth.log_mass) for p in found])
    numerators = denominators * np.stack([p.mean[0, 0].numpy() for p in found])
    sampled = ~is_corner() if boundary == "zeros" else np.ones((SIDE, SIDE), dtype=bool)
    for values, target in ((denominators, np.ones((SIDE, SIDE))), (numerators, truth.mean[0])):
        standard_error = values.std(axis=0, ddof=1)[sampled] / NUM_SEEDS**0.5
        z = (values.mean(axis=0) - target)[sampled] / standard_error
        # 49 pixels, two sums: 4.5 standard errors come up by chance once in 1,500 runs
        assert np.abs(z).max() < 4.5
        # no common drift; not closer to 0, because the pixels of a signature share their draws
        assert np.abs(z.mean()) < 1.5
        assert np.median(standard_error) < 0.05  # small enough to see a bias of 20 per cent
        # float32 distances
        np.testing.assert_allclose(values[:, ~sampled] - target[~sampled], 0, atol=1e-4)


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize(("k", "tail"), [(EVERY, 0), (EVERY, 64), (8, EVERY), (1, 10 * EVERY)])
def test_a_head_or_a_tail_that_covers_the_dictionary_is_exact(
    search: type, k: int, tail: int
) -> None:
    found = retrieved(search, k=k, tail=tail)
    np.testing.assert_allclose(found.mean[0], exact().mean, atol=2e-4)
    np.testing.assert_allclose(found.log_mass[0], exact().log_mass, atol=1e-3)
    np.testing.assert_allclose(
        found.effective_sample_size[0], exact().effective_sample_size, rtol=2e-3
    )
    np.testing.assert_allclose(found.standard_error[0], 0, atol=1e-6)


def test_corners_are_summed_exactly_even_by_a_search_that_misses() -> None:
    found = retrieved(MissingSearch, k=2, tail=2)
    corner = is_corner()
    np.testing.assert_allclose(found.mean[0][:, corner], exact().mean[:, corner], atol=2e-4)
    np.testing.assert_allclose(found.log_mass[0][corner], exact().log_mass[corner], atol=1e-3)
    np.testing.assert_allclose(found.head_mass[0][corner], 1, atol=1e-6)
    assert not found.standard_error[0][:, corner].any()
    assert (found.standard_error[0][:, ~corner] > 0).any()


def test_standard_errors_match_the_spread_over_seeds_and_cover_the_truth() -> None:
    found, sampled = runs(BruteSearch, "zeros"), ~is_corner()
    means = np.stack([p.mean[0, 0].numpy() for p in found])[:, sampled]
    errors = np.stack([p.standard_error[0, 0].numpy() for p in found])[:, sampled]
    covered = np.abs(means - exact().mean[0][sampled]) <= 1.96 * errors
    assert 0.85 < covered.mean() < 0.99
    ratio = np.sqrt((errors**2).mean(axis=0)) / means.std(axis=0, ddof=1)
    # 60 seeds give a standard deviation to 9 %, and draws of 24 a bias of some per cent
    assert ratio.min() > 0.7
    assert ratio.max() < 1.4
    assert 0.85 < np.median(ratio) < 1.15


def test_the_reported_head_mass_is_the_heads_share_of_all_weight() -> None:
    head_mass = np.stack([p.head_mass[0].numpy() for p in runs(BruteSearch, "zeros")])
    assert (head_mass > 0).all()
    assert (head_mass <= 1 + 1e-6).all()
    # without a tail the sum is that of the head alone
    expected = np.exp(retrieved(tail=0).log_mass[0].numpy() - exact().log_mass)
    # the mean of a ratio is a little off the ratio of means
    np.testing.assert_allclose(head_mass.mean(axis=0), expected, atol=0.05)


def test_the_effective_sample_size_is_estimated_for_the_whole_dictionary() -> None:
    sizes = np.stack([p.effective_sample_size[0].numpy() for p in runs(BruteSearch, "zeros")])
    assert (sizes >= 1 - 1e-6).all()
    # a ratio of two estimates from 24 draws: a bias of some per cent is its nature
    np.testing.assert_allclose(sizes.mean(axis=0), exact().effective_sample_size, rtol=0.2)


def test_without_a_tail_the_machine_does_not_claim_to_know_its_error() -> None:
    found, corner = retrieved(tail=0), is_corner()
    for field in (found.standard_error[0, 0], found.head_mass[0]):
        assert field[~corner].isnan().all()
        assert not field[corner].isnan().any()
    assert not found.mean.isnan().any()
    assert not found.log_mass.isnan().any()


def test_a_head_that_holds_everything_knows_its_error_without_a_tail() -> None:
    found = retrieved(k=EVERY, tail=0)
    assert not found.standard_error.any()
    np.testing.assert_allclose(found.head_mass[0], 1, atol=1e-6)


def test_only_head_and_tail_are_scored() -> None:
    num_scored = torch.as_tensor(retrieved(k=8, tail=32).num_scored)[0]
    interior = num_scored[1:-1, 1:-1]
    assert int(interior.min()) >= 32
    assert int(interior.max()) <= 8 + 32
    assert (num_scored[torch.from_numpy(is_corner())] == NUM_IMAGES).all()


def test_a_seed_fixes_the_result_and_another_one_changes_it() -> None:
    first, again, other = retrieved(seed=5), retrieved(seed=5), retrieved(seed=6)
    for field in ("mean", "log_mass", "effective_sample_size", "standard_error"):
        assert torch.equal(getattr(first, field), getattr(again, field))
    assert not torch.equal(first.mean, other.mean)


def test_an_image_gets_the_same_estimate_alone_and_first_in_a_batch() -> None:
    xt = state(3)
    machine = ELSMachine(BruteSearch(images()), k=8, tail=32, seed=0)
    together = machine.posterior(xt, ALPHA_BAR, PATCH_SIZE)
    alone = machine.posterior(xt[:1], ALPHA_BAR, PATCH_SIZE)
    torch.testing.assert_close(together.mean[:1], alone.mean, rtol=0, atol=1e-6)


def test_a_label_restricts_head_and_tail() -> None:
    found = retrieved(k=4, tail=EVERY, label=0)
    expected = posterior(state()[0].numpy(), ALPHA_BAR, images().pixels[[0, 2]], PATCH_SIZE)
    np.testing.assert_allclose(found.mean[0], expected.mean, atol=2e-4)
    np.testing.assert_allclose(found.log_mass[0], expected.log_mass, atol=1e-3)
    sampled = [retrieved(k=4, tail=16, label=0, seed=seed) for seed in range(40)]
    mass = np.stack([np.exp(p.log_mass[0].numpy() - expected.log_mass) for p in sampled])
    standard_error = np.maximum(mass.std(axis=0, ddof=1) / 40**0.5, 1e-4)
    assert (np.abs(mass.mean(axis=0) - 1) < 4.5 * standard_error).all()


def test_draws_of_different_noise_levels_are_independent() -> None:
    # equal draws at every step would make the errors of a trajectory add up instead of averaging
    errors = [
        [
            retrieved(k=1, seed=seed, alpha_bar=level, boundary="circular").mean[0, 0, 3, 3]
            for seed in range(40)
        ]
        for level in (0.05, 0.0500001)
    ]
    # 40 independent pairs: a standard deviation of 0.16
    assert abs(np.corrcoef(errors)[0, 1]) < 0.6
