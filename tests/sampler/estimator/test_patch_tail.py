"""Tails of single patches: unbiased whatever the head is, and honest about their error."""

from functools import cache

import numpy as np
import pytest
import torch
from reference.brute_search import BruteSearch
from reference.samples import noisy_states, random_images
from reference.score_machines import posterior_at
from torch import Tensor

from patchindex import ImageSet, PatchGeometry, PosteriorRecord
from patchindex.kernels import sum_patches
from sampler.estimator import is_in_head, patch_tail, uniform_draws
from sampler.estimator.query import Query

SIDE, PATCH_SIZE, NUM_IMAGES = 7, 3, 12
ALPHA_BAR = 0.3  # sigma 1.5: weights differ by factors, no few patches decide
PIXELS = [(2, 2), (3, 4), (4, 1)]
EVERY = NUM_IMAGES * (SIDE - 2) ** 2
NUM_DRAWS, NUM_SEEDS = 60, 400
HEADS = ["near", "far", "none"]


@cache
def images() -> ImageSet:
    rng = np.random.default_rng(11)
    return ImageSet.from_array(random_images(rng, NUM_IMAGES, 2, SIDE, SIDE))


@cache
def query(boundary: str = "zeros") -> Query:
    xt = noisy_states(np.random.default_rng(12), images().pixels, 1, ALPHA_BAR)
    return Query(
        index=BruteSearch(images(), boundary=boundary),
        y=torch.from_numpy(xt / np.float32(ALPHA_BAR**0.5)),
        sigma=((1 - ALPHA_BAR) / ALPHA_BAR) ** 0.5,
        geometry=PatchGeometry(height=SIDE, width=SIDE, patch_size=PATCH_SIZE, boundary=boundary),
        label=None,
    )


@cache
def interior(boundary: str = "zeros") -> int:
    """The signature of `PIXELS`."""
    return query(boundary).geometry.signature_at(*PIXELS[0])


def windows(boundary: str = "zeros") -> Tensor:
    field = query(boundary).windows(interior(boundary))[0]
    first = 1 if boundary == "zeros" else 0
    return torch.stack([field[y - first, x - first] for y, x in PIXELS])


@cache
def head_ids(kind: str, boundary: str = "zeros") -> Tensor:
    """Eight patches of each window: the nearest, the farthest, or no patch."""
    search = query(boundary).index
    if kind == "none":
        return torch.full((len(PIXELS), 8), -1)
    nearest = search.search(PATCH_SIZE, interior(boundary), windows().flatten(1), EVERY, nprobe=1)
    return (nearest[:, :8] if kind == "near" else nearest[:, -8:]).contiguous()


def estimated(kind: str, num_draws: int, seed: int = 0) -> PosteriorRecord:
    """Head and tail of `PIXELS`."""
    candidates = query().candidates(interior())
    drawn = uniform_draws(
        np.arange(NUM_IMAGES), candidates.signature, candidates.geometry, num_draws,
        np.random.default_rng(seed),
    )  # fmt: skip
    head = sum_patches(
        candidates.pixels, windows(), head_ids(kind), candidates.geometry, candidates.signature,
        sigma=query().sigma,
    )  # fmt: skip
    tail = patch_tail(candidates, windows(), query().sigma, head_ids(kind), torch.from_numpy(drawn))
    return head.record.merge(tail)


@cache
def truth():
    xt = query().y[0].numpy() * ALPHA_BAR**0.5
    return posterior_at(PIXELS, xt, ALPHA_BAR, images().pixels, PATCH_SIZE)


@cache
def runs(kind: str) -> list[PosteriorRecord]:
    """The same estimate with every seed."""
    return [estimated(kind, NUM_DRAWS, seed) for seed in range(NUM_SEEDS)]


