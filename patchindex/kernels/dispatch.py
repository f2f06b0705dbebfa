"""One front for each operation: it computes where its queries lie.

Queries on the processor are served by the back end that was chosen for it, others by Triton.
Training images may lie beside the queries or on the host: then they are copied as they are needed.
Results lie beside the queries.
"""

from types import ModuleType

from jaxtyping import Float, Int, UInt8
from torch import Tensor

from patchindex.geometry import BorderSignature, PatchGeometry
from patchindex.kernels import on_processor
from patchindex.kernels.backend import on_device
from patchindex.kernels.bounds import LoanAxis
from patchindex.kernels.group_members import GroupMembers
from patchindex.records import PosteriorRecord


def scan(
    pixels: UInt8[Tensor, "n c h w"],
    y: Float[Tensor, "b c h w"],
    sigma: float,
    geometry: PatchGeometry,
) -> PosteriorRecord:
    """Sum every legal patch of every image for every pixel of `y`; fields are [b, h, w].

    All states share one pass over the images. What is skipped is below 1e-6 of a pixel's mass, all
    together. `log_max` is a scale near the log mass, not the largest log weight.

    Args:
        pixels: training images.
        y: query states in data units, xt / sqrt(alpha_bar); finite.
        sigma: noise in the same units.
    """
    record: PosteriorRecord = kernels_for(y).scan(pixels, y, sigma, geometry)
    return record


def scan_groups(
    pixels: UInt8[Tensor, "n c h w"],
    groups: Int[Tensor, "g m"],
    y: Float[Tensor, "b c h w"],
    sigma: float,
    geometry: PatchGeometry,
) -> PosteriorRecord:
    """The scan of each group of images apart; fields are [g, b, h, w]. See `scan`.

    Args:
        groups: image numbers; groups of 16 fill a register of the processor.
    """
    records: PosteriorRecord = kernels_for(y).scan_groups(pixels, groups, y, sigma, geometry)
    return records


def rescore(
    pixels: UInt8[Tensor, "n c h w"],
    windows: Float[Tensor, "q c s s"],
    ids: Int[Tensor, "q k"],
    geometry: PatchGeometry,
    signature: BorderSignature,
) -> Float[Tensor, "q k"]:
    """Squared distances between each query window and its own patches; infinite for id -1.

    Args:
        windows: query windows in [-1, 1] data units; all of one signature.
        ids: legal patches of that signature (`geometry.patch_ids`).
    """
    dist_sq: Float[Tensor, "q k"] = kernels_for(windows).rescore(
        pixels, windows, ids, geometry, signature
    )
    return dist_sq


def rescore_shared(
    pixels: UInt8[Tensor, "n c h w"],
    windows: Float[Tensor, "q c s s"],
    ids: Int[Tensor, " m"],
    geometry: PatchGeometry,
    signature: BorderSignature,
) -> Float[Tensor, "q m"]:
    """Squared distances between every query window and every one of these patches."""
    dist_sq: Float[Tensor, "q m"] = kernels_for(windows).rescore_shared(
        pixels, windows, ids, geometry, signature
    )
    return dist_sq


def rescore_record(
    pixels: UInt8[Tensor, "n c h w"],
    windows: Float[Tensor, "q c s s"],
    ids: Int[Tensor, "q k"],
    geometry: PatchGeometry,
    signature: BorderSignature,
    *,
    sigma: float,
) -> PosteriorRecord:
    """Sum the given patches for each query window; fields are [q].

    Args:
        windows, ids: as for `rescore`.
        sigma: noise in data units.
    """
    record: PosteriorRecord = kernels_for(windows).rescore_record(
        pixels, windows, ids, geometry, signature, sigma=sigma
    )
    return record


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
    """Sum the given patches for each query window, and list those whose image is in a group.

    Args:
        windows, ids, sigma: as for `rescore_record`.
        group_of: group of each image, -1 for none.
    """
    both: tuple[PosteriorRecord, GroupMembers] = kernels_for(windows).rescore_groups(
        pixels, windows, ids, geometry, signature, sigma=sigma, group_of=group_of
    )
    return both


def nearest_rows(
    rows: Float[Tensor, "n r"], vectors: Float[Tensor, "q r"], count: int
) -> Int[Tensor, "q count"]:
    """Positions of the rows nearest to each vector, nearest first; `count` of at most n."""
    positions: Int[Tensor, "q count"] = kernels_for(vectors).nearest_rows(rows, vectors, count)
    return positions


def moved_union(
    found: Int[Tensor, "b sr sc k"],
    borrowers: Int[Tensor, "q 3"],
    rows: LoanAxis,
    cols: LoanAxis,
    *,
    height: int,
    width: int,
) -> Int[Tensor, "q m"]:
    """The ids of up to four lenders, moved by the step from lender to borrower.

    Args:
        found: ids of the searched pixels of each state; -1 for none.
        borrowers: state, row and column place of each pixel that wants ids.
        height, width: of an image.

    Returns:
        Legal ids, each once and ascending; filled up with -1 behind.
    """
    ids: Int[Tensor, "q m"] = kernels_for(found).moved_union(
        found, borrowers, rows, cols, height=height, width=width
    )
    return ids


def kernels_for(queries: Tensor) -> ModuleType:
    """The back end that computes where these queries lie.

    Raises:
        KernelError: they are on a GPU, and no Triton that knows the kernels is installed.
    """
    if not on_device(queries):
        return on_processor
    from patchindex.kernels import on_device as triton_kernels  # noqa: PLC0415 - imports Triton

    return triton_kernels
