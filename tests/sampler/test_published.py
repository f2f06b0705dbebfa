"""Our machines against scores computed by the authors' implementation."""

import numpy as np
import pytest
import torch
from reference.published import DATASETS, PublishedCase, needs_published, published_case

from patchindex import ImageSet
from sampler import ELSMachine, ISMachine, LSMachine

# both sides are float32; a float64 reference is 1.0e-5 of the largest score off, ours 0.95e-5
TOLERANCE = 5e-5


def score(case: PublishedCase, xt: np.ndarray) -> np.ndarray:
    """[b, c, h, w] for states of the same shape."""
    images, states = ImageSet.from_array(case.images), torch.from_numpy(xt)
    if case.machine == "IS":
        return ISMachine(images).score(states, case.alpha_bar).numpy()
    kind = LSMachine if case.machine == "LS" else ELSMachine
    machine = kind(images, boundary=case.boundary)
    return machine.score(states, case.alpha_bar, case.patch_size).numpy()


@needs_published
@pytest.mark.parametrize("number", range(16))
@pytest.mark.parametrize("dataset", DATASETS)
def test_scores_equal_the_published_ones(dataset: str, number: int) -> None:
    case = published_case(dataset, number)
    assert case.relative_error(score(case, case.xt[None])[0]) < TOLERANCE


@needs_published
@pytest.mark.parametrize("number", [2, 7, 11])
def test_the_place_in_a_batch_does_not_change_a_published_score(number: int) -> None:
    case = published_case("fashion_mnist_32", number)
    batch = score(case, np.stack([-3 * case.xt, case.xt]))
    assert case.relative_error(batch[0]) > TOLERANCE
    assert case.relative_error(batch[1]) < TOLERANCE
