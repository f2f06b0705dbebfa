"""The back end in Triton, which serves on GPUs; `triton_scan` is part of it."""

from collections.abc import Iterator
from contextlib import nullcontext
from functools import lru_cache, reduce

import torch
from jaxtyping import Float, Int, Int32, UInt8
from torch import Tensor

from patchindex.device import chosen_on
from patchindex.geometry import BorderSignature, PatchGeometry
from patchindex.images import HALF_RANGE
from patchindex.kernels.bounds import check_patches, check_sigma
from patchindex.kernels.groups import GroupSets, PairGroups, PatchSums
from patchindex.kernels.shares import scan_shares
from patchindex.kernels.torch_backend import (
    members_of,
    nearest_in_cells,
    nearest_of,
    nearest_rows,
    weighed,
)
from patchindex.kernels.triton_patches import propagate_neighbors, weighed_in_groups
from patchindex.kernels.triton_rescore_kernel import rescore_kernel
from patchindex.kernels.triton_scan import exact_scan, scan_groups
from patchindex.records import PosteriorRecord

__all__ = [  # torch's own where nothing is gained by more
    "exact_scan",
    "nearest_in_cells",
    "nearest_rows",
    "patch_distances",
    "propagate_neighbors",
    "scan_groups",
    "scan_shares",
    "sum_patches",
]

CANDIDATES = 64  # of a program
CACHED_SHAPES = 64  # a kilobyte each
CENTERS_BYTES = 2**28  # of the weighted centers that are summed at once
LOADED_BYTES = 2**28  # of images that are copied to the device together: not all may fit


def patch_distances(
    pixels: UInt8[Tensor, "n c h w"],
    windows: Float[Tensor, "q c s s"],
    ids: Int[Tensor, "*q k"],
    geometry: PatchGeometry,
    signature: BorderSignature | Int[Tensor, " q"],
) -> Float[Tensor, "q k"]:
    """See `patchindex.kernels`; one launch for the windows of all signatures."""
    rows_of_ids = ids if ids.ndim == 2 else ids[None]
    if not len(windows) or not ids.numel():
        return torch.empty(len(windows), rows_of_ids.shape[1], device=windows.device)
    if not isinstance(signature, Tensor):
        check_patches(ids, pixels, geometry, signature)
    levels = ((windows.double() + 1) * HALF_RANGE).float()
    parts = (
        _launch(near, levels, near_ids, geometry, signature)
        for near, near_ids in _beside(pixels, rows_of_ids)
    )
    return reduce(torch.minimum, parts).div_(HALF_RANGE**2)


def sum_patches(
    pixels: UInt8[Tensor, "n c h w"],
    windows: Float[Tensor, "q c s s"],
    ids: Int[Tensor, "q k"],
    geometry: PatchGeometry,
    signature: BorderSignature | Int[Tensor, " q"],
    *,
    sigma: float,
    groups: PairGroups | GroupSets | None = None,
    query_pixels: Int[Tensor, " q"] | None = None,
    num_nearest: int = 0,
) -> PatchSums:
    """See `patchindex.kernels`.

    Centers of images that are on the host are weighed for some queries at a time.
    """
    check_sigma(sigma)
    dist_sq = patch_distances(pixels, windows, ids, geometry, signature)
    nearest = nearest_of(dist_sq, ids, num_nearest)
    numbers = signature if isinstance(signature, Tensor) else None
    if pixels.device == dist_sq.device and dist_sq.numel():
        sets = groups if isinstance(groups, GroupSets) else None
        record, members = weighed_in_groups(
            dist_sq, pixels, ids, sigma, sets, query_pixels=query_pixels, numbers=numbers
        )
        if groups is sets:
            return PatchSums(record=record, members=members, nearest=nearest)
    else:
        step = max(1, CENTERS_BYTES // (4 * pixels.shape[1] * ids.shape[1] + 1))
        parts = zip(dist_sq.split(step), ids.split(step), strict=True)
        record = PosteriorRecord.joined([weighed(part, pixels, own, sigma) for part, own in parts])
    members = members_of(
        dist_sq, pixels, ids, geometry, groups,
        sigma=sigma, query_pixels=query_pixels, numbers=numbers,
    )  # fmt: skip
    return PatchSums(record=record, members=members, nearest=nearest)


def _launch(
    pixels: UInt8[Tensor, "n c h w"],
    levels: Float[Tensor, "q c s s"],
    ids: Int[Tensor, "q_or_1 k"],
    geometry: PatchGeometry,
    signature: BorderSignature | Int[Tensor, " q"],
) -> Float[Tensor, "q k"]:
    """Distances in squared gray levels, all on one device; infinite for id -1."""
    (q, c, side, _), k = levels.shape, ids.shape[1]
    dist_sq = torch.empty(q, k, device=levels.device)
    if isinstance(signature, Tensor):
        shapes, numbers = _shapes_of(geometry.signatures, levels.device), signature
    else:
        shapes = _shapes_of((signature,), levels.device)
        numbers = torch.zeros(1, dtype=torch.int64, device=levels.device)
    with torch.cuda.device(levels.device) if levels.is_cuda else nullcontext():
        rescore_kernel[(q, -(-k // CANDIDATES))](
            pixels.contiguous(), levels.contiguous(), ids.contiguous(), dist_sq,
            shapes, numbers, k, k if len(ids) == q else 0, int(len(numbers) == q), side,
            HEIGHT=geometry.height, WIDTH=geometry.width, C=c,
            CANDIDATES=CANDIDATES, LANES=1 << (side - 1).bit_length(),
            num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip
    return dist_sq


@lru_cache(maxsize=CACHED_SHAPES)
def _shapes_of(
    signatures: tuple[BorderSignature, ...], device: torch.device
) -> Int32[Tensor, "signatures 4"]:
    """Rows and columns of windows that lie inside the image, from the center on."""
    axes = [(each.rows.offsets, each.cols.offsets) for each in signatures]
    shapes = [(rows.start, rows.stop, cols.start, cols.stop) for rows, cols in axes]
    return torch.tensor(shapes, dtype=torch.int32).to(device)


def _beside(
    pixels: UInt8[Tensor, "n c h w"], ids: Int[Tensor, "*q"]
) -> Iterator[tuple[UInt8[Tensor, "m c h w"], Int[Tensor, "*q"]]]:
    """Images on the device of the ids, and the ids among them; copied there if need be."""
    if pixels.device == ids.device:
        yield pixels, ids
    else:
        yield from _loaded(pixels, ids)


def _loaded(
    pixels: UInt8[Tensor, "n c h w"], ids: Int[Tensor, "*q"]
) -> Iterator[tuple[UInt8[Tensor, "m c h w"], Int[Tensor, "*q"]]]:
    """The images that are needed, in blocks; ids of images in other blocks are -1."""
    plane = pixels.shape[2] * pixels.shape[3]
    numbers, renumbered = (ids.clamp(min=0) // plane).unique(return_inverse=True)
    block_size = max(1, LOADED_BYTES // pixels[0].nbytes)
    for start in range(0, len(numbers), block_size):
        block = chosen_on(pixels, numbers[start : start + block_size], ids.device)
        image = renumbered - start
        here = (ids >= 0) & (image >= 0) & (image < len(block))
        yield block, (image * plane + ids % plane).where(here, -1)
