"""Pixels take the cheapest way whose error is within the tolerance, and their intervals hold."""

from functools import partial

import numpy as np
import pytest
import torch
from reference.brute_search import BruteSearch, FarthestSearch
from reference.samples import noisy_states, random_images

from patchindex import ImageSet, PatchGeometry, PosteriorRecord
from sampler import ELSMachine
from sampler.estimator.query import Query
from sampler.estimator.tolerance import accepted, to_tolerance

NUM_IMAGES, SIDE, ALPHA_BAR, PATCH_SIZE = 400, 6, 0.6, 3
TAIL = 8  # 512 of 6,400 patches inside at once, 2,048 in the second round


@pytest.fixture(scope="module")
def images() -> ImageSet:
    return ImageSet.from_array(random_images(np.random.default_rng(5), NUM_IMAGES, 1, SIDE, SIDE))


@pytest.fixture(scope="module")
def xt(images: ImageSet) -> torch.Tensor:
    return torch.from_numpy(noisy_states(np.random.default_rng(6), images.pixels, 3, ALPHA_BAR))


@pytest.fixture(scope="module")
def exact(images: ImageSet, xt: torch.Tensor):
    return ELSMachine(images).posterior(xt, ALPHA_BAR, PATCH_SIZE)


def found(images, xt, tolerance, *, search=FarthestSearch, seed=0):
    machine = ELSMachine(search(images), k=8, tail=TAIL, seed=seed, tolerance=tolerance)
    return machine.posterior(xt, ALPHA_BAR, PATCH_SIZE)


def test_a_tolerance_of_nothing_is_the_exact_machine(images, xt, exact) -> None:
    posterior = found(images, xt, 0.0)
    torch.testing.assert_close(posterior.mean, exact.mean, rtol=0, atol=1e-4)
    assert not posterior.standard_error.any()
    inside = posterior.rounds[:, 1:-1, 1:-1]
    assert (inside == 2).all()
    assert (posterior.rounds[:, 0, 0] == 0).all()  # corners are exact at once


def test_a_wide_tolerance_changes_no_pixel_that_has_a_known_error(images, xt) -> None:
    first, wide = found(images, xt, None), found(images, xt, 10.0)
    known = first.k_hat < 0.7
    assert torch.equal(wide.rounds == 0, known)
    assert torch.equal(wide.mean[known[:, None]], first.mean[known[:, None]])
    assert (wide.k_hat < 0.7).all()


def test_every_way_is_taken_and_counted(images, xt, exact) -> None:
    first = found(images, xt, None)
    tolerance = float(first.standard_error[first.standard_error > 0].quantile(0.4))
    posterior = found(images, xt, tolerance)
    assert set(posterior.rounds.unique().tolist()) == {0, 1, 2}
    assert float(posterior.standard_error.max()) <= tolerance
    assert (posterior.k_hat < 0.7).all()
    summed = (posterior.rounds == 2)[:, None]
    torch.testing.assert_close(posterior.mean[summed], exact.mean[summed], rtol=0, atol=1e-4)
    error = (posterior.mean - exact.mean).square().mean().sqrt()
    assert float(error) < tolerance
    assert float(error) < 0.8 * float((first.mean - exact.mean).square().mean().sqrt())


@pytest.mark.slow
def test_intervals_of_accepted_pixels_cover_the_exact_value(images, xt, exact) -> None:
    covered = []
    for seed in range(25):
        posterior = found(images, xt, 0.05, search=BruteSearch, seed=seed)
        sampled = posterior.standard_error > 0
        inside = (posterior.mean - exact.mean).abs() <= 1.96 * posterior.standard_error
        covered.append(inside[sampled].double().mean())
    assert 0.92 < float(torch.stack(covered).mean()) < 0.985


def test_only_states_that_want_it_are_asked_again(images) -> None:
    asked = []

    def estimate(query, errors, name):
        y = query.y
        asked.append((name, y[:, 0, 0, 0].tolist()))
        record = PosteriorRecord.empty(y.shape[:1] + y.shape[2:], 1)
        ones = torch.ones_like(record.sum_w)
        variance = errors[y[:, 0, 0, 0].long()].square()[:, None, None, None].expand(-1, 2, 2, 1)
        return PosteriorRecord(
            **{
                **{name: getattr(record, name) for name in PosteriorRecord.__slots__},
                "log_max": 0 * ones,
                "sum_w": ones,
                "var_wc": variance,
            }
        )

    y = torch.arange(3.0)[:, None, None, None].expand(-1, 1, 2, 2)
    errors = [torch.tensor(v).double() for v in ([0.1, 0.3, 0.1], [9, 0.3, 9], [9, 0.9, 9])]
    rounds = [partial(estimate, errors=e, name=n) for n, e in enumerate(errors)]
    geometry = PatchGeometry(height=2, width=2, patch_size=1)
    query = Query(index=BruteSearch(images), y=y, sigma=1.0, geometry=geometry, label=None)
    record = to_tolerance(query, rounds[0](query), rounds[1:], 0.2)
    assert asked == [(0, [0.0, 1.0, 2.0]), (1, [1.0]), (2, [1.0])]
    assert record.rounds[:, 0, 0].tolist() == [0, 2, 0]
    assert accepted(record, 0.2)[:, 0, 0].tolist() == [True, False, True]  # the last is final
