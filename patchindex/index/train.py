"""What an index learns before it looks at every patch: PCA, list centroids, code ranges.

Everything is learned from samples with one patch out of each of many equal stretches of the
training set, image after image, so that images, positions and signatures all have their share.
"""

import faiss
import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray

from patchindex.device import CPU
from patchindex.environment import faiss_obstacle
from patchindex.geometry import PatchGeometry, patch_ids
from patchindex.images import ImageSet
from patchindex.index.config import IndexConfig
from patchindex.index.list_search.faiss import index_on_gpu
from patchindex.index.lists import center_rectangle, cut_windows, signature_lists
from patchindex.index.trained import CODE_LEVELS, TrainedScale
from patchindex.progress import ProgressCallback

TRAIN_BYTES = 2**28
SPAN_MARGIN, MIN_SPAN = np.float32(1 / 16), np.float32(1e-6)


def train_scale(
    images: ImageSet,
    geometry: PatchGeometry,
    config: IndexConfig,
    progress: ProgressCallback,
    device: torch.device = CPU,
) -> TrainedScale:
    """Learn one scale; the same images, geometry and config give the same bits.

    Args:
        device: where k-means runs, if FAISS computes there.
    """
    pca, bias, code_min, code_span = _learn_vectors(images, geometry, config)
    lists = signature_lists(geometry, len(images), config)
    lead = min(config.list_dims, images.channels * geometry.patch_size**2)  # the rest is filling
    centroids = []
    for index, signature in enumerate(geometry.signatures):
        progress(f"scale {geometry.patch_size}: train", int(lists[index]), int(lists[-1]))
        wanted = int(lists[index + 1] - lists[index])
        rng = np.random.default_rng([config.seed, geometry.patch_size, index + 1])
        centers = (signature.rows.centers, signature.cols.centers)
        ids = _stratified_ids(wanted * config.points_per_list, len(images), centers, geometry, rng)
        windows = cut_windows(images.pixels, ids, geometry)
        vectors = windows @ pca[:lead].T + bias[:lead]
        centroids.append(
            _fit_centroids(
                vectors, wanted, iterations=config.kmeans_iterations, rng=rng, device=device
            )
        )
    progress(f"scale {geometry.patch_size}: train", int(lists[-1]), int(lists[-1]))
    return TrainedScale(
        pca=pca, pca_bias=bias, centroids=np.concatenate(centroids), signature_lists=lists,
        code_min=code_min, code_span=code_span,
    )  # fmt: skip


def _learn_vectors(
    images: ImageSet, geometry: PatchGeometry, config: IndexConfig
) -> tuple[Float[ndarray, "r d"], Float[ndarray, " r"], Float[ndarray, " r"], Float[ndarray, " r"]]:
    """PCA matrix and bias, and where the codes of each dimension begin and how far they reach."""
    d = images.channels * geometry.patch_size**2
    dims = config.code_dims(images.channels, geometry.patch_size)
    if dims >= d:
        return (
            np.eye(dims, d, dtype=np.float32),
            np.zeros(dims, dtype=np.float32),
            *_pixel_codes(dims),
        )
    count = num_train_patches(d, config)
    rng = np.random.default_rng([config.seed, geometry.patch_size, 0])
    ids = _stratified_ids(count, len(images), center_rectangle(geometry), geometry, rng)
    windows = cut_windows(images.pixels, ids, geometry)
    pca, bias = _fit_pca(windows, dims)
    return pca, bias, *_sample_codes(windows @ pca.T + bias)


def num_train_patches(d: int, config: IndexConfig) -> int:
    """Patches of so many values that PCA learns from: fewer if they are very large."""
    return min(config.train_patches, max(d, TRAIN_BYTES // (4 * d)))


def _stratified_ids(
    count: int,
    num_images: int,
    centers: tuple[range, range],
    geometry: PatchGeometry,
    rng: np.random.Generator,
) -> Int[ndarray, " m"]:
    """Ascending ids of `count` patches, one drawn from each equal stretch; all if that is fewer."""
    rows, cols = centers
    per_image = len(rows) * len(cols)
    total = num_images * per_image
    count = min(count, total)
    edges = np.arange(count + 1) * total // count
    image, place = np.divmod(rng.integers(edges[:-1], edges[1:]), per_image)
    y, x = np.divmod(place, len(cols))
    return patch_ids(image, y + rows.start, x + cols.start, geometry.height, geometry.width)


def _fit_pca(
    windows: Float[ndarray, "m d"], dims: int
) -> tuple[Float[ndarray, "r d"], Float[ndarray, " r"]]:
    """Matrix and bias of the leading principal components, largest variance first."""
    m, d = windows.shape
    transform = faiss.PCAMatrix(d, dims)
    # FAISS divides by zero eigenvalues where there are fewer points than dimensions
    transform.train(windows if m >= d else np.resize(windows, (d, d)))
    pca = faiss.vector_to_array(transform.A).reshape(dims, d)
    return pca, faiss.vector_to_array(transform.b)


def _pixel_codes(d: int) -> tuple[Float[ndarray, " r"], Float[ndarray, " r"]]:
    """Code ranges under which a pixel is its own code, and decoding it gives its value exactly."""
    start = np.full(d, -1 - 1 / CODE_LEVELS, dtype=np.float32)
    return start, np.full(d, 2, dtype=np.float32)


def _sample_codes(
    vectors: Float[ndarray, "m r"],
) -> tuple[Float[ndarray, " r"], Float[ndarray, " r"]]:
    """Code ranges that hold a sample, and a little more for what it missed."""
    span = np.maximum(np.ptp(vectors, axis=0), MIN_SPAN)
    return vectors.min(axis=0) - SPAN_MARGIN * span, (1 + 2 * SPAN_MARGIN) * span


def _fit_centroids(
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
    kmeans = faiss.Kmeans(
        vectors.shape[1], count, niter=iterations, seed=int(rng.integers(2**31)),
        min_points_per_centroid=1, max_points_per_centroid=len(distinct),
    )  # fmt: skip
    if faiss_obstacle(device) is None:
        kmeans.index, _resources = index_on_gpu(kmeans.index, device)
    kmeans.train(distinct)
    centroids: Float[ndarray, "nlist lead"] = kmeans.centroids
    return centroids
