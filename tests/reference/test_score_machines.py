"""The reference itself: against the authors' scores, and against sums written out by hand."""

import numpy as np
import pytest
from reference.published import DATASETS, needs_published, published_case
from reference.samples import noisy_states, random_images
from reference.score_machines import posterior, posterior_at


@needs_published
@pytest.mark.parametrize("number", range(16))
@pytest.mark.parametrize("dataset", DATASETS)
def test_reference_gives_the_published_scores(dataset: str, number: int) -> None:
    case = published_case(dataset, number)
    # corners, edges and interior; over all pixels the worst of all cases is 1.0e-5
    pixels = [(0, 0), (0, 31), (1, 14), (16, 30), (31, 7), (15, 16), (20, 9), (29, 28)]
    found = posterior_at(
        pixels,
        case.xt,
        case.alpha_bar,
        case.images,
        case.patch_size,
        machine=case.machine,
        boundary=case.boundary,
    )
    rows, cols = np.array(pixels).T
    assert case.relative_error(found.score, (rows, cols)) < 2e-5


def test_one_pixel_images_are_a_softmax_over_values(rng: np.random.Generator) -> None:
    images = random_images(rng, 5, 1, 1, 1)
    xt, alpha_bar = np.array([[[0.3]]]), 0.6
    values = images.ravel() / 127.5 - 1
    weights = np.exp(-((0.3 - np.sqrt(0.6) * values) ** 2) / (2 * 0.4))
    found = posterior(xt, alpha_bar, images, 1)
    assert found.mean.item() == pytest.approx((weights * values).sum() / weights.sum())
    assert found.log_mass.item() == pytest.approx(np.log(weights.sum()))
    ess = weights.sum() ** 2 / (weights**2).sum()
    assert found.effective_sample_size.item() == pytest.approx(ess)


@pytest.mark.parametrize("patch_size", [3, 5, 9, 11])
def test_circular_windows_equal_those_of_a_tiled_image(
    rng: np.random.Generator, patch_size: int
) -> None:
    images = random_images(rng, 1, 1, 3, 6)
    xt = noisy_states(rng, images, 1, 0.5)[0]
    radius, (height, width) = patch_size // 2, (3, 6)
    train, query = np.tile(images / 127.5 - 1, (5, 5)), np.tile(xt / np.sqrt(0.5), (5, 5))
    log_weights = []
    for y in range(2 * height, 3 * height):
        for x in range(2 * width, 3 * width):
            rows, cols = slice(y - radius, y + radius + 1), slice(x - radius, x + radius + 1)
            here = slice(6 - radius, 6 + radius + 1), slice(12 - radius, 12 + radius + 1)
            difference = query[0][here] - train[0, 0][rows, cols]
            log_weights.append(-(difference**2).sum() / 2)
    found = posterior(xt, 0.5, images, patch_size, boundary="circular")
    assert found.log_mass[0, 0] == pytest.approx(np.log(np.exp(log_weights).sum()))
