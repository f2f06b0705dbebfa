"""Tails of image and displacement pairs: unbiased whatever the search finds, honest of the rest."""

from functools import cache

import numpy as np
import pytest
import torch
from reference.brute_search import BruteSearch, FarthestSearch, MissingSearch
from reference.samples import noisy_states, random_images
from reference.score_machines import Posterior, posterior

from patchindex import ImageSet
from sampler import ELSMachine

HEIGHT, WIDTH, PATCH_SIZE, NUM_IMAGES = 7, 9, 3, 60
ALPHA_BAR = 0.3  # sigma 1.5: weights differ by factors, no few patches decide
# of 2,100 patches inside 256 are drawn in 14 groups, of 300 and 420 at the edges 64; with
# MORE all of the upper and lower edges that are not summed whole
TAIL, MORE = 4, 12
NUM_SEEDS = 40


@pytest.fixture(autouse=True)
def larger_edges(monkeypatch):
    """Edges with draws enough that their errors can be seen."""
    monkeypatch.setattr("sampler.estimator.estimate.EDGE_DIVISOR", 4)


@cache
def images() -> ImageSet:
    rng = np.random.default_rng(11)
    pixels = random_images(rng, NUM_IMAGES, 1, HEIGHT, WIDTH)
    return ImageSet.from_array(pixels, labels=np.arange(NUM_IMAGES) % 2)


@cache
def states(num: int = 1, alpha_bar: float = ALPHA_BAR) -> torch.Tensor:
    rng = np.random.default_rng(12)
    return torch.from_numpy(noisy_states(rng, images().pixels, num, alpha_bar))


@cache
def exact(boundary: str = "zeros", alpha_bar: float = ALPHA_BAR) -> Posterior:
    xt = states(1, alpha_bar)[0].numpy()
    return posterior(xt, alpha_bar, images().pixels, PATCH_SIZE, boundary=boundary)


def retrieved(search=BruteSearch, *, k: int = 10, tail: int = TAIL, seed: int = 0, **options):
    """The posterior of `states()` by a machine with this search."""
    alpha_bar = options.pop("alpha_bar", ALPHA_BAR)
    boundary = options.pop("boundary", "zeros")
    machine = ELSMachine(search(images(), boundary=boundary), k=k, tail=tail, seed=seed)
    xt = options.pop("xt", states(1, alpha_bar))
    return machine.posterior(xt, alpha_bar, PATCH_SIZE, **options)


@cache
def runs(search: type, boundary: str = "zeros", tail: int = TAIL) -> list:
    """The same estimate with every seed."""
    return [retrieved(search, boundary=boundary, tail=tail, seed=seed) for seed in range(NUM_SEEDS)]


def is_corner() -> np.ndarray:
    rows, cols = (np.isin(np.arange(size), [0, size - 1]) for size in (HEIGHT, WIDTH))
    return rows[:, None] & cols


