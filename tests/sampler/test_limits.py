"""What the machines become at large patches, at no noise, at all noise, and for changed data."""

import numpy as np
import pytest
import torch
from hypothesis import given
from reference.samples import PROPERTY, Case, cases, noisy_states, random_images
from reference.score_machines import as_unit, legal_centers, local_dictionary

from patchindex import ImageSet
from sampler import ELSMachine, ISMachine, LSMachine

BOUNDARIES = ["zeros", "circular", "circular_interior"]


def els(case: Case, images: np.ndarray, xt: np.ndarray, alpha_bar: float | None = None):
    machine = ELSMachine(ImageSet.from_array(images), boundary=case.boundary)
    return machine.posterior(torch.from_numpy(xt), alpha_bar or case.alpha_bar, case.patch_size)


def assert_same(a, b, atol: float = 1e-4) -> None:
    torch.testing.assert_close(a.mean, b.mean, rtol=0, atol=atol)
    torch.testing.assert_close(a.log_mass, b.log_mass, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(
        a.effective_sample_size, b.effective_sample_size, rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("patch_size", [7, 9, 11, 13])
def test_windows_as_large_as_the_image_make_els_the_ls_machine(
    rng: np.random.Generator, patch_size: int
) -> None:
    images = ImageSet.from_array(random_images(rng, 5, 1, 6, 7))
    xt = torch.from_numpy(noisy_states(rng, images.pixels, 2, 0.1))
    local = LSMachine(images).posterior(xt, 0.1, patch_size)
    assert_same(ELSMachine(images).posterior(xt, 0.1, patch_size), local)


@pytest.mark.parametrize("machine", [ELSMachine, LSMachine])
@pytest.mark.parametrize(("height", "width"), [(6, 6), (3, 6), (6, 2)])
def test_windows_that_see_every_pixel_make_the_ideal_machine(
    rng: np.random.Generator, machine: type, height: int, width: int
) -> None:
    images = ImageSet.from_array(random_images(rng, 5, 3, height, width))
    xt = torch.from_numpy(noisy_states(rng, images.pixels, 2, 0.05))
    ideal = ISMachine(images).posterior(xt, 0.05)
    assert_same(machine(images).posterior(xt, 0.05, 11), ideal)


def test_smaller_windows_than_that_are_not_the_ideal_machine(rng: np.random.Generator) -> None:
    images = ImageSet.from_array(random_images(rng, 5, 1, 6, 6))
    xt = torch.from_numpy(noisy_states(rng, images.pixels, 2, 0.05))
    ideal = ISMachine(images).posterior(xt, 0.05).mean
    assert float((LSMachine(images).posterior(xt, 0.05, 9).mean - ideal).abs().max()) > 1e-2


@PROPERTY
@given(cases())
def test_pure_noise_gives_the_plain_mean_of_all_legal_centers(case: Case) -> None:
    images, alpha_bar = case.images(), 1e-7
    xt = case.rng.standard_normal((1, *images.shape[1:])).astype(np.float32)
    found = els(case, images, xt, alpha_bar)
    for y in range(case.height):
        for x in range(case.width):
            size = (case.height, case.width)
            legal = legal_centers("ELS", case.boundary, (y, x), case.patch_size, size)
            expected = as_unit(images)[:, :, legal].mean(axis=(0, 2))
            # the weights still differ by xt . patch / sigma, a few parts in a thousand
            np.testing.assert_allclose(found.mean[0, :, y, x], expected, atol=1e-2)
            count = len(images) * legal.sum()
            assert float(found.effective_sample_size[0, y, x]) == pytest.approx(count, rel=1e-2)


@PROPERTY
@given(cases())
def test_no_noise_gives_the_center_of_the_nearest_legal_patch(case: Case) -> None:
    images, alpha_bar = case.images(), 1 - 1e-6
    xt = case.rng.uniform(-1, 1, (1, *images.shape[1:])).astype(np.float32)
    found = els(case, images, xt, alpha_bar)
    dictionary = local_dictionary("ELS", case.boundary)
    for y in range(case.height):
        for x in range(case.width):
            query = xt[0] / np.sqrt(alpha_bar)
            dist_sq, centers = dictionary(query, as_unit(images), (y, x), case.patch_size)
            order = np.argsort(dist_sq)
            if dist_sq[order[1:2]].sum() - dist_sq[order[0]] > 1e-3 or len(order) == 1:
                nearest = centers[order[0]]
                np.testing.assert_allclose(found.mean[0, :, y, x], nearest, atol=1e-5)


@PROPERTY
@given(cases())
def test_effective_sample_size_and_mean_stay_in_their_ranges(case: Case) -> None:
    images = case.images()
    found = els(case, images, case.states(2))
    largest = len(images) * case.height * case.width
    # 1e-5: the last digits of float32
    assert float(found.effective_sample_size.min()) >= 1 - 1e-5
    assert float(found.effective_sample_size.max()) <= largest * (1 + 1e-5)
    unit = as_unit(images)
    for channel in range(case.channels):
        values = found.mean[:, channel]
        assert float(values.min()) >= unit[:, channel].min() - 1e-5
        assert float(values.max()) <= unit[:, channel].max() + 1e-5


@PROPERTY
@given(cases())
def test_doubled_data_leave_the_mean_alone_and_double_the_effective_sample_size(case: Case) -> None:
    images, xt = case.images(), case.states(2)
    once, twice = els(case, images, xt), els(case, np.concatenate([images, images]), xt)
    torch.testing.assert_close(twice.mean, once.mean, rtol=0, atol=1e-5)
    torch.testing.assert_close(twice.log_mass, once.log_mass + np.log(2), rtol=1e-6, atol=1e-4)
    torch.testing.assert_close(
        twice.effective_sample_size, 2 * once.effective_sample_size, rtol=1e-4, atol=0
    )


@PROPERTY
@given(cases())
def test_the_order_of_the_images_changes_nothing(case: Case) -> None:
    images, xt = case.images(), case.states(2)
    assert_same(els(case, images[::-1].copy(), xt), els(case, images, xt), atol=1e-5)


@PROPERTY
@given(cases(boundaries=("circular", "circular_interior")))
def test_wrapping_boundaries_commute_with_shifts_of_the_state(case: Case) -> None:
    images, xt, shift = case.images(), case.states(2), (case.height // 2, case.width // 3)
    shifted = els(case, images, np.roll(xt, shift, axis=(2, 3)))
    still = els(case, images, xt)
    torch.testing.assert_close(shifted.mean, still.mean.roll(shift, dims=(2, 3)), rtol=0, atol=1e-4)


@PROPERTY
@given(cases(boundaries=("circular",)))
def test_circular_dictionaries_do_not_care_where_a_training_image_starts(case: Case) -> None:
    images, xt = case.images(), case.states(2)
    rolled = np.roll(images, (case.height // 3, case.width // 2), axis=(2, 3))
    assert_same(els(case, rolled, xt), els(case, images, xt))


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_single_plain_image_is_its_own_posterior_mean(boundary: str) -> None:
    case = Case(1, 1, 6, 5, 3, boundary, 0.5, seed=0)
    images = np.full((1, 1, 6, 5), 64, dtype=np.uint8)
    found = els(case, images, case.states(2))
    torch.testing.assert_close(
        found.mean, torch.full_like(found.mean, 64 / 127.5 - 1), rtol=0, atol=1e-6
    )
