"""Which inverted list a patch belongs to: the nearest centroid, looked for in the nearest cells.

With as many lists as the square root of the patches, comparing each patch with every centroid would
be most of a build. Centroids are therefore put into cells, as many as the square root of their
number, and a patch is compared with those of a few cells. At 6,000 lists 99.3 % of the patches
get their nearest centroid, the others one that is 2 % farther, in a quarter of the time.
"""

from dataclasses import dataclass

import faiss
import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from patchindex.kernels import nearest_in_cells

VISITS = 8  # cells that a patch looks into
ITERATIONS, SEED = 15, 0  # of the k-means that makes cells


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Quantizer:
    """The centroids of one border signature in cells.

    Attributes:
        centers: of each cell.
        rows: centroids, cell after cell.
        offsets: first row of each cell; on the host, wherever the tensors are.
        numbers: number of each row among the centroids.
    """

    centers: Float[Tensor, "cells lead"]
    rows: Float[Tensor, "nlist lead"]
    offsets: Int[ndarray, " cells_plus_1"]
    numbers: Int[Tensor, " nlist"]

    @classmethod
    def of(cls, centroids: Float[ndarray, "nlist lead"]) -> "Quantizer":
        """The cells of these centroids; one for all if they are few."""
        count = round(len(centroids) ** 0.5)
        if count <= VISITS:
            centers, cell_of = centroids[:1], np.zeros(len(centroids), np.int64)
        else:
            centers, cell_of = _make_cells(centroids, count)
        used, cell_of = np.unique(cell_of, return_inverse=True)
        numbers = np.argsort(cell_of, kind="stable")
        offsets = np.concatenate([[0], np.bincount(cell_of).cumsum()])
        return cls(
            centers=torch.from_numpy(centers[used].copy()),
            rows=torch.from_numpy(centroids[numbers]),
            offsets=offsets.astype(np.int64),
            numbers=torch.from_numpy(numbers.astype(np.int32)),
        )

    def to(self, device: torch.device) -> "Quantizer":
        """The same on a device."""
        return Quantizer(
            centers=self.centers.to(device), rows=self.rows.to(device),
            offsets=self.offsets, numbers=self.numbers.to(device),
        )  # fmt: skip

    def nearest(self, vectors: Float[Tensor, "m lead"]) -> Int[Tensor, " m"]:
        """Number of the centroid nearest to each vector, in most cases; where the vectors lie.

        By the C++ kernels, what a vector gets depends on no other vector.
        """
        visits = min(VISITS, len(self.centers))
        return self.numbers[
            nearest_in_cells(
                self.centers, self.rows, torch.from_numpy(self.offsets), vectors, visits
            ).long()
        ]


def _make_cells(
    centroids: Float[ndarray, "nlist lead"], count: int
) -> tuple[Float[ndarray, "cells lead"], Int[ndarray, " nlist"]]:
    """Centers of cells, and the cell of each centroid."""
    kmeans = faiss.Kmeans(
        centroids.shape[1], count, niter=ITERATIONS, seed=SEED,
        min_points_per_centroid=1, max_points_per_centroid=len(centroids),
    )  # fmt: skip
    kmeans.train(centroids)
    return kmeans.centroids, kmeans.assign(centroids)[1].reshape(-1).astype(np.int64)
