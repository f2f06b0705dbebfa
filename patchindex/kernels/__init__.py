"""The operations that everything exact is made of: `exact_scan`, `patch_distances`, `sum_patches`.

`scan_shares` divides what `exact_scan` summed among the images. `scan_at` is the exact scan for a
few pixels, in torch everywhere. `nearest_rows`, `nearest_in_cells` and `propagate_neighbors` help
the index and its search. Legal patches, border signatures and patch ids are those of
`patchindex.geometry`.

Each function computes where its queries lie: on the processor by C++ (or torch, where that was not
built), on a GPU by Triton. Training images may lie beside the queries or on the host: then they are
copied as they are needed. Results lie beside the queries. The modules `native_backend`,
`torch_backend` and `triton_backend` have functions of these names and arguments.
"""

from collections.abc import Sequence

from jaxtyping import Float, Int, UInt8
from torch import Tensor

from patchindex.choices import Precision
from patchindex.geometry import BorderSignature, PatchGeometry
from patchindex.kernels.backend import backend_for
from patchindex.kernels.bounds import NeighborAxis
from patchindex.kernels.group_scans import GroupScan, GroupSums
from patchindex.kernels.groups import (
    GroupMembers,
    GroupSets,
    PairGroups,
    PatchSums,
)
from patchindex.kernels.pixel_scan import scan_at
from patchindex.kernels.shares import ScannedShares
from patchindex.kernels.torch_backend import centers_of, regather, seen_cells
from patchindex.kernels.torch_scan import distances_sq, scan_whole
from patchindex.records import PosteriorRecord

__all__ = [
    "GroupMembers",
    "GroupScan",
    "GroupSets",
    "GroupSums",
    "NeighborAxis",
    "PairGroups",
    "PatchSums",
    "ScannedShares",
    "backend",
    "by_signature",
    "centers_of",
    "distances_sq",
    "exact_scan",
    "in_threads",
    "native_backend",
    "nearest_codes",
    "nearest_in_cells",
    "nearest_rows",
    "patch_distances",
    "propagate_neighbors",
    "regather",
    "scan_at",
    "scan_groups",
    "scan_shares",
    "scan_whole",
    "seen_cells",
    "sum_patches",
    "tiles",
    "triton_lists",
    "triton_rank_kernel",
]


def exact_scan(
    pixels: UInt8[Tensor, "n c h w"],
    y: Float[Tensor, "b c h w"],
    sigma: float,
    geometry: PatchGeometry,
    groups: PairGroups | None = None,
    *,
    precision: Precision = "auto",
) -> PosteriorRecord:
    """Sum every legal patch of every image for every pixel of `y`; fields are [b, h, w].

    All states share one pass over the images. Patches of negligible weight are skipped, together
    below 1e-6 of a pixel's mass. `log_max` is a scale near the log mass, not the largest log
    weight.

    Args:
        pixels: training images.
        y: query states in data units, xt / sqrt(alpha_bar); finite.
        sigma: noise in the same units.
        groups: of (image, displacement) pairs; each is summed apart, and fields are [g, b, h, w].
            None sums all pairs together.
        precision: `float32` keeps a GPU from its tensor cores, which serve where `auto` knows that
            means stay within 1e-4. The processor always computes in float32.

    Raises:
        KernelInputError: sigma or y out of range, or a group of images that are not there.
        KernelError: y is where none of our kernels computes.
    """
    record: PosteriorRecord = backend_for(y).exact_scan(
        pixels, y, sigma, geometry, groups, precision=precision
    )
    return record


def scan_groups(
    pixels: UInt8[Tensor, "n c h w"],
    y: Float[Tensor, "b c h w"],
    sigma: float,
    scans: Sequence[GroupScan],
) -> GroupSums:
    """The sums of groups for some pixels each, side by side: as `exact_scan` of each.

    Args:
        pixels, y, sigma: as for `exact_scan`; each scan has its part of images and states.
        scans: at least one, with as many groups each.

    Returns:
        Sums of the wanted pixels of all states, row after row, scan after scan.

    Raises:
        KernelInputError: as for `exact_scan`.
    """
    sums: GroupSums = backend_for(y).scan_groups(pixels, y, sigma, scans)
    return sums


