"""Rescoring on a GPU: same functions, arguments and results as on the processor."""

from contextlib import nullcontext

import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from patchindex.geometry import BorderSignature, PatchGeometry
from patchindex.images import HALF_RANGE
from patchindex.kernels.group_members import GroupMembers
from patchindex.kernels.streaming import chosen_on
from patchindex.kernels.torch_rescore import members_of, seen_cells, weighed
from patchindex.kernels.triton_rescore_kernel import rescore_kernel
from patchindex.records import PosteriorRecord

CANDIDATES = 64  # of a program
CENTERS_BYTES = 2**28  # of the weighted centers that are summed at once


def rescore(
    pixels: UInt8[Tensor, "n c h w"],
    windows: Float[Tensor, "q c s s"],
    ids: Int[Tensor, "q k"],
    geometry: PatchGeometry,
    signature: BorderSignature,
) -> Float[Tensor, "q k"]:
    """Squared distances between each query window and its own patches; infinite for id -1."""
    return distances(pixels, windows, ids, geometry, signature)


def rescore_shared(
    pixels: UInt8[Tensor, "n c h w"],
    windows: Float[Tensor, "q c s s"],
    ids: Int[Tensor, " m"],
    geometry: PatchGeometry,
    signature: BorderSignature,
) -> Float[Tensor, "q m"]:
    """Squared distances between every query window and every patch."""
    return distances(pixels, windows, ids[None], geometry, signature)


def rescore_record(
    pixels: UInt8[Tensor, "n c h w"],
    windows: Float[Tensor, "q c s s"],
    ids: Int[Tensor, "q k"],
    geometry: PatchGeometry,
    signature: BorderSignature,
    *,
    sigma: float,
) -> PosteriorRecord:
    """Sum the given patches for each query window; fields are [q]."""
    dist_sq = distances(pixels, windows, ids, geometry, signature)
    return weighed_in_parts(dist_sq, pixels, ids, sigma)


def rescore_groups(
    pixels: UInt8[Tensor, "n c h w"],
    windows: Float[Tensor, "q c s s"],
    ids: Int[Tensor, "q k"],
    geometry: PatchGeometry,
    signature: BorderSignature,
    *,
    sigma: float,
    group_of: Int[Tensor, " n"],
) -> tuple[PosteriorRecord, GroupMembers]:
    """Sum the given patches for each query window, and list those whose image is in a group."""
    dist_sq = distances(pixels, windows, ids, geometry, signature)
    members = members_of(dist_sq, pixels, ids, sigma, group_of)
    return weighed_in_parts(dist_sq, pixels, ids, sigma), members


def weighed_in_parts(
    dist_sq: Float[Tensor, "q k"],
    pixels: UInt8[Tensor, "n c h w"],
    ids: Int[Tensor, "q k"],
    sigma: float,
) -> PosteriorRecord:
    """The exact sums, of some queries at a time."""
    step = max(1, CENTERS_BYTES // (4 * pixels.shape[1] * ids.shape[1] + 1))
    parts = zip(dist_sq.split(step), ids.split(step), strict=True)
    return PosteriorRecord.joined([weighed(part, pixels, own, sigma) for part, own in parts])


def distances(
    pixels: UInt8[Tensor, "n c h w"],
    windows: Float[Tensor, "q c s s"],
    ids: Int[Tensor, "q_or_1 k"],
    geometry: PatchGeometry,
    signature: BorderSignature,
) -> Float[Tensor, "q k"]:
    """Squared distances between each query window and its own patches, or those of all queries."""
    near, near_ids = beside(pixels, ids)
    (q, c), k = windows.shape[:2], ids.shape[1]
    rows, cols = signature.rows.offsets, signature.cols.offsets
    levels = ((seen_cells(windows, geometry, signature).double() + 1) * HALF_RANGE).float()
    dist_sq = torch.empty(q, k, device=windows.device)
    if not dist_sq.numel():
        return dist_sq
    with torch.cuda.device(windows.device) if windows.is_cuda else nullcontext():
        rescore_kernel[(q, -(-k // CANDIDATES))](
            near.contiguous(), rearrange(levels, "q c o -> q (c o)").contiguous(),
            near_ids.contiguous(), dist_sq, k, k if len(ids) == q else 0,
            HEIGHT=geometry.height, WIDTH=geometry.width, C=c,
            FIRST_ROW=rows.start, ROWS=len(rows), FIRST_COL=cols.start, COLS=len(cols),
            CANDIDATES=CANDIDATES, LANES=1 << (len(cols) - 1).bit_length(),
            num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip
    return dist_sq.div_(HALF_RANGE**2)


def beside(
    pixels: UInt8[Tensor, "n c h w"], ids: Int[Tensor, "*q"]
) -> tuple[UInt8[Tensor, "m c h w"], Int[Tensor, "*q"]]:
    """Images on the device of the ids, of which only those that are needed are copied there."""
    if pixels.device == ids.device:
        return pixels, ids
    plane = pixels.shape[2] * pixels.shape[3]
    numbers, renumbered = (ids.clamp(min=0) // plane).unique(return_inverse=True)
    moved = renumbered * plane + ids % plane
    return chosen_on(pixels, numbers, ids.device), moved.where(ids >= 0, -1)
