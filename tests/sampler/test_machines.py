"""Exact machines against brute force over every legal patch."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from reference.samples import PROPERTY, Case, cases, noisy_states, random_images
from reference.score_machines import posterior

from patchindex import ImageSet, UserError
from sampler import ELSMachine, ISMachine, LSMachine

# float32 distances divided by 2 sigma^2: relative 1e-6 of log weights that reach some hundreds
MEAN_ATOL, LOG_MASS_ATOL, ESS_RTOL = 2e-4, 2e-3, 2e-3
KINDS = {"ELS": ELSMachine, "LS": LSMachine}


def assert_equals_reference(
    found, images: np.ndarray, states: np.ndarray, case: Case, machine: str
) -> None:
    for b, xt in enumerate(states):
        expected = posterior(
            xt, case.alpha_bar, images, case.patch_size, machine=machine, boundary=case.boundary
        )
        np.testing.assert_allclose(found.mean[b], expected.mean, atol=MEAN_ATOL)
        np.testing.assert_allclose(
            found.log_mass[b], expected.log_mass, atol=LOG_MASS_ATOL, rtol=1e-5
        )
        np.testing.assert_allclose(
            found.effective_sample_size[b], expected.effective_sample_size, rtol=ESS_RTOL
        )


@PROPERTY
@given(cases())
def test_els_equals_brute_force(case: Case) -> None:
    images, states = case.images(), case.states(2)
    machine = ELSMachine(ImageSet.from_array(images), boundary=case.boundary)
    found = machine.posterior(torch.from_numpy(states), case.alpha_bar, case.patch_size)
    assert_equals_reference(found, images, states, case, "ELS")


@PROPERTY
@given(cases(boundaries=("zeros", "circular")))
def test_ls_equals_brute_force(case: Case) -> None:
    images, states = case.images(), case.states(2)
    machine = LSMachine(ImageSet.from_array(images), boundary=case.boundary)
    found = machine.posterior(torch.from_numpy(states), case.alpha_bar, case.patch_size)
    assert_equals_reference(found, images, states, case, "LS")


@PROPERTY
@given(cases(boundaries=("zeros",)))
def test_is_equals_brute_force_whatever_the_patch_size(case: Case) -> None:
    images, states = case.images(), case.states(2)
    machine = ISMachine(ImageSet.from_array(images))
    for patch_size in ((), (case.patch_size,)):
        found = machine.posterior(torch.from_numpy(states), case.alpha_bar, *patch_size)
        assert_equals_reference(found, images, states, case, "IS")


@pytest.mark.parametrize("boundary", ["zeros", "circular", "circular_interior"])
@pytest.mark.parametrize("patch_size", [1, 3, 5])
def test_a_label_restricts_the_dictionary_to_its_images(
    rng: np.random.Generator, boundary: str, patch_size: int
) -> None:
    images, labels = random_images(rng, 6, 3, 5, 6), np.array([0, 3, 0, 3, 3, 1])
    states = noisy_states(rng, images, 2, 0.8)
    case = Case(6, 3, 5, 6, patch_size, boundary, 0.8, seed=0)
    labelled = ImageSet.from_array(images, labels=labels)
    for kind, cls in KINDS.items() if boundary != "circular_interior" else [("ELS", ELSMachine)]:
        machine = cls(labelled, boundary=boundary)
        found = machine.posterior(torch.from_numpy(states), 0.8, patch_size, label=3)
        assert_equals_reference(found, images[labels == 3], states, case, kind)


def test_a_label_restricts_the_images_of_the_ideal_machine(rng: np.random.Generator) -> None:
    images, labels = random_images(rng, 6, 1, 5, 6), [0, 3, 0, 3, 3, 1]
    states = noisy_states(rng, images, 2, 0.1)
    machine = ISMachine(ImageSet.from_array(images, labels=labels))
    found = machine.posterior(torch.from_numpy(states), 0.1, label=3)
    case = Case(3, 1, 5, 6, 1, "zeros", 0.1, seed=0)
    assert_equals_reference(found, images[[1, 3, 4]], states, case, "IS")


@pytest.mark.parametrize("cls", [ISMachine, LSMachine, ELSMachine])
def test_exact_machines_are_all_head_and_know_no_error(rng: np.random.Generator, cls: type) -> None:
    images = random_images(rng, 3, 1, 5, 6)
    machine = cls(ImageSet.from_array(images))
    found = machine.posterior(torch.from_numpy(noisy_states(rng, images, 2, 0.5)), 0.5, 3)
    assert found.mean.shape == found.standard_error.shape == (2, 1, 5, 6)
    for field in (found.log_mass, found.effective_sample_size, found.head_mass):
        assert field.shape == (2, 5, 6)
    torch.testing.assert_close(found.head_mass, torch.ones_like(found.head_mass))
    assert not found.standard_error.any()


@pytest.mark.parametrize("cls", [ISMachine, LSMachine, ELSMachine])
def test_the_score_is_tweedies_formula(rng: np.random.Generator, cls: type) -> None:
    images = random_images(rng, 3, 1, 5, 6)
    xt = torch.from_numpy(noisy_states(rng, images, 2, 0.3))
    machine = cls(ImageSet.from_array(images))
    expected = (0.3**0.5 * machine.posterior(xt, 0.3, 3).mean - xt) / (1 - 0.3)
    torch.testing.assert_close(
        machine.score(xt, 0.3, 3).float(), expected.float(), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("cls", [ISMachine, LSMachine, ELSMachine])
def test_the_other_images_of_a_batch_change_nothing(rng: np.random.Generator, cls: type) -> None:
    images = random_images(rng, 4, 1, 6, 6)
    xt = torch.from_numpy(noisy_states(rng, images, 3, 0.5))
    xt[1] *= 40  # far away: one running maximum for the whole batch would underflow the others
    machine = cls(ImageSet.from_array(images))
    together = machine.posterior(xt, 0.5, 3)
    for b in range(3):
        alone = machine.posterior(xt[b : b + 1], 0.5, 3)
        torch.testing.assert_close(together.mean[b], alone.mean[0], rtol=0, atol=1e-6)
        torch.testing.assert_close(together.log_mass[b], alone.log_mass[0])


@pytest.mark.parametrize("cls", [ISMachine, LSMachine, ELSMachine])
def test_the_state_is_left_alone(rng: np.random.Generator, cls: type) -> None:
    images = random_images(rng, 4, 1, 6, 6)
    xt = torch.from_numpy(noisy_states(rng, images, 3, 0.5))
    before = xt.clone()
    machine = cls(ImageSet.from_array(images))
    machine.posterior(xt, 0.5, 3)
    machine.score(xt, 0.5, 3)
    assert xt.equal(before)


@pytest.mark.parametrize("cls", [LSMachine, ELSMachine])
@pytest.mark.parametrize(
    ("patch_size", "message"), [(4, "scale 4 is not a patch size"), (13, "scale 13 is too large")]
)
def test_wrong_scales_are_refused(
    rng: np.random.Generator, cls: type, patch_size: int, message: str
) -> None:
    machine = cls(ImageSet.from_array(random_images(rng, 2, 1, 6, 6)))
    with pytest.raises(UserError, match=message):
        machine.posterior(torch.zeros(1, 1, 6, 6), 0.5, patch_size)


@pytest.mark.parametrize("cls", [ISMachine, LSMachine, ELSMachine])
def test_unknown_labels_are_refused(rng: np.random.Generator, cls: type) -> None:
    images = random_images(rng, 2, 1, 6, 6)
    labelled, plain = ImageSet.from_array(images, labels=[0, 2]), ImageSet.from_array(images)
    with pytest.raises(UserError, match=r"has label 1\. Give one of these labels: 0, 2"):
        cls(labelled).posterior(torch.zeros(1, 1, 6, 6), 0.5, 3, label=1)
    with pytest.raises(UserError, match="have no labels"):
        cls(plain).posterior(torch.zeros(1, 1, 6, 6), 0.5, 3, label=1)


@pytest.mark.parametrize("cls", [ISMachine, LSMachine, ELSMachine])
@pytest.mark.parametrize(
    ("xt", "alpha_bar", "message"),
    [
        (
            torch.zeros(1, 1, 5, 6),
            0.5,
            r"states have shape \(1, 1, 5, 6\).*Give shape \[b, 1, 6, 6\]",
        ),
        (torch.zeros(1, 3, 6, 6), 0.5, r"states have shape \(1, 3, 6, 6\)"),
        (torch.zeros(0, 1, 6, 6), 0.5, r"states have shape \(0, 1, 6, 6\)"),
        (torch.full((1, 1, 6, 6), torch.nan), 0.5, r"not finite \(nan or inf\)"),
        (torch.zeros(1, 1, 6, 6), 0.0, r"alpha_bar is 0\.0. Give a value between 0 and 1"),
        (torch.zeros(1, 1, 6, 6), 1.0, r"alpha_bar is 1\.0. Give a value between 0 and 1"),
    ],
)
def test_states_that_cannot_be_are_refused(
    rng: np.random.Generator, cls: type, xt: torch.Tensor, alpha_bar: float, message: str
) -> None:
    machine = cls(ImageSet.from_array(random_images(rng, 2, 1, 6, 6)))
    with pytest.raises(UserError, match=message):
        machine.posterior(xt, alpha_bar, 3)


def test_the_ls_machine_refuses_the_boundary_that_has_no_meaning_for_it(
    rng: np.random.Generator,
) -> None:
    images = ImageSet.from_array(random_images(rng, 2, 1, 6, 6))
    with pytest.raises(UserError, match="circular_interior has no meaning"):
        LSMachine(images, boundary="circular_interior")


@pytest.fixture
def warn_always() -> Iterator[None]:
    """Torch repeats a warning that it otherwise gives once per process."""
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(False)


@pytest.mark.usefixtures("warn_always")
@pytest.mark.parametrize("cls", [ISMachine, LSMachine, ELSMachine])
def test_images_that_may_not_be_written_to_serve_without_a_warning(
    rng: np.random.Generator, cls: type
) -> None:
    images = random_images(rng, 2, 1, 6, 6)
    images.setflags(write=False)  # as a memory map is
    cls(ImageSet.from_array(images)).posterior(torch.zeros(1, 1, 6, 6), 0.5, 3)