def scan_shares(
    pixels: UInt8[Tensor, "n c h w"],
    y: Float[Tensor, "b c h w"],
    sigma: float,
    geometry: PatchGeometry,
    log_mass: Float[Tensor, "b h w"],
    *,
    least_share: float,
) -> ScannedShares:
    """Divide the mass of every pixel among the images: w / mass, added over patches and pixels.

    All states share one pass over the images, which takes about as long as the scan that found the
    masses. Over all images the shares of a state add up to its number of pixels.

    Args:
        pixels, y, sigma, geometry: as for `exact_scan`.
        log_mass: log of the summed weights of each pixel, from all images; infinite for pixels that
            take no part.
        least_share: patches with this share of a pixel or more are listed: of a pixel not more
            than 1 / least_share.

    Raises:
        KernelInputError: sigma, y or log_mass out of range.
        KernelError: y is where none of our kernels computes.

    Example:
        >>> record = exact_scan(pixels, y, sigma, geometry)
        >>> log_mass = record.log_max + record.sum_w.log()
        >>> scan_shares(pixels, y, sigma, geometry, log_mass, least_share=0.01).images
    """
    shares: ScannedShares = backend_for(y).scan_shares(
        pixels, y, sigma, geometry, log_mass, least_share=least_share
    )
    return shares


def patch_distances(
    pixels: UInt8[Tensor, "n c h w"],
    windows: Float[Tensor, "q c s s"],
    ids: Int[Tensor, "q k"] | Int[Tensor, " k"],
    geometry: PatchGeometry,
    signature: BorderSignature | Int[Tensor, " q"],
) -> Float[Tensor, "q k"]:
    """Squared distances between each query window and given patches; infinite for id -1.

    Args:
        pixels: training images.
        windows: query windows in [-1, 1] data units.
        ids: legal patches of that signature (`geometry.patch_ids`): those of each query, or, of one
            signature, one list for all queries, without -1.
        signature: of all windows; or that of each, as its position in `geometry.signatures`.

    Raises:
        KernelInputError: ids that are no patches of these images and this signature.
        KernelError: windows are where none of our kernels computes.
    """
    dist_sq: Float[Tensor, "q k"] = backend_for(windows).patch_distances(
        pixels, windows, ids, geometry, signature
    )
    return dist_sq


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
    """Sum given patches for each query window; tell which are in groups, and the nearest.

    Args:
        pixels, windows, ids, signature: as for `patch_distances`.
        sigma: noise in data units.
        groups: of (image, displacement) pairs; several sets where each window has its signature.
        query_pixels: with groups, the pixel y * width + x of each window.
        num_nearest: how many of the nearest patches are returned; at most all.

    Raises:
        KernelInputError: as for `patch_distances`, sigma out of range, groups of images that are
            not there, or pixels outside the image.
        KernelError: windows are where none of our kernels computes.
    """
    sums: PatchSums = backend_for(windows).sum_patches(
        pixels, windows, ids, geometry, signature, sigma=sigma, groups=groups,
        query_pixels=query_pixels, num_nearest=num_nearest,
    )  # fmt: skip
    return sums


def nearest_rows(
    rows: Float[Tensor, "n r"], vectors: Float[Tensor, "q r"], count: int
) -> Int[Tensor, "q count"]:
    """Positions of the rows nearest to each vector, nearest first; `count` of at most n."""
    positions: Int[Tensor, "q count"] = backend_for(vectors).nearest_rows(rows, vectors, count)
    return positions


def nearest_in_cells(
    centers: Float[Tensor, "cells r"],
    rows: Float[Tensor, "n r"],
    offsets: Int[Tensor, " cells_plus_1"],
    vectors: Float[Tensor, "q r"],
    num_visits: int,
) -> Int[Tensor, " q"]:
    """Position of the row nearest to each vector, among those of the nearest cells.

    Of equally near rows it is the first in its cell. In C++ a vector's result depends on no other
    vector; elsewhere near ties may.

    Args:
        centers: of each cell.
        rows: of all cells, cell after cell.
        offsets: first row of each cell, and the number of rows; no cell is empty. On the host.
        num_visits: cells that are looked into for each vector; at most as many as there are.
    """
    positions: Int[Tensor, " q"] = backend_for(vectors).nearest_in_cells(
        centers, rows, offsets, vectors, num_visits
    )
    return positions


def propagate_neighbors(
    found: Int[Tensor, "b sr sc k"],
    targets: Int[Tensor, "q 3"],
    rows: NeighborAxis,
    cols: NeighborAxis,
    *,
    height: int,
    width: int,
) -> Int[Tensor, "q m"]:
    """The ids found at a pixel and at up to three beside it, moved by the step from there.

    Args:
        found: ids of the searched pixels of each state; -1 for none.
        targets: state, row and column place of each pixel that wants ids.
        rows, cols: which places each place takes ids from.
        height, width: of an image.

    Returns:
        Legal ids, each once and ascending; filled up with -1 behind.
    """
    ids: Int[Tensor, "q m"] = backend_for(found).propagate_neighbors(
        found, targets, rows, cols, height=height, width=width
    )
    return ids
