"""k-means for the centroids of inverted lists, whose cost a list does not grow with their number.

Plain k-means compares every point with every centroid. For many centroids the points are first put
into cells, each of which gets centroids of its own; then a few rounds over all points mend what the
cells' borders spoiled.
"""

import faiss
import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray

from patchindex.device import CPU
from patchindex.index.list_search.faiss import index_on_gpu
from patchindex.index.quantizer import Quantizer
from patchindex.loaded import faiss_obstacle

MOST_PLAIN = 256  # centroids of a k-means that compares all with all
ROUNDS = 3  # over all points
# Of the sum of squared distances in a cell, for its share of the centroids: the errors of k-means
# in d dimensions fall as count^(-2/d), which d / (d + 2) balances; patches have some ten.
SHARE_POWER = 10 / 12


def fit_centroids(
    vectors: Float[ndarray, "m lead"],
    count: int,
    *,
    iterations: int,
    rng: np.random.Generator,
    device: torch.device = CPU,
) -> Float[ndarray, "nlist lead"]:
    """k-means over the distinct vectors: of plain patches one is as good as a thousand."""
    if count == 1:
        mean: Float[ndarray, "nlist lead"] = vectors.mean(axis=0, keepdims=True)
        return mean
    keys = vectors @ rng.standard_normal(vectors.shape[1])  # sorting numbers, not rows
    distinct = vectors[np.unique(keys, return_index=True)[1]]
    if len(distinct) <= count:  # lists beyond the distinct vectors stay empty: a tie is the first's
        return np.concatenate([distinct, np.repeat(distinct[:1], count - len(distinct), axis=0)])
    if count <= MOST_PLAIN:
        return _plain(distinct, count, iterations, rng, device)
    centroids = _by_cells(distinct, count, iterations, rng, device)
    for _ in range(ROUNDS):
        centroids = _moved(centroids, distinct)
    return centroids


def _plain(
    points: Float[ndarray, "m lead"],
    count: int,
    iterations: int,
    rng: np.random.Generator,
    device: torch.device,
) -> Float[ndarray, "count lead"]:
    """The k-means of FAISS."""
    kmeans = faiss.Kmeans(
        points.shape[1], count, niter=iterations, seed=int(rng.integers(2**31)),
        min_points_per_centroid=1, max_points_per_centroid=len(points),
    )  # fmt: skip
    if faiss_obstacle(device) is None:
        kmeans.index, _resources = index_on_gpu(kmeans.index, device)
    kmeans.train(points)
    centroids: Float[ndarray, "count lead"] = kmeans.centroids
    return centroids


def _by_cells(
    points: Float[ndarray, "m lead"],
    count: int,
    iterations: int,
    rng: np.random.Generator,
    device: torch.device,
) -> Float[ndarray, "nlist lead"]:
    """Centroids of cells, each of which has its own."""
    centers = _plain(points, round(count**0.5), iterations, rng, device)
    cells = Quantizer.of(centers).nearest(torch.from_numpy(points)).numpy()
    errors = np.square(points - centers[cells]).sum(axis=1, dtype=np.float64)
    shares = _divide(count, cells, errors)
    order = np.argsort(cells, kind="stable")
    members = np.split(points[order], np.bincount(cells, minlength=len(centers)).cumsum()[:-1])
    return np.concatenate(
        [
            own if len(own) <= share else _plain(own, share, iterations, rng, device)
            for own, share in zip(members, shares.tolist(), strict=True)
            if share
        ]
    )


def _divide(
    count: int, cells: Int[ndarray, " m"], errors: Float[ndarray, " m"]
) -> Int[ndarray, " cells"]:
    """How many of `count` centroids each cell gets: no more than it has points, in all as many."""
    points = np.bincount(cells)
    weights = np.bincount(cells, errors) ** SHARE_POWER + np.finfo(np.float64).tiny
    shares = np.minimum(points, 1)
    # highest averages: each next one goes where the weight per centroid is largest
    averages = np.concatenate([w / np.arange(1, p) for w, p in zip(weights, points, strict=True)])
    owners = np.repeat(np.arange(len(points)), np.maximum(points - 1, 0))
    taken = np.argsort(-averages, kind="stable")[: count - shares.sum()]
    return shares + np.bincount(owners[taken], minlength=len(points))


def _moved(
    centroids: Float[ndarray, "nlist lead"], points: Float[ndarray, "m lead"]
) -> Float[ndarray, "nlist lead"]:
    """Each centroid in the middle of the points that are nearest to it; where it is if none are."""
    nearest = Quantizer.of(centroids).nearest(torch.from_numpy(points)).numpy()
    order = np.argsort(nearest, kind="stable")
    numbers, starts, counts = np.unique(nearest[order], return_index=True, return_counts=True)
    sums = np.add.reduceat(points[order], starts, axis=0, dtype=np.float64)
    moved = centroids.copy()
    moved[numbers] = sums / counts[:, None]
    return moved
