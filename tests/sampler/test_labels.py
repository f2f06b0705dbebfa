"""Classes of samples, and machines asked class by class."""

import pytest
import torch
from asked import at
from small_index import small_images

from patchindex import UserError
from sampler import ELSMachine
from sampler.follower import Follower, draw_labels, labels_for
from sampler.schedule import plan_steps

IMAGES = small_images(30, 8)
(STEP, *_) = plan_steps((3,), 2, "cosine")
SIZES = {STEP.sigma: STEP.patch_size}


@pytest.fixture
def xt() -> torch.Tensor:
    return torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def test_each_sample_is_denoised_over_the_images_of_its_own_class(xt) -> None:
    machine, label = ELSMachine(IMAGES), torch.tensor([2, 0, 2, 1])
    found = at(Follower(machine, label, SIZES), xt, STEP)
    for i, value in enumerate(label.tolist()):
        alone = machine.posterior(xt[i : i + 1], STEP.alpha_bar, 3, label=value).mean
        torch.testing.assert_close(found[i : i + 1], alone, atol=1e-6, rtol=0)


def test_without_classes_all_images_serve(xt) -> None:
    machine = ELSMachine(IMAGES)
    found = at(Follower(machine, None, SIZES), xt, STEP)
    torch.testing.assert_close(found, machine.posterior(xt, STEP.alpha_bar, 3).mean)


def test_a_class_that_no_image_has_is_refused(xt) -> None:
    with pytest.raises(UserError, match="no image of small has label 77"):
        at(Follower(ELSMachine(IMAGES), torch.tensor([0, 77, 0, 0]), SIZES), xt, STEP)


def test_the_class_of_a_sample_does_not_depend_on_how_many_there_are() -> None:
    assert draw_labels(20, 10, seed=3)[:5].equal(draw_labels(5, 10, seed=3))
    assert not draw_labels(20, 10, seed=3).equal(draw_labels(20, 10, seed=4))


def test_every_class_is_drawn_about_equally_often() -> None:
    counts = draw_labels(2000, 4, seed=0).bincount(minlength=4)
    assert counts.sum() == 2000
    assert (counts - 500).abs().max() < 100  # five standard deviations


def test_the_class_asked_for_is_that_of_every_sample() -> None:
    label = labels_for(3, 10, label=7, seed=0)
    assert label is not None
    assert label.tolist() == [7, 7, 7]
    assert labels_for(3, 0, label=None, seed=0) is None
