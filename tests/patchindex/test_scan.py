"""The exact scan against brute force over every legal patch."""

import numpy as np
import pytest
import torch
from hypothesis import given
from reference.samples import PROPERTY, Case, cases, noisy_states, random_images
from reference.score_machines import Posterior, posterior

from patchindex import PatchGeometry, PosteriorRecord
from patchindex.kernels.torch_scan import exact_scan

# float32 distances of up to a few hundred cells, divided by 2 sigma^2: relative 1e-6 of log weights
# that reach some hundreds
LOG_MASS_ATOL, RTOL, MEAN_ATOL = 2e-3, 2e-3, 2e-4


def scanned(
    case: Case, images: np.ndarray, states: np.ndarray, *, equivariant: bool = True, **options: int
) -> PosteriorRecord:
    geometry = PatchGeometry(
        height=case.height,
        width=case.width,
        patch_size=case.patch_size,
        boundary=case.boundary,
        equivariant=equivariant,
    )
    y = torch.from_numpy(states) / case.alpha_bar**0.5
    sigma = ((1 - case.alpha_bar) / case.alpha_bar) ** 0.5
    return exact_scan(torch.from_numpy(images), y, sigma, geometry, **options)


def log_mass(record: PosteriorRecord) -> np.ndarray:
    return (record.log_max + record.sum_w.log()).numpy()


def mean(record: PosteriorRecord) -> np.ndarray:
    """[b, c, h, w]."""
    return np.moveaxis((record.sum_wc / record.sum_w[..., None]).numpy(), -1, 1)


def effective_sample_size(record: PosteriorRecord) -> np.ndarray:
    return (record.sum_w.square() / record.sum_w2).numpy()


def assert_equals_reference(record: PosteriorRecord, expected: list[Posterior]) -> None:
    for b, one in enumerate(expected):
        np.testing.assert_allclose(log_mass(record)[b], one.log_mass, atol=LOG_MASS_ATOL, rtol=1e-5)
        np.testing.assert_allclose(mean(record)[b], one.mean, atol=MEAN_ATOL)
        np.testing.assert_allclose(
            effective_sample_size(record)[b], one.effective_sample_size, rtol=RTOL
        )


def references(
    case: Case, images: np.ndarray, states: np.ndarray, *, machine: str = "ELS"
) -> list[Posterior]:
    return [
        posterior(
            xt, case.alpha_bar, images, case.patch_size, machine=machine, boundary=case.boundary
        )
        for xt in states
    ]


@PROPERTY
@given(cases())
def test_scan_equals_brute_force_over_legal_patches(case: Case) -> None:
    images, states = case.images(), case.states(2)
    assert_equals_reference(scanned(case, images, states), references(case, images, states))


@PROPERTY
@given(cases(boundaries=("zeros", "circular")))
def test_scan_without_equivariance_equals_brute_force_at_the_same_place(case: Case) -> None:
    images, states = case.images(), case.states(2)
    record = scanned(case, images, states, equivariant=False)
    assert_equals_reference(record, references(case, images, states, machine="LS"))
    assert (record.num_scored == case.num_images).all()


FIXED = [
    Case(3, 1, 9, 9, patch_size, boundary, 0.5, seed=patch_size)
    for boundary in ("zeros", "circular", "circular_interior")
    for patch_size in (1, 3, 5, 9)
] + [
    Case(2, 3, 4, 7, 9, "zeros", 0.9, seed=1),
    Case(2, 3, 7, 4, 13, "circular", 0.9, seed=2),
    Case(1, 3, 7, 5, 5, "circular_interior", 0.1, seed=3),
]


@pytest.mark.parametrize("case", FIXED, ids=str)
def test_scan_equals_brute_force_on_named_shapes(case: Case) -> None:
    images, states = case.images(), case.states(2)
    assert_equals_reference(scanned(case, images, states), references(case, images, states))


@PROPERTY
@given(cases())
def test_every_legal_patch_is_scored_and_nothing_is_sampled(case: Case) -> None:
    record = scanned(case, case.images(), case.states(1))
    geometry = PatchGeometry(
        height=case.height, width=case.width, patch_size=case.patch_size, boundary=case.boundary
    )
    for signature in geometry.signatures:
        pixels = np.ix_([0], signature.rows.pixels, signature.cols.pixels)
        assert (record.num_scored[pixels] == case.num_images * signature.num_centers).all()
    assert record.sum_head.equal(record.sum_w)
    assert not any(part.any() for part in (record.var_w, record.cov_wc, record.var_wc))


@PROPERTY
@given(cases())
def test_the_chunk_size_changes_nothing(case: Case) -> None:
    images, states = case.images(), case.states(1)
    large = scanned(case, images, states, chunk_bytes=2**26)
    tiny = scanned(case, images, states, chunk_bytes=1)
    np.testing.assert_allclose(log_mass(tiny), log_mass(large), atol=1e-4, rtol=1e-6)
    np.testing.assert_allclose(mean(tiny), mean(large), atol=1e-5)
    assert tiny.num_scored.equal(large.num_scored)


def test_scanning_parts_of_the_images_and_merging_is_one_scan(rng: np.random.Generator) -> None:
    case = Case(7, 1, 6, 5, 3, "zeros", 0.7, seed=0)
    images = random_images(rng, 7, 1, 6, 5)
    states = noisy_states(rng, images, 2, case.alpha_bar)
    parts = PosteriorRecord.merged(
        [scanned(case, part, states) for part in np.split(images, [1, 5])]
    )
    whole = scanned(case, images, states)
    np.testing.assert_allclose(log_mass(parts), log_mass(whole), atol=1e-4)
    np.testing.assert_allclose(mean(parts), mean(whole), atol=1e-5)
    assert parts.num_scored.equal(whole.num_scored)


def test_very_low_noise_gives_the_nearest_patch_and_no_nan(rng: np.random.Generator) -> None:
    images = random_images(rng, 3, 1, 6, 6)
    y = torch.from_numpy(images[:1] / 127.5 - 1).float()
    geometry = PatchGeometry(height=6, width=6, patch_size=3)
    record = exact_scan(torch.from_numpy(images), y, 1e-3, geometry)
    np.testing.assert_allclose(mean(record), y.numpy(), atol=1e-5)
    assert record.log_max.isfinite().all()
    assert (record.sum_w >= 1 - 1e-6).all()


def test_the_arguments_are_left_alone(rng: np.random.Generator) -> None:
    images = torch.from_numpy(random_images(rng, 3, 1, 6, 6))
    y = torch.from_numpy(rng.standard_normal((2, 1, 6, 6), dtype=np.float32))
    before = images.clone(), y.clone()
    exact_scan(images, y, 0.5, PatchGeometry(height=6, width=6, patch_size=5))
    assert images.equal(before[0])
    assert y.equal(before[1])