def masses(records: list[PosteriorRecord]) -> np.ndarray:
    """Estimated over true mass of each record and pixel."""
    return np.stack(
        [
            ((r.log_max - torch.from_numpy(truth().log_mass)).exp() * r.sum_w).numpy()
            for r in records
        ]
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", HEADS)
def test_numerator_and_denominator_are_unbiased_whatever_the_head_is(kind: str) -> None:
    denominators = masses(runs(kind))
    numerators = denominators * np.stack([r.mean.T.numpy() for r in runs(kind)], axis=1)
    for values, target in ((denominators, 1.0), (numerators[0], truth().mean[0])):
        standard_error = values.std(axis=0, ddof=1) / NUM_SEEDS**0.5
        # two sums of three pixels: 4 standard errors come up by chance once in 2,500 runs
        assert np.abs((values.mean(axis=0) - target) / standard_error).max() < 4
        assert standard_error.max() < 0.02


@pytest.mark.parametrize("kind", HEADS)
def test_standard_errors_match_the_spread_over_seeds(kind: str) -> None:
    shifts = [2 * (r.log_max.numpy() - truth().log_mass) for r in runs(kind)]
    variances = [r.var_w.numpy() * np.exp(s) for r, s in zip(runs(kind), shifts, strict=True)]
    # 400 seeds give a standard deviation to 4 %
    ratio = np.sqrt(np.mean(variances, axis=0)) / masses(runs(kind)).std(axis=0, ddof=1)
    np.testing.assert_allclose(ratio, 1, atol=0.15)
    means = np.stack([r.mean.numpy() for r in runs(kind)])
    errors = np.stack([r.standard_error.numpy() for r in runs(kind)])
    ratio = np.sqrt((errors**2).mean(axis=0)) / means.std(axis=0, ddof=1)
    assert 0.7 < ratio.min() <= ratio.max() < 1.15  # where few of 60 draws carry a mean, too small


@pytest.mark.parametrize("kind", HEADS)
def test_drawing_every_patch_is_exact(kind: str) -> None:
    record = estimated(kind, EVERY)
    np.testing.assert_allclose(record.mean, truth().mean.T, atol=2e-4)
    np.testing.assert_allclose(masses([record]), 1, atol=1e-3)
    size = record.sum_w**2 / record.sum_w2
    np.testing.assert_allclose(size, truth().effective_sample_size, rtol=2e-3)
    np.testing.assert_allclose(record.standard_error, 0, atol=1e-6)
    torch.testing.assert_close(record.sum_head, record.sum_w)
    assert (record.num_scored == EVERY).all()
    assert (record.k_hat == -torch.inf).all()


def test_draws_of_the_head_are_dropped_and_the_rest_is_scored() -> None:
    record = estimated("near", NUM_DRAWS)
    drawn = estimated("none", NUM_DRAWS)
    assert (drawn.num_scored == NUM_DRAWS).all()
    assert (record.num_scored <= NUM_DRAWS + 8).all()
    assert (record.num_scored > NUM_DRAWS).all()
    assert (drawn.sum_head == 0).all()
    share = np.stack([(r.sum_head / r.sum_w).numpy() for r in runs("near")]).mean(axis=0)
    alone = sum_patches(
        query().pixels, windows(), head_ids("near"), query().geometry,
        query().geometry.signatures[interior()], sigma=query().sigma,
    ).record  # fmt: skip
    # the mean of a ratio is a little off the ratio of means
    np.testing.assert_allclose(share, masses([alone])[0], rtol=0.1)


def test_bounded_weights_have_a_small_pareto_shape() -> None:
    assert float(torch.stack([r.k_hat for r in runs("near")]).median()) < 0.5


def test_members_are_told_from_draws_that_are_near_them() -> None:
    drawn = torch.tensor([2, 5, 9, 11])
    heads = torch.tensor([[5, 3, -1], [11, 2, 12], [-1, -1, -1], [1, 10, 12]])
    assert is_in_head(heads, drawn).tolist() == [
        [False, True, False, False],
        [True, False, False, True],
        [False] * 4,
        [False] * 4,
    ]
