"""The same as `assign.py`, computed on a GPU by torch.

Sums run in another order than on the processor, so a patch between two lists, or between two codes,
may get the other of them; which it gets is the same in every build on one kind of device.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from torch import Tensor
from torch.nn.functional import conv2d

from patchindex.geometry import PatchGeometry
from patchindex.images import shared_tensor
from patchindex.index.lists import CENTERED_RANGE, center_rectangle
from patchindex.index.trained import CODE_LEVELS, TrainedScale
from patchindex.windows import padded

STEP_BYTES = 2**29  # of vectors, or of distances to centroids


def list_block(
    pixels: UInt8[ndarray, "n c h w"],
    geometry: PatchGeometry,
    trained: TrainedScale,
    device: torch.device,
) -> Int[ndarray, " m"]:
    """List number of every legal patch of these images, in the order of patch ids."""
    parts = [
        assign_block(projected, geometry, trained).reshape(-1).cpu()
        for projected in projected_blocks(pixels, geometry, trained, device)
    ]
    lists: Int[ndarray, " m"] = torch.cat(parts).numpy()
    return lists


def code_block(
    pixels: UInt8[ndarray, "n c h w"],
    geometry: PatchGeometry,
    trained: TrainedScale,
    device: torch.device,
) -> UInt8[ndarray, "m r"]:
    """Code of every legal patch of these images, in the order of patch ids."""
    first = torch.from_numpy(trained.code_min).to(device)
    span = torch.from_numpy(trained.code_span).to(device)
    parts = [
        encode(projected.flatten(0, 2), first, span).cpu()
        for projected in projected_blocks(pixels, geometry, trained, device)
    ]
    codes: UInt8[ndarray, "m r"] = torch.cat(parts).numpy()
    return codes


def encode(
    vectors: Float[Tensor, "m r"], first: Float[Tensor, " r"], span: Float[Tensor, " r"]
) -> UInt8[Tensor, "m r"]:
    """One byte per dimension, as FAISS's scalar quantizer rounds."""
    return ((vectors - first) / span).clamp(0, 1).mul(CODE_LEVELS).to(torch.uint8)


def projected_blocks(
    pixels: UInt8[ndarray, "n c h w"],
    geometry: PatchGeometry,
    trained: TrainedScale,
    device: torch.device,
) -> Iterator[Float[Tensor, "m rows cols r"]]:
    """PCA of the window around every legal center, some images at a time."""
    rows, cols = center_rectangle(geometry)
    s, bias = geometry.patch_size, torch.from_numpy(trained.pca_bias).to(device)
    filters = torch.from_numpy(trained.pca / CENTERED_RANGE).to(device)
    filters = rearrange(filters, "r (c sy sx) -> r c sy sx", sy=s, sx=s)
    step = max(1, STEP_BYTES // (4 * len(bias) * len(rows) * len(cols)))
    for block in shared_tensor(pixels).split(step):
        shifted = block.to(device).float().mul_(2).sub_(CENTERED_RANGE)
        with exact_float32():
            vectors = conv2d(padded(shifted, rows, cols, geometry), filters, bias)
        yield rearrange(vectors, "n r rows cols -> n rows cols r")


def assign_block(
    projected: Float[Tensor, "n rows cols r"], geometry: PatchGeometry, trained: TrainedScale
) -> Int[Tensor, "n rows cols"]:
    """List of every patch: the nearest centroid among those of its own signature."""
    rows, cols = center_rectangle(geometry)
    centroids = torch.from_numpy(trained.centroids).to(projected.device)
    lists = torch.empty(projected.shape[:3], dtype=torch.int32, device=projected.device)
    for index, signature in enumerate(geometry.signatures):
        y, x = signature.rows.centers, signature.cols.centers
        across = slice(y.start - rows.start, y.stop - rows.start)
        along = slice(x.start - cols.start, x.stop - cols.start)
        first, end = (int(number) for number in trained.signature_lists[index : index + 2])
        lead = projected[:, across, along, : centroids.shape[1]]
        positions = nearest(lead.flatten(0, 2), centroids[first:end])
        lists[:, across, along] = first + positions.reshape(lead.shape[:3]).int()
    return lists


def nearest(
    vectors: Float[Tensor, "m lead"], centroids: Float[Tensor, "nlist lead"]
) -> Int[Tensor, " m"]:
    """Position of the centroid nearest to each vector; of equal ones the first."""
    norms_sq = centroids.square().sum(1)
    step = max(1, STEP_BYTES // (4 * len(centroids)))
    with exact_float32():
        found = [
            torch.addmm(norms_sq, part, centroids.T, alpha=-2).argmin(1)
            for part in vectors.split(step)
        ]
    return torch.cat(found)


@contextmanager
def exact_float32() -> Iterator[None]:
    """Products of float32 numbers keep all their bits, and sums are in one order."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