@pytest.mark.slow
@pytest.mark.parametrize(
    ("search", "boundary"),
    [
        pytest.param(MissingSearch, "zeros", marks=pytest.mark.slow),
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
    sampled = np.ones((HEIGHT, WIDTH), dtype=bool) ^ (is_corner() & (boundary == "zeros"))
    for values, target in ((denominators, np.ones_like(truth.log_mass)), (numerators, truth.mean)):
        off = (values - target)[:, sampled]
        standard_error = off.std(axis=0, ddof=1) / NUM_SEEDS**0.5
        # 63 pixels, two sums: 4.5 standard errors come up by chance once in 1,500 runs
        assert np.abs(off.mean(axis=0) / standard_error).max() < 4.5
        assert np.median(standard_error) < 0.02  # small enough to see a bias of 10 per cent
        # float32 distances
        np.testing.assert_allclose((values - target)[:, ~sampled], 0, atol=1e-4)


@pytest.mark.slow
def test_standard_errors_match_the_spread_over_seeds_and_cover_the_truth() -> None:
    found = runs(BruteSearch, tail=MORE)
    sampled = np.stack([p.standard_error[0, 0].numpy() > 0 for p in found]).all(axis=0)
    assert sampled.sum() == 49  # all but the corners, and the left and the right edge
    means = np.stack([p.mean[0, 0].numpy() for p in found])[:, sampled]
    errors = np.stack([p.standard_error[0, 0].numpy() for p in found])[:, sampled]
    covered = np.abs(means - exact().mean[0][sampled]) <= 1.96 * errors
    assert 0.92 < covered.mean() < 0.99
    ratio = np.sqrt((errors**2).mean(axis=0)) / means.std(axis=0, ddof=1)
    # 40 seeds give a standard deviation to 11 %; widened where few draws carry a sum
    assert 1.1 < np.median(ratio) < 1.35
    assert ratio.min() > 0.7


@pytest.mark.slow
def test_few_draws_widen_intervals_and_say_that_their_shape_is_unknown() -> None:
    found = runs(MissingSearch, "zeros")
    off = np.stack([p.mean[0, 0].numpy() - exact().mean[0] for p in found])[:, ~is_corner()]
    errors = np.stack([p.standard_error[0, 0].numpy() for p in found])[:, ~is_corner()]
    assert (np.abs(off) <= 1.96 * errors).mean() > 0.93
    assert all((p.k_hat[0].numpy() == np.where(is_corner(), -np.inf, np.inf)).all() for p in found)


@pytest.mark.slow
def test_bounded_weights_have_a_small_pareto_shape() -> None:
    k_hat = np.stack([p.k_hat[0].numpy() for p in runs(BruteSearch, tail=MORE)])
    assert np.median(k_hat[:, 1:-1, 1:-1]) < 0.5
    assert (k_hat[:, is_corner()] == -np.inf).all()


@pytest.mark.slow
@pytest.mark.parametrize("tail", [TAIL, MORE])
def test_the_head_is_counted_once_however_many_of_its_patches_are_drawn(tail: int) -> None:
    # at little noise a few patches hold all the mass: counted twice, they would double it
    alpha_bar = 0.98
    truth = exact(alpha_bar=alpha_bar)
    drawn = 0
    for seed in range(8):
        found = retrieved(alpha_bar=alpha_bar, k=200, tail=tail, seed=seed)
        np.testing.assert_allclose(found.mean[0], truth.mean, atol=5e-3)
        np.testing.assert_allclose(found.log_mass[0], truth.log_mass, atol=5e-3)
        assert float(found.head_mass.min()) > 0.98
        drawn += int(found.num_scored[0, 3, 4]) - 200
    assert drawn > 8 * 64 * tail / 2  # and one in eight or three of the head are among them


def test_a_small_set_is_summed_whole() -> None:
    # 64 * 17 is more than half of the 2,100 patches inside
    assert not (retrieved(FarthestSearch, tail=16).standard_error[0, 0, 1:-1, 1:-1] == 0).any()
    found = retrieved(FarthestSearch, tail=17)
    np.testing.assert_allclose(found.mean[0], exact().mean, atol=2e-4)
    np.testing.assert_allclose(found.log_mass[0], exact().log_mass, atol=1e-3)
    assert not found.standard_error.any()
    assert not found.mse_deviation.any()
    assert (found.head_mass == 1).all()
    assert (found.k_hat == -torch.inf).all()
    assert (found.head.ids == -1).all()


@pytest.mark.parametrize("num_images", [1, 2, 3])
@pytest.mark.parametrize("size", [(16, 5), (13, 13), (24, 40)])
def test_very_few_images_have_an_estimate(num_images: int, size: tuple[int, int]) -> None:
    # where all of them are one group, its spread is unknown, and they are summed
    pixels = random_images(np.random.default_rng(0), num_images, 1, *size)
    xt = torch.from_numpy(noisy_states(np.random.default_rng(1), pixels, 1, ALPHA_BAR))
    truth = posterior(xt[0].numpy(), ALPHA_BAR, pixels, PATCH_SIZE)
    for tail in (2, 4):
        machine = ELSMachine(BruteSearch(ImageSet.from_array(pixels)), k=4, tail=tail)
        found = machine.posterior(xt, ALPHA_BAR, PATCH_SIZE)
        assert found.standard_error.isfinite().all()
        off = (found.mean[0] - torch.from_numpy(truth.mean)).abs()
        assert (off <= 4 * found.standard_error[0] + 2e-4).double().mean() > 0.95


def test_only_head_and_tail_are_scored() -> None:
    num_scored = retrieved(MissingSearch, k=20).num_scored[0].numpy()
    inside = num_scored[1:-1, 1:-1]
    assert 0.8 * 64 * TAIL < inside.min() <= inside.max() < 1.2 * 64 * TAIL + 4 * 20
    edges = num_scored[[0, -1], 1:-1], num_scored[1:-1, [0, -1]]
    for edge in edges:
        assert 0.8 * 16 * TAIL < edge.min() <= edge.max() < 1.2 * 16 * TAIL + 4 * 20
    assert (num_scored[is_corner()] == NUM_IMAGES).all()


@pytest.mark.slow
def test_the_reported_head_mass_is_the_heads_share_of_all_weight() -> None:
    alpha_bar = 0.9
    truth = exact(alpha_bar=alpha_bar)
    options = {"alpha_bar": alpha_bar, "k": 10}
    head_mass = [retrieved(**options, seed=seed).head_mass[0].numpy() for seed in range(12)]
    # without a tail the sum is that of the head alone
    alone = retrieved(**options, tail=0).log_mass[0].numpy()
    # neighbors propagate to the left or to the right, by the seed; the mean of a ratio is a little
    # off the ratio of means
    assert np.abs(np.mean(head_mass, axis=0) - np.exp(alone - truth.log_mass)).mean() < 0.05
    assert (np.stack(head_mass) <= 1 + 1e-6).all()


def test_the_effective_sample_size_is_estimated_for_the_whole_dictionary() -> None:
    sizes = np.stack([p.effective_sample_size[0].numpy() for p in runs(BruteSearch, tail=MORE)])
    assert (sizes >= 1 - 1e-6).all()
    # a ratio of two estimates: a bias of some per cent is its nature
    np.testing.assert_allclose(sizes.mean(axis=0), exact().effective_sample_size, rtol=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("alpha_bar", [ALPHA_BAR, 0.9])
def test_a_seed_fixes_the_result_and_no_batch_changes_it(alpha_bar: float) -> None:
    xt = states(3, alpha_bar)
    known = retrieved(xt=xt, alpha_bar=alpha_bar, seed=1).head
    for head in (None, known):
        options = {"xt": xt, "alpha_bar": alpha_bar, "known": head}
        first, again, other = (retrieved(**options, seed=seed) for seed in (5, 5, 6))
        names = ("mean", "log_mass", "standard_error", "k_hat", "num_scored", "mse_deviation")
        for name in names:
            assert torch.equal(getattr(first, name), getattr(again, name))
        assert not torch.equal(first.mean, other.mean)
        options |= {"xt": xt[1:2], "known": None if head is None else head[1:2]}
        alone = retrieved(**options, seed=5)
        for name in names:
            whole, part = getattr(first, name)[1:2], getattr(alone, name)
            torch.testing.assert_close(whole, part, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(first.head.ids[1:2], alone.head.ids)


@pytest.mark.slow
def test_draws_of_different_noise_levels_are_independent() -> None:
    # equal draws at every step would make the errors of a trajectory add up instead of averaging
    errors = [
        [
            retrieved(MissingSearch, k=1, seed=seed, alpha_bar=level, boundary="circular")
            .mean[0, 0, 3, 3]
            .item()
            for seed in range(30)
        ]
        for level in (0.3, 0.3000001)
    ]
    # 30 independent pairs: a standard deviation of 0.18
    assert abs(np.corrcoef(errors)[0, 1]) < 0.6


@pytest.mark.slow
def test_a_label_restricts_head_and_tail() -> None:
    mine = images().pixels[1::2]
    expected = posterior(states()[0].numpy(), ALPHA_BAR, mine, PATCH_SIZE)
    found = [retrieved(label=1, seed=seed) for seed in range(20)]
    assert all((p.head.ids // (HEIGHT * WIDTH) % 2)[p.head.ids >= 0].all() for p in found)
    mass = np.stack([np.exp(p.log_mass[0].numpy() - expected.log_mass) for p in found])
    standard_error = np.maximum(mass.std(axis=0, ddof=1) / 20**0.5, 1e-4)
    assert (np.abs(mass.mean(axis=0) - 1) < 4.5 * standard_error).all()


@pytest.mark.slow
@pytest.mark.parametrize("boundary", ["zeros", "circular"])
def test_the_deviation_of_the_mean_squared_error_is_that_over_seeds(boundary: str) -> None:
    # flat images: what one draw adds to an error it adds to all pixels, and they do not average out
    rng = np.random.default_rng(2)
    levels = rng.integers(20, 236, (100, 1, 1, 1)) + rng.integers(-20, 20, (100, 2, 7, 9))
    images = ImageSet.from_array(levels.astype(np.uint8))
    alpha_bar = 0.05  # sigma 4.4
    xt = torch.from_numpy(noisy_states(rng, images.pixels, 2, alpha_bar))
    truth = ELSMachine(images, boundary=boundary).posterior(xt, alpha_bar, PATCH_SIZE).mean
    squared, deviations = [], []
    for seed in range(NUM_SEEDS):
        machine = ELSMachine(MissingSearch(images, boundary=boundary), k=2, tail=MORE, seed=seed)
        found = machine.posterior(xt, alpha_bar, PATCH_SIZE)
        squared.append((found.mean - truth).square().mean((1, 2, 3)))
        deviations.append(found.mse_deviation)
    spread = torch.stack(squared).double().std(0)
    # of a chi-squared variable 40 seeds give a standard deviation to 25 %; few draws one too large
    ratio = torch.stack(deviations).square().mean(0).sqrt() / spread
    assert ratio.min() > 0.6
    assert ratio.max() < 2.2
