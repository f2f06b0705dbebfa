"""Corner pixels are summed whole, in blocks cut from the images where that is less work."""

import numpy as np
import pytest
import torch
from reference.brute_search import BruteSearch
from reference.samples import noisy_states, random_images
from reference.score_machines import posterior

from patchindex import ImageSet, PatchGeometry
from sampler import ELSMachine
from sampler.estimator.query import Query
from sampler.estimator.regions import corner_record, is_corner

ALPHA_BAR = 0.5


def query_of(height: int, width: int, patch_size: int, boundary: str = "zeros") -> Query:
    rng = np.random.default_rng(0)
    images = ImageSet.from_array(random_images(rng, 12, 2, height, width))
    y = torch.from_numpy(noisy_states(rng, images.pixels, 3, ALPHA_BAR)) / ALPHA_BAR**0.5
    geometry = PatchGeometry(height=height, width=width, patch_size=patch_size, boundary=boundary)
    return Query(
        index=BruteSearch(images, boundary=boundary, scales=(patch_size,)),
        y=y,
        sigma=1.0,
        geometry=geometry,
        label=None,
    )


@pytest.mark.parametrize(
    ("height", "width", "patch_size"),
    [
        (20, 17, 5),
        (16, 16, 7),
        (9, 30, 3),
        (7, 6, 5),
        (5, 5, 5),
        (3, 9, 5),
        (5, 30, 5),
        (40, 5, 5),
        (3, 50, 5),
    ],
)
def test_corners_are_those_of_the_reference(height, width, patch_size) -> None:
    query = query_of(height, width, patch_size)
    places, record = corner_record(query)
    r, pixels = patch_size // 2, query.index.images.pixels
    rows, cols = np.arange(height), np.arange(width)
    border = ((rows < r) | (rows >= height - r))[:, None] & ((cols < r) | (cols >= width - r))
    assert (is_corner(query.geometry).numpy() >= border).all()
    expected = [
        posterior(state.numpy() * ALPHA_BAR**0.5, ALPHA_BAR, pixels, patch_size)
        for state in query.y
    ]
    mean = np.stack([np.moveaxis(truth.mean, 0, -1) for truth in expected]).reshape(-1, 2)
    log_mass = np.stack([truth.log_mass for truth in expected]).reshape(-1)
    assert (
        sorted(places.tolist())
        == np.flatnonzero(
            np.broadcast_to(is_corner(query.geometry).numpy(), (3, height, width))
        ).tolist()
    )
    np.testing.assert_allclose(record.mean, mean[places], atol=1e-4)
    np.testing.assert_allclose(record.log_max + record.sum_w.log(), log_mass[places], atol=1e-3)
    assert (record.k_hat == -torch.inf).all()


@pytest.mark.parametrize("boundary", ["circular", "circular_interior"])
def test_an_image_that_wraps_has_no_corners(boundary) -> None:
    places, record = corner_record(query_of(8, 8, 3, boundary))
    assert len(places) == len(record.sum_w) == 0


def test_one_legal_center_that_is_not_the_pixels_own_is_no_corner() -> None:
    query = query_of(5, 5, 5, "circular_interior")  # windows fill the image: one center for all
    machine = ELSMachine(query.index, k=4, tail=64)
    found = machine.posterior(query.y * ALPHA_BAR**0.5, ALPHA_BAR, 5)
    for number, state in enumerate(query.y):
        expected = posterior(
            state.numpy() * ALPHA_BAR**0.5, ALPHA_BAR, query.index.images.pixels, 5,
            boundary="circular_interior",
        )  # fmt: skip
        np.testing.assert_allclose(found.mean[number], expected.mean, atol=1e-4)
