"""Exact sums for a few pixels, whatever the noise, beside float64 brute force."""

from math import sqrt

import numpy as np
import pytest
import torch
from hypothesis import given
from reference.samples import PROPERTY, Case, cases, noisy_states, random_images
from reference.score_machines import posterior_at

from patchindex import PatchGeometry, PosteriorRecord
from patchindex.errors import KernelInputError
from patchindex.kernels import pixel_scan, scan_at

# of a log weight, so the same part of a weight: what float32 is chosen for; float64 leaves far less
LARGEST_ROUNDING = 1e-4


def state_of(rng, images: np.ndarray, sigma: float, num: int = 2) -> torch.Tensor:
    """Training images with noise, in data units."""
    alpha_bar = 1 / (1 + sigma**2)
    return torch.from_numpy(noisy_states(rng, images, num, alpha_bar)) / sqrt(alpha_bar)


def places_of(rng, num: int, height: int, width: int, count: int = 12) -> torch.Tensor:
    """Random pixels, some of them twice, and the four corners of the first state."""
    drawn = np.stack([rng.integers(0, end, count) for end in (num, height, width)], axis=1)
    corners = [[0, row, col] for row in (0, height - 1) for col in (0, width - 1)]
    return torch.from_numpy(np.concatenate([drawn, corners, drawn[:2]]))


def assert_equals_reference(
    record: PosteriorRecord, y: torch.Tensor, places: torch.Tensor, images: np.ndarray,
    sigma: float, geometry: PatchGeometry,
) -> None:  # fmt: skip
    alpha_bar = 1 / (1 + sigma**2)
    xt = y.double().numpy() * sqrt(alpha_bar)
    log_mass = record.log_max + record.sum_w.log()
    sizes = record.sum_w.square() / record.sum_w2
    for query, (state, row, col) in enumerate(places.tolist()):
        expected = posterior_at(
            [(row, col)], xt[state], alpha_bar, images, geometry.patch_size,
            machine="ELS" if geometry.equivariant else "LS", boundary=geometry.boundary,
        )  # fmt: skip
        assert abs(float(log_mass[query]) - expected.log_mass[0]) < LARGEST_ROUNDING
        np.testing.assert_allclose(record.mean[query], expected.mean[:, 0], atol=LARGEST_ROUNDING)
        expected_size = expected.effective_sample_size[0]
        assert float(sizes[query]) == pytest.approx(expected_size, rel=2 * LARGEST_ROUNDING)


@PROPERTY
@given(cases())
def test_each_pixel_is_that_of_brute_force(case: Case) -> None:
    images, sigma = case.images(), sqrt(1 / case.alpha_bar - 1)
    geometry = PatchGeometry(
        height=case.height, width=case.width, patch_size=case.patch_size, boundary=case.boundary
    )
    y = state_of(case.rng, images, sigma)
    places = places_of(case.rng, 2, case.height, case.width, count=5)
    record = scan_at(torch.from_numpy(images), y, places, sigma, geometry)
    assert_equals_reference(record, y, places, images, sigma, geometry)
    assert record.num_scored.tolist() == [
        len(images) * geometry.centers_per_pixel[row, col] for _, row, col in places.tolist()
    ]


@pytest.mark.parametrize("sigma", [0.02, 0.1, 0.3, 1.0, 4.0, 50.0])
@pytest.mark.parametrize("boundary", ["zeros", "circular", "circular_interior"])
@pytest.mark.parametrize("patch_size", [3, 9])
def test_weights_err_below_1e_4_at_any_noise(rng, sigma, boundary, patch_size) -> None:
    """At sigma = 0.02 float32 products err by 1e-2, which the next test shows."""
    images = random_images(rng, 50, 3, 10, 11)
    geometry = PatchGeometry(height=10, width=11, patch_size=patch_size, boundary=boundary)
    y, places = state_of(rng, images, sigma), places_of(rng, 2, 10, 11)
    record = scan_at(torch.from_numpy(images), y, places, sigma, geometry)
    assert_equals_reference(record, y, places, images, sigma, geometry)


