"""What an index learns before it looks at every patch: PCA, list centroids, code ranges.

Everything is learned from samples with one patch out of each of many equal stretches of the
training set, image after image, so that images, positions and signatures all have their share.
"""

from dataclasses import dataclass
from threading import Lock

import faiss
import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray

from patchindex.device import CPU
from patchindex.geometry import PatchGeometry, patch_ids
from patchindex.images import ImageSet
from patchindex.index.config import DIMS_STEP, IndexConfig
from patchindex.index.kmeans import fit_centroids
from patchindex.index.lists import center_rectangle, cut_windows, signature_lists
from patchindex.index.trained import CODE_LEVELS, TrainedScale
from patchindex.kernels.in_threads import in_threads
from patchindex.progress import ProgressCallback

TRAIN_BYTES = 2**28
WINDOWS = 2**13  # that a thread cuts and projects at a time
SPAN_MARGIN, MIN_SPAN = np.float32(1 / 16), np.float32(1e-6)


def train_scale(
    images: ImageSet,
    geometry: PatchGeometry,
    config: IndexConfig,
    progress: ProgressCallback,
    device: torch.device = CPU,
) -> TrainedScale:
    """Learn one scale; the same images, geometry and config give the same bits on any threads.

    Args:
        device: where k-means runs, if FAISS computes there.
    """
    # on one thread: the sums of PCA would be in another order for each number of threads
    [(projection, explained, code_min, code_span)] = in_threads(
        lambda _: _learn_vectors(images, geometry, config), [None]
    )
    lists = signature_lists(geometry, len(images), config)
    lead = min(config.list_dims, images.channels * geometry.patch_size**2)  # the rest is filling
    counts, lock, done = np.diff(lists), Lock(), 0
    progress(f"scale {geometry.patch_size}: train", 0, int(lists[-1]))

    def learn(index: int) -> Float[ndarray, "_ lead"]:
        nonlocal done
        centroids = _learn_centroids(
            images, geometry, config, index, int(counts[index]),
            projection=projection.leading(lead), device=device,
        )  # fmt: skip
        with lock:
            done += len(centroids)
            progress(f"scale {geometry.patch_size}: train", done, int(lists[-1]))
        return centroids

    # the largest first, so that no thread is left alone with it; on a GPU they would share FAISS's
    # workspace, which takes one at a time
    order = np.argsort(-counts, kind="stable").tolist()
    learned = in_threads(learn, order) if device.type == "cpu" else list(map(learn, order))
    by_signature = dict(zip(order, learned, strict=True))
    centroids = np.concatenate([by_signature[index] for index in range(len(counts))])
    return TrainedScale(
        pca=projection.matrix, pca_bias=projection.bias, centroids=centroids,
        signature_lists=lists, code_min=code_min, code_span=code_span,
        explained_variance=explained,
    )  # fmt: skip


def _learn_centroids(
    images: ImageSet,
    geometry: PatchGeometry,
    config: IndexConfig,
    index: int,
    wanted: int,
    *,
    projection: "_Projection",
    device: torch.device,
) -> Float[ndarray, "nlist lead"]:
    """So many centroids for the lists of a border signature."""
    signature = geometry.signatures[index]
    rng = np.random.default_rng([config.seed, geometry.patch_size, index + 1])
    centers = (signature.rows.centers, signature.cols.centers)
    ids = _stratified_ids(wanted * config.points_per_list, len(images), centers, geometry, rng)
    vectors = projection.of(images, ids, geometry)
    return fit_centroids(
        vectors, wanted, iterations=config.kmeans_iterations, rng=rng, device=device
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Projection:
    """Windows become `matrix @ window + bias`."""

    matrix: Float[ndarray, "r d"]
    bias: Float[ndarray, " r"]

    def leading(self, dims: int) -> "_Projection":
        """The same to the leading dimensions."""
        return _Projection(matrix=self.matrix[:dims], bias=self.bias[:dims])

    def apply(self, windows: Float[ndarray, "m d"]) -> Float[ndarray, "m r"]:
        """The vectors of these windows.

        By torch: NumPy's products, asked for by two threads at once, are summed in one order or
        another.
        """
        matrix, bias = torch.from_numpy(self.matrix), torch.from_numpy(self.bias)
        vectors: Float[ndarray, "m r"] = torch.addmm(
            bias, torch.from_numpy(windows), matrix.T
        ).numpy()
        return vectors

    def of(
        self, images: ImageSet, ids: Int[ndarray, " m"], geometry: PatchGeometry
    ) -> Float[ndarray, "m r"]:
        """The vectors of these patches, of which few windows are cut at a time."""
        vectors = np.empty((len(ids), len(self.bias)), dtype=np.float32)

        def work(first: int) -> None:
            rows = slice(first, first + WINDOWS)
            windows = cut_windows(images.pixels, ids[rows], geometry)
            vectors[rows] = self.apply(windows)

        in_threads(work, range(0, len(ids), WINDOWS))
        return vectors


def _learn_vectors(
    images: ImageSet, geometry: PatchGeometry, config: IndexConfig
) -> tuple[_Projection, Float[ndarray, " r"], Float[ndarray, " r"], Float[ndarray, " r"]]:
    """Projection, variance that it explains, and where codes begin and how far they reach."""
    d = images.channels * geometry.patch_size**2
    dims = config.code_dims(images.channels, geometry.patch_size)
    if config.is_plain(images.channels, geometry.patch_size):
        plain = _Projection(
            matrix=np.eye(dims[0], d, dtype=np.float32), bias=np.zeros(dims[0], dtype=np.float32)
        )
        return plain, np.ones(dims[0]), *_pixel_codes(dims[0])
    count = num_train_patches(d, config)
    rng = np.random.default_rng([config.seed, geometry.patch_size, 0])
    ids = _stratified_ids(count, len(images), center_rectangle(geometry), geometry, rng)
    windows = cut_windows(images.pixels, ids, geometry)
    widest, explained = _fit_pca(windows, dims[-1])
    needed = 1 + int(np.searchsorted(explained, config.explained_variance))
    chosen = np.clip(-(-needed // DIMS_STEP) * DIMS_STEP, dims[0], dims[-1])
    projection = widest.leading(int(chosen))
    code_ranges = _sample_codes(projection.apply(windows))
    return projection, explained[:chosen], *code_ranges


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


def _fit_pca(windows: Float[ndarray, "m d"], dims: int) -> tuple[_Projection, Float[ndarray, " r"]]:
    """Projection on the leading principal components, and the shares that those up to each hold."""
    m, d = windows.shape
    transform = faiss.PCAMatrix(d, dims)
    # FAISS divides by zero eigenvalues where there are fewer points than dimensions
    transform.train(windows if m >= d else np.resize(windows, (d, d)))
    variances = faiss.vector_to_array(transform.eigenvalues).astype(np.float64).clip(min=0)
    total = variances.sum()
    explained = variances.cumsum() / total if total > 0 else np.ones(d)
    return _Projection(
        matrix=faiss.vector_to_array(transform.A).reshape(dims, d),
        bias=faiss.vector_to_array(transform.b),
    ), explained[:dims]


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
