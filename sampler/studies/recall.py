"""Recall of an index's search: how many of the truly nearest patches it finds."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from torch import Tensor

from patchindex import BorderSignature, PatchGeometry, PatchIndex, windows_at
from patchindex.geometry import patch_ids
from patchindex.kernels import patch_distances

PATCHES_PER_CHUNK = 2**15
# a patch as near as the k-th is as good: float32 sums of the same cells differ by less than this
TIE = 1e-5


def random_pixels(
    geometry: PatchGeometry, num_samples: int, count: int, rng: np.random.Generator
) -> Int[ndarray, "q 3"]:
    """(sample, y, x) of distinct random pixels, of those that need a search.

    A pixel with one legal center per image does not: its dictionary is small and summed whole.
    """
    searched = np.broadcast_to(
        geometry.centers_per_pixel > 1, (num_samples, geometry.height, geometry.width)
    )
    places = np.argwhere(searched)
    return places[np.sort(rng.choice(len(places), min(count, len(places)), replace=False))]


def search_recall(
    index: PatchIndex,
    y: Float[Tensor, "b c h w"],
    patch_size: int,
    pixels: Int[ndarray, "q 3"],
    *,
    k: int,
    nprobe: int,
    label: int | None = None,
) -> Float[Tensor, " q"]:
    """Share of each pixel's true k nearest patches that the index finds, by brute force.

    Args:
        y: states in data units.
        patch_size: a scale of the index.
        pixels: (sample, y, x) of each query; their order is that of the result.
    """
    geometry, label_indices = index.geometry(patch_size), index.images.label_indices(label)
    shares = torch.empty(len(pixels), dtype=torch.float64)
    for number, queries in by_signature(geometry, pixels).items():
        windows = torch.stack([window_at(y, pixels[query], geometry) for query in queries])
        found = index.search(patch_size, number, windows.flatten(1), k, nprobe=nprobe, label=label)
        signature = geometry.signatures[number]
        shares[queries] = recall_of(
            found,
            windows,
            index.images.pixels_on(y.device),
            geometry,
            signature,
            label_indices=label_indices,
        ).cpu()
    return shares


def recall_of(
    found: Int[Tensor, "q k"],
    windows: Float[Tensor, "q c s s"],
    pixels: UInt8[Tensor, "n c h w"],
    geometry: PatchGeometry,
    signature: BorderSignature,
    *,
    label_indices: Int[ndarray, " m"],
) -> Float[Tensor, " q"]:
    """Share of the k nearest patches of each window that are in `found`, ties allowed.

    Args:
        found: distinct legal patches, -1 where there is none.
        label_indices: images whose patches count; where they have fewer than k patches, all are
            the nearest.
    """
    k = min(found.shape[1], len(label_indices) * signature.num_centers)
    nearest = np.empty((len(windows), 0), dtype=np.float32)
    for ids in dictionary_chunks(label_indices, geometry, signature):
        legal = torch.from_numpy(ids).to(windows.device)
        dist_sq = patch_distances(pixels, windows, legal, geometry, signature)
        nearest = smallest(np.concatenate([nearest, dist_sq.cpu().numpy()], axis=1), k)
    farthest = torch.from_numpy(nearest.max(axis=1)).to(windows.device)
    # some legal patch stands in where there is none
    with_legal = found.where(found >= 0, int(ids[0]))
    dist_sq = patch_distances(pixels, windows, with_legal, geometry, signature)
    as_near = (dist_sq <= (1 + TIE) * farthest[:, None]) & (found >= 0)
    return as_near.sum(-1).double() / k


def dictionary_chunks(
    label_indices: Int[ndarray, " m"],
    geometry: PatchGeometry,
    signature: BorderSignature,
) -> Iterator[Int[ndarray, " p"]]:
    """Every patch id of a signature's dictionary once, whole images at a time."""
    rows, cols = np.array(signature.rows.centers), np.array(signature.cols.centers)
    step = max(1, PATCHES_PER_CHUNK // signature.num_centers)
    for start in range(0, len(label_indices), step):
        images = label_indices[start : start + step, None, None]
        yield patch_ids(images, rows[:, None], cols, geometry.height, geometry.width).reshape(-1)


def smallest(dist_sq: Float[ndarray, "q p"], k: int) -> Float[ndarray, "q k_or_p"]:
    """The k smallest of each row in any order; all if there are no more."""
    if dist_sq.shape[1] <= k:
        return dist_sq
    chosen: Float[ndarray, "q k_or_p"] = np.partition(dist_sq, k - 1, axis=1)[:, :k]
    return chosen


def by_signature(geometry: PatchGeometry, pixels: Int[ndarray, "q 3"]) -> dict[int, list[int]]:
    """Positions of the pixels with each border signature."""
    groups = defaultdict(list)
    for query, (_, row, col) in enumerate(pixels.tolist()):
        groups[geometry.signature_at(row, col)].append(query)
    return groups


def window_at(
    y: Float[Tensor, "b c h w"], pixel: Int[ndarray, "3"], geometry: PatchGeometry
) -> Float[Tensor, "c s s"]:
    """The window around one pixel of one state."""
    sample, row, col = pixel.tolist()
    state, rows, cols = y[sample : sample + 1], range(row, row + 1), range(col, col + 1)
    return windows_at(state, rows, cols, geometry)[0, 0, 0]
