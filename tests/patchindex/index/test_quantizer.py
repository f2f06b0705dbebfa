"""Lists are found through cells, and centroids by cells: almost as well as among all."""

import numpy as np
import pytest
import torch
from small_index import small_images

from patchindex import PatchGeometry
from patchindex.geometry import patch_ids
from patchindex.index.kmeans import fit_centroids
from patchindex.index.lists import cut_windows
from patchindex.index.quantizer import VISITS, Quantizer


@pytest.fixture(scope="module")
def vectors():
    """Windows of real images, one in four, without doubles."""
    images, geometry = small_images(200), PatchGeometry(height=16, width=16, patch_size=5)
    image, y, x = np.meshgrid(np.arange(200), range(2, 14, 2), range(2, 14, 2), indexing="ij")
    windows = cut_windows(images.pixels, patch_ids(image, y, x, 16, 16).reshape(-1), geometry)
    return np.unique(windows, axis=0)


def dist_sq(vectors, centroids):
    """Float64 squared distance of each vector to each centroid."""
    return np.square(vectors[:, None].astype(np.float64) - centroids).sum(2)


@pytest.mark.parametrize("count", [1, 2, 40, VISITS**2])
def test_few_centroids_are_all_compared(vectors, count):
    centroids = vectors[:: len(vectors) // count][:count]
    found = Quantizer.of(centroids).nearest(torch.from_numpy(vectors)).numpy()
    to_all = dist_sq(vectors, centroids)
    # float32 expands the square: errors of 1e-6 of the squared norms, up to 25
    np.testing.assert_allclose(to_all[np.arange(len(found)), found], to_all.min(1), atol=1e-4)


@pytest.mark.slow
def test_of_many_centroids_nearly_every_vector_gets_its_nearest(vectors):
    centroids = vectors[::7]
    assert len(centroids) > 400
    found = Quantizer.of(centroids).nearest(torch.from_numpy(vectors)).numpy()
    to_all = dist_sq(vectors, centroids)
    to_found = to_all[np.arange(len(found)), found]
    assert (to_found <= to_all.min(1) + 1e-4).mean() > 0.97
    assert to_found.sum() < 1.01 * to_all.min(1).sum()


def test_each_centroid_is_its_own_nearest(vectors):
    centroids = vectors[::9]
    found = Quantizer.of(centroids).nearest(torch.from_numpy(centroids))
    assert torch.equal(found, torch.arange(len(centroids), dtype=torch.int32))


def test_of_equal_centroids_the_first_is_taken():
    centroids = np.repeat(np.eye(3, dtype=np.float32), 50, axis=0)
    found = Quantizer.of(centroids).nearest(torch.eye(3))
    assert found.tolist() == [0, 50, 100]


def test_centroids_of_cells_are_as_good_as_those_of_plain_k_means(vectors, monkeypatch):
    errors = []
    for most_plain in (10**6, 64):
        monkeypatch.setattr("patchindex.index.kmeans.MOST_PLAIN", most_plain)
        rng = np.random.default_rng(0)
        centroids = fit_centroids(vectors, 300, iterations=10, rng=rng)
        assert centroids.shape == (300, vectors.shape[1])
        errors.append(dist_sq(vectors, centroids).min(1).mean())
    assert errors[1] < 1.02 * errors[0]


@pytest.mark.parametrize("distinct", [1, 5, 300, 600])
def test_plain_patches_leave_lists_empty_and_nothing_else(distinct):
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((distinct, 8)).astype(np.float32).repeat(4, axis=0)
    centroids = fit_centroids(vectors, 500, iterations=5, rng=rng)
    assert centroids.shape == (500, 8)
    assert np.isfinite(centroids).all()
    if distinct <= 500:
        assert dist_sq(vectors, centroids).min(1).max() < 1e-9
