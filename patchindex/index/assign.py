"""A vector, an inverted list and a code for every patch of a block of images.

List numbers and codes are asked for at different times, and each time the vectors are made anew:
that takes a tenth of the time in which a list is found, and saves the disk that codes would take
until they are sorted.
"""

import faiss
import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from torch import Tensor
from torch.nn.functional import conv2d

from patchindex.device import CPU
from patchindex.geometry import PatchGeometry
from patchindex.index import assign_on_device
from patchindex.index.lists import CENTERED_RANGE, center_rectangle, centered
from patchindex.index.trained import TrainedScale
from patchindex.windows import padded

STEP_BYTES = 2**25


def list_block(
    pixels: UInt8[ndarray, "n c h w"],
    geometry: PatchGeometry,
    trained: TrainedScale,
    device: torch.device = CPU,
) -> Int[ndarray, " m"]:
    """List number of every legal patch of these images, in the order of patch ids."""
    if device.type != "cpu":
        return assign_on_device.list_block(pixels, geometry, trained, device)
    return assign_block(project_block(pixels, geometry, trained), geometry, trained).reshape(-1)


def code_block(
    pixels: UInt8[ndarray, "n c h w"],
    geometry: PatchGeometry,
    trained: TrainedScale,
    device: torch.device = CPU,
) -> UInt8[ndarray, "m r"]:
    """Code of every legal patch of these images, in the order of patch ids."""
    if device.type != "cpu":
        return assign_on_device.code_block(pixels, geometry, trained, device)
    projected = project_block(pixels, geometry, trained)
    return trained.encode(rearrange(projected, "n rows cols r -> (n rows cols) r").numpy())


def project_block(
    pixels: UInt8[ndarray, "n c h w"], geometry: PatchGeometry, trained: TrainedScale
) -> Float[Tensor, "n rows cols r"]:
    """PCA of the window around every legal center: a convolution, so no window is ever cut."""
    rows, cols = center_rectangle(geometry)
    s, bias = geometry.patch_size, torch.from_numpy(trained.pca_bias)
    filters = torch.from_numpy(trained.pca / CENTERED_RANGE)
    filters = rearrange(filters, "r (c sy sx) -> r c sy sx", sy=s, sx=s)
    projected = torch.empty(len(pixels), len(rows), len(cols), len(bias))
    step = max(1, STEP_BYTES // (4 * projected[0].numel()))
    for start in range(0, len(pixels), step):
        shifted = padded(centered(pixels[start : start + step]), rows, cols, geometry)
        block = conv2d(shifted, filters, bias)
        projected[start : start + step] = rearrange(block, "n r rows cols -> n rows cols r")
    return projected


def assign_block(
    projected: Float[Tensor, "n rows cols r"], geometry: PatchGeometry, trained: TrainedScale
) -> Int[ndarray, "n rows cols"]:
    """List of every patch: the nearest centroid among those of its own signature."""
    rows, cols = center_rectangle(geometry)
    lists = np.empty(projected.shape[:3], dtype=np.int32)
    for index, signature in enumerate(geometry.signatures):
        y, x = signature.rows.centers, signature.cols.centers
        across = slice(y.start - rows.start, y.stop - rows.start)
        along = slice(x.start - cols.start, x.stop - cols.start)
        first, end = trained.signature_lists[index : index + 2]
        mine = lists[:, across, along]
        mine[...] = first
        if end - first > 1:
            lead = projected[:, across, along, : trained.centroids.shape[1]]
            vectors = rearrange(lead, "n y x lead -> (n y x) lead").numpy()
            mine += nearest(vectors, trained.centroids[first:end]).reshape(mine.shape)
    return lists


def nearest(
    vectors: Float[ndarray, "m lead"], centroids: Float[ndarray, "nlist lead"]
) -> Int[ndarray, " m"]:
    """Position of the centroid nearest to each vector."""
    quantizer = faiss.IndexFlatL2(centroids.shape[1])
    quantizer.add(centroids)
    positions: Int[ndarray, " m"] = quantizer.assign(vectors, 1).reshape(-1).astype(np.int32)
    return positions
