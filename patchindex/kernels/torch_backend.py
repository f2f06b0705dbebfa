"""The back end in torch, which serves where nothing was built; `torch_scan` is part of it."""

from functools import partial

import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from patchindex.geometry import AxisSignature, BorderSignature, PatchGeometry
from patchindex.images import to_unit
from patchindex.kernels.bounds import (
    NeighborAxis,
    check_groups,
    check_nearest,
    check_neighbors,
    check_patches,
    check_sigma,
    checked_query_pixels,
)
from patchindex.kernels.by_signature import distances_by_signature, sums_by_signature
from patchindex.kernels.group_scans import groups_by_scan
from patchindex.kernels.groups import GroupMembers, GroupSets, PairGroups, PatchSums
from patchindex.kernels.shares import scan_shares
from patchindex.kernels.torch_scan import exact_scan
from patchindex.records import PosteriorRecord, shifted_weights
from patchindex.windows import wrapped

__all__ = [
    "exact_scan",
    "nearest_rows",
    "patch_distances",
    "propagate_neighbors",
    "scan_groups",
    "scan_shares",
    "sum_patches",
]

CHUNK_BYTES = 2**26

scan_groups = partial(groups_by_scan, exact_scan)


def patch_distances(
    pixels: UInt8[Tensor, "n c h w"],
    windows: Float[Tensor, "q c s s"],
    ids: Int[Tensor, "*q k"],
    geometry: PatchGeometry,
    signature: BorderSignature | Int[Tensor, " q"],
) -> Float[Tensor, "q k"]:
    """See `patchindex.kernels`."""
    if isinstance(signature, Tensor):
        return distances_by_signature(patch_distances, pixels, windows, ids, geometry, signature)
    check_patches(ids, pixels, geometry, signature)
    seen = seen_cells(windows, geometry, signature)
    if ids.ndim == 1:  # each patch is cut out once only
        patches = rearrange(regather(pixels, ids, signature), "m c o -> m (c o)")
        # never the expanded form q^2 - 2qp + p^2, which cancels where distances are small
        mode = "donot_use_mm_for_euclid_dist"
        return torch.cdist(seen.flatten(1), patches, compute_mode=mode).square_()
    # the smallest legal id stands in where there is none
    ids, absent = ids.clamp(min=_first_id(geometry, signature)), ids < 0
    step = max(1, CHUNK_BYTES // (8 * seen[0].numel() * ids.shape[1] + 1))
    chunks = zip(seen.split(step), ids.split(step), strict=True)
    dist_sq = torch.cat(
        [
            (regather(pixels, block, signature) - query[:, None]).square_().sum((-2, -1))
            for query, block in chunks
        ]
    )
    return dist_sq.masked_fill_(absent, torch.inf)


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
    """See `patchindex.kernels`."""
    check_sigma(sigma)
    if isinstance(signature, Tensor):
        return sums_by_signature(
            sum_patches, pixels, windows, ids, geometry, signature, groups=groups,
            query_pixels=query_pixels, num_nearest=num_nearest, sigma=sigma,
        )  # fmt: skip
    dist_sq = patch_distances(pixels, windows, ids, geometry, signature)
    return PatchSums(
        record=weighed(dist_sq, pixels, ids, sigma),
        members=members_of(
            dist_sq, pixels, ids, geometry, groups, sigma=sigma, query_pixels=query_pixels
        ),
        nearest=nearest_of(dist_sq, ids, num_nearest),
    )


def weighed(
    dist_sq: Float[Tensor, "q k"],
    pixels: UInt8[Tensor, "n c h w"],
    ids: Int[Tensor, "q k"],
    sigma: float,
) -> PosteriorRecord:
    """The exact sums over patches at these distances, which are infinite where there is none."""
    log_max, weights = shifted_weights(dist_sq / (-2 * sigma**2))
    centers = centers_of(pixels, ids.clamp(min=0))
    return PosteriorRecord.exact(
        log_max=log_max.double(),
        sum_w=weights.sum(-1).double(),
        # not as a product of matrices, which a GPU may compute in TF32
        sum_wc=(weights[..., None] * centers).sum(1).double(),
        sum_w2=weights.square().sum(-1).double(),
        num_scored=dist_sq.isfinite().sum(-1),
    )


def nearest_of(
    dist_sq: Float[Tensor, "q k"], ids: Int[Tensor, "q k"], count: int
) -> Int[Tensor, "q count"]:
    """Ids of the patches at the smallest of these distances; of equal ones the smaller ids."""
    count = min(count, ids.shape[1])
    if not count:
        return ids[:, :0]
    ids, order = ids.sort(dim=1)
    # stable: equally near ones stay in the order of their ids
    nearest = dist_sq.gather(1, order).sort(dim=1, stable=True).indices[:, :count]
    return ids.gather(1, nearest)


def members_of(
    dist_sq: Float[Tensor, "q k"],
    pixels: UInt8[Tensor, "n c h w"],
    ids: Int[Tensor, "q k"],
    geometry: PatchGeometry,
    groups: PairGroups | GroupSets | None,
    *,
    sigma: float,
    query_pixels: Int[Tensor, " q"] | None,
    numbers: Int[Tensor, " q"] | None = None,
) -> GroupMembers:
    """The patches at these distances that are in a group.

    Args:
        numbers: with sets of groups, the border signature of each query.
    """
    if groups is None:
        return GroupMembers.none(pixels.shape[1], dist_sq.device)
    num_pixels, width = pixels[0, 0].numel(), pixels.shape[3]
    there = ids.clamp(min=0)
    image, center = there // num_pixels, there % num_pixels
    at = checked_query_pixels(query_pixels, len(ids), num_pixels)[:, None]
    dy, dx = center // width - at // width, center % width - at % width
    if isinstance(groups, GroupSets):
        assert numbers is not None  # noqa: S101 - sets are told apart by signatures
        group = groups.group_of(len(pixels), numbers, image, dy, dx)
    else:
        check_groups(groups, len(pixels), geometry)
        group = groups.group_of(len(pixels), image, dy, dx)
    query, place = ((group >= 0) & (ids >= 0)).nonzero(as_tuple=True)
    return GroupMembers(
        query=query,
        group=group[query, place],
        log_weights=dist_sq[query, place] / (-2 * sigma**2),
        centers=centers_of(pixels, ids[query, place]),
    )


def centers_of(pixels: UInt8[Tensor, "n c h w"], ids: Int[Tensor, "*q"]) -> Float[Tensor, "*q c"]:
    """Center pixels of the patches with these ids, in [-1, 1], beside the ids.

    Pixels may lie elsewhere: then only the centers are copied.
    """
    _, channels, height, width = pixels.shape
    image, cell = ids // (height * width), ids % (height * width)
    flat = (image * channels)[..., None] + torch.arange(channels, device=ids.device)
    places = flat * (height * width) + cell[..., None]
    return to_unit(pixels.reshape(-1)[places.to(pixels.device)].to(ids.device))


def _first_id(geometry: PatchGeometry, signature: BorderSignature) -> int:
    """The smallest legal patch id."""
    return signature.rows.centers.start * geometry.width + signature.cols.centers.start


def seen_cells(
    windows: Float[Tensor, "q c s s"], geometry: PatchGeometry, signature: BorderSignature
) -> Float[Tensor, "q c o"]:
    """The cells of full windows that lie inside the image, in the order of `regather`."""
    r, rows, cols = geometry.radius, signature.rows.offsets, signature.cols.offsets
    inside = windows[:, :, rows.start + r : rows.stop + r, cols.start + r : cols.stop + r]
    return rearrange(inside, "q c sy sx -> q c (sy sx)")


def regather(
    pixels: UInt8[Tensor, "n c h w"], ids: Int[Tensor, "*q"], signature: BorderSignature
) -> Float[Tensor, "*q c o"]:
    """In-image cells of the patches with these ids, in [-1, 1]; cells past a border wrap round."""
    _, _, height, width = pixels.shape
    rows, cols = signature.rows, signature.cols
    above, beside = _overhang(rows, height), _overhang(cols, width)
    if above or beside:
        rows_round = wrapped(height, above, pixels.device)
        pixels = pixels[:, :, rows_round][..., wrapped(width, beside, pixels.device)]
    # a view of all windows: one index per patch then moves whole windows, not cell after cell
    windows = pixels.unfold(2, len(rows.offsets), 1).unfold(3, len(cols.offsets), 1)
    top = ids // width % height + (rows.offsets.start + above)
    left = ids % width + (cols.offsets.start + beside)
    return to_unit(windows[ids // (height * width), :, top, left].flatten(-2))


def _overhang(axis: AxisSignature, size: int) -> int:
    """How far legal windows reach beyond an image axis of this size; 0 where they stay inside."""
    before = -(axis.centers.start + axis.offsets.start)
    after = axis.centers.stop + axis.offsets.stop - 1 - size
    return max(0, before, after)


def nearest_rows(
    rows: Float[Tensor, "n r"], vectors: Float[Tensor, "q r"], count: int
) -> Int[Tensor, "q count"]:
    """See `patchindex.kernels`."""
    check_nearest(rows, vectors, count)
    # float64, so that no batch size or number of threads can tip a near tie
    wide = rows.double()
    dist_sq = wide.square().sum(1) - 2 * vectors.double() @ wide.T
    return dist_sq.topk(count, dim=1, largest=False).indices


def nearest_in_cells(
    centers: Float[Tensor, "cells r"],
    rows: Float[Tensor, "n r"],
    offsets: Int[Tensor, " cells_plus_1"],
    vectors: Float[Tensor, "q r"],
    num_visits: int,
) -> Int[Tensor, " q"]:
    """See `patchindex.kernels`."""
    check_nearest(centers, vectors, num_visits)
    cells = _half_distances(vectors, centers).topk(num_visits, dim=1, largest=False).indices
    visited, order = cells.reshape(-1).sort(stable=True)
    ends = torch.bincount(visited, minlength=len(centers)).cumsum(0).tolist()
    dist = vectors.new_empty(len(order))
    positions = torch.empty(len(order), dtype=torch.int32, device=vectors.device)
    for cell, (begin, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        if begin < end:
            mine, (first, stop) = order[begin:end], offsets[cell : cell + 2].tolist()
            own = _half_distances(vectors[mine // num_visits], rows[first:stop])
            dist[mine], nearest = own.min(dim=1)
            positions[mine] = (first + nearest).int()
    best = dist.view(-1, num_visits).argmin(dim=1, keepdim=True)
    return positions.view(-1, num_visits).gather(1, best).squeeze(1)


def _half_distances(
    vectors: Float[Tensor, "q r"], rows: Float[Tensor, "n r"]
) -> Float[Tensor, "q n"]:
    """Half the squared distances, less what a vector has in common with all rows."""
    return torch.addmm(rows.square().sum(1) / 2, vectors, rows.T, alpha=-1)


def propagate_neighbors(
    found: Int[Tensor, "b sr sc k"],
    targets: Int[Tensor, "q 3"],
    rows: NeighborAxis,
    cols: NeighborAxis,
    *,
    height: int,
    width: int,
) -> Int[Tensor, "q m"]:
    """See `patchindex.kernels`."""
    check_neighbors(found, targets, rows, cols)
    state, row, col = targets.unbind(1)
    row_centers, col_centers = (
        axis.centers[place, :, None].unbind(1) for axis, place in ((rows, row), (cols, col))
    )
    parts = []
    for i in range(2):
        for j in range(2):
            ids = found[state, rows.neighbors[row, i], cols.neighbors[col, j]]
            row_step, col_step = rows.steps[row, i, None], cols.steps[col, j, None]
            y, x = ids // width % height + row_step, ids % width + col_step
            legal = (y >= row_centers[0]) & (y < row_centers[1])
            legal &= (x >= col_centers[0]) & (x < col_centers[1])
            parts.append((ids + row_step * width + col_step).where((ids >= 0) & legal, -1))
    return _each_once(torch.cat(parts, dim=1))


def _each_once(ids: Int[Tensor, "q m"]) -> Int[Tensor, "q distinct"]:
    """Each id of a row once, ascending; filled up with -1, to the longest row."""
    last = torch.iinfo(torch.int64).max
    ordered = ids.where(ids >= 0, last).sort(dim=1).values
    repeats = torch.zeros_like(ordered, dtype=torch.bool)
    repeats[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    ordered = ordered.masked_fill(repeats, last).sort(dim=1).values
    longest = int((ordered < last).sum(1).max()) if len(ids) else 0
    distinct = ordered[:, :longest]
    return distinct.where(distinct < last, -1)
