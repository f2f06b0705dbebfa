"""Searches for small image sets: an exact one, and one that misses on purpose.

Both have what `sampler.estimator.query.NeighborSearch` asks for, and stand where an index would.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy import ndarray
from reference.score_machines import as_unit, legal_centers, padded_windows
from torch import Tensor

from patchindex import ImageSet, PatchGeometry


@dataclass(frozen=True)
class BruteSearch:
    """The true nearest neighbors, by float64 distances to every legal patch."""

    images: ImageSet
    boundary: str = "zeros"
    scales: tuple[int, ...] = (3,)

    def search(
        self,
        patch_size: int,
        signature: int | Tensor,
        windows: Tensor,
        k: int,
        *,
        nprobe: int,
        label: int | None = None,
        longest_list: int | Tensor | None = None,
        probes: Tensor | None = None,
    ) -> Tensor:
        """Ids [q, k] of the k nearest legal patches, nearest first; -1 where there are fewer."""
        del nprobe, longest_list, probes
        if isinstance(signature, Tensor):
            found = torch.full((len(windows), k), -1, device=windows.device)
            for number in set(signature.tolist()):
                mine = (signature == number).nonzero()[:, 0]
                found[mine] = self.nearest(patch_size, number, windows[mine], k, label)
            return found
        return self.nearest(patch_size, signature, windows, k, label)

    def nearest(
        self, patch_size: int, signature: int, windows: Tensor, k: int, label: int | None
    ) -> Tensor:
        """The same for windows of one signature."""
        ids, patches = self.legal_patches(patch_size, signature, label)
        queries = windows.cpu().numpy().astype(np.float64)
        dist_sq = (
            (queries**2).sum(axis=1)[:, None]
            - 2 * queries @ patches.T
            + (patches**2).sum(axis=1)[None]
        )
        return padded(ids[self.choose(dist_sq, min(k, len(ids)))], k).to(windows.device)

    def choose(self, dist_sq: ndarray, k: int) -> ndarray:
        """Positions [q, k] of the patches to return, of all [q, p], nearest first."""
        nearest = np.argpartition(dist_sq, k - 1, axis=1)[:, :k]
        order = np.take_along_axis(dist_sq, nearest, axis=1).argsort(axis=1)
        return np.take_along_axis(nearest, order, axis=1)

    def legal_patches(
        self, patch_size: int, signature: int, label: int | None
    ) -> tuple[ndarray, ndarray]:
        """Ids [p] and flat windows [p, d] of every patch that pixels of this signature may use."""
        height, width = self.images.height, self.images.width
        border = PatchGeometry(
            height=height, width=width, patch_size=patch_size, boundary=self.boundary
        ).signatures[signature]
        pixel = (border.rows.pixels[0], border.cols.pixels[0])
        legal = legal_centers("ELS", self.boundary, pixel, patch_size, (height, width))
        members = np.arange(len(self.images))
        if label is not None:
            members = members[self.images.labels == label]
        windows = padded_windows(as_unit(self.images.pixels[members]), patch_size, self.boundary)
        ids = members[:, None] * height * width + np.flatnonzero(legal)
        patches = np.moveaxis(windows[:, :, legal], 1, 2)
        return ids.ravel(), patches.reshape(ids.size, -1)


@dataclass(frozen=True)
class MissingSearch(BruteSearch):
    """Legal patches picked without looking at the query: recall as bad as chance."""

    seed: int = 0

    def choose(self, dist_sq: ndarray, k: int) -> ndarray:
        """Random patches for every query, the same in every call."""
        lottery = np.random.default_rng(self.seed).random(dist_sq.shape)
        return np.argpartition(lottery, k - 1, axis=1)[:, :k]


@dataclass(frozen=True)
class FarthestSearch(BruteSearch):
    """The k patches that matter least: worse than chance."""

    def choose(self, dist_sq: ndarray, k: int) -> ndarray:
        """Farthest first."""
        return super().choose(-dist_sq, k)


def padded(ids: ndarray, k: int) -> Tensor:
    """Ids with -1 appended up to k columns."""
    return torch.from_numpy(np.pad(ids, ((0, 0), (0, k - ids.shape[1])), constant_values=-1))