def test_float32_would_not_do_at_low_noise(rng, monkeypatch) -> None:
    images = random_images(rng, 50, 3, 10, 11)
    geometry = PatchGeometry(height=10, width=11, patch_size=9)
    y, places = state_of(rng, images, 0.02), places_of(rng, 2, 10, 11)
    monkeypatch.setattr(pixel_scan, "_sufficient", lambda *_: torch.float32)
    record = scan_at(torch.from_numpy(images), y, places, 0.02, geometry)
    with pytest.raises(AssertionError):
        assert_equals_reference(record, y, places, images, 0.02, geometry)


@pytest.mark.parametrize("boundary", ["zeros", "circular"])
def test_the_local_machine_compares_windows_at_the_same_place(rng, boundary) -> None:
    images = random_images(rng, 60, 2, 8, 9)
    geometry = PatchGeometry(height=8, width=9, patch_size=5, boundary=boundary, equivariant=False)
    y, places = state_of(rng, images, 1.0), places_of(rng, 2, 8, 9)
    record = scan_at(torch.from_numpy(images), y, places, 1.0, geometry)
    assert_equals_reference(record, y, places, images, 1.0, geometry)


@pytest.mark.slow
def test_neither_blocks_nor_threads_change_the_sums(rng, monkeypatch) -> None:
    images = torch.from_numpy(random_images(rng, 300, 1, 9, 9))
    geometry = PatchGeometry(height=9, width=9, patch_size=5)
    y, places = state_of(rng, images.numpy(), 0.5), places_of(rng, 2, 9, 9)
    whole = scan_at(images, y, places, 0.5, geometry)
    monkeypatch.setattr(pixel_scan, "_BLOCK_BYTES", {"cpu": 1})  # image by image
    monkeypatch.setattr(pixel_scan, "_TURN_IMAGES", 7)
    small = scan_at(images, y, places, 0.5, geometry)
    torch.testing.assert_close(small.mean, whole.mean, rtol=0, atol=1e-6)
    log_mass = [record.log_max + record.sum_w.log() for record in (small, whole)]
    torch.testing.assert_close(*log_mass, rtol=0, atol=1e-5)


def test_memory_does_not_grow_with_the_images(rng) -> None:
    """A block of a turn holds so many images as fit; beside it there are records of the places."""
    geometry = PatchGeometry(height=64, width=64, patch_size=15)
    y = torch.zeros(1, 3, 64, 64)
    (group,) = pixel_scan._grouped(y, torch.tensor([[0, 30, 30]] * 64), 0.1, geometry)
    per_block = pixel_scan._images_per_block(group, 2**21)
    assert per_block == 1
    (corner,) = pixel_scan._grouped(y, torch.tensor([[0, 0, 0]]), 0.1, geometry)
    assert pixel_scan._images_per_block(corner, 2**21) > 100


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ([[0, 0, 6]], r"pixel \(0, 0, 6\) was asked for\. Give .* up to \(1, 4, 5\)"),
        ([[0, 0, 0], [2, 0, 0]], r"pixel \(2, 0, 0\) was asked for"),
        ([[0, -1, 0]], r"pixel \(0, -1, 0\) was asked for"),
        (np.empty((0, 3), dtype=int), r"no pixel was asked for\. Give state, row and column"),
    ],
)
def test_places_that_are_not_there_are_refused(rng, places, message) -> None:
    images = torch.from_numpy(random_images(rng, 3, 1, 5, 6))
    geometry = PatchGeometry(height=5, width=6, patch_size=3)
    with pytest.raises(KernelInputError, match=message):
        scan_at(images, torch.zeros(2, 1, 5, 6), torch.as_tensor(places), 1.0, geometry)


def test_states_far_beyond_their_noise_are_refused(rng) -> None:
    images = torch.from_numpy(random_images(rng, 3, 1, 5, 6))
    geometry = PatchGeometry(height=5, width=6, patch_size=3)
    with pytest.raises(KernelInputError, match="sigma must be positive"):
        scan_at(images, torch.zeros(1, 1, 5, 6), torch.tensor([[0, 0, 0]]), 0.0, geometry)
