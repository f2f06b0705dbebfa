"""Rescoring in C++: same functions, arguments and results as in torch."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from patchindex.geometry import BorderSignature, PatchGeometry
from patchindex.kernels import _native
from patchindex.kernels.bounds import windows_wrap
from patchindex.kernels.group_members import GroupMembers
from patchindex.kernels.native_backend import as_array, as_record, instruction_set
from patchindex.kernels.torch_rescore import centers_of
from patchindex.records import PosteriorRecord


def rescore(
    pixels: UInt8[Tensor, "n c h w"],
    windows: Float[Tensor, "q c s s"],
    ids: Int[Tensor, "q k"],
    geometry: PatchGeometry,
    signature: BorderSignature,
    *,
    threads: int | None = None,
) -> Float[Tensor, "q k"]:
    """Squared distances between each query window and its own patches; infinite for id -1.

    Args:
        windows: query windows in [-1, 1] data units; all of one signature.
        ids: legal patches of that signature (`geometry.patch_ids`).
        threads: torch's number of threads if None.
    """
    dist_sq = _native.rescore(
        as_array(pixels, np.uint8),
        as_array(windows, np.float32),
        as_array(ids, np.int64),
        **options(geometry, signature, threads),
    )
    return torch.from_numpy(dist_sq)


def rescore_shared(
    pixels: UInt8[Tensor, "n c h w"],
    windows: Float[Tensor, "q c s s"],
    ids: Int[Tensor, " m"],
    geometry: PatchGeometry,
    signature: BorderSignature,
    *,
    threads: int | None = None,
) -> Float[Tensor, "q m"]:
    """Squared distances between every query window and every patch: each is cut out once only."""
    dist_sq = _native.rescore(
        as_array(pixels, np.uint8),
        as_array(windows, np.float32),
        as_array(ids, np.int64),
        **options(geometry, signature, threads),
    )
    return torch.from_numpy(dist_sq)


def rescore_record(
    pixels: UInt8[Tensor, "n c h w"],
    windows: Float[Tensor, "q c s s"],
    ids: Int[Tensor, "q k"] | Int[Tensor, " k"],
    geometry: PatchGeometry,
    signature: BorderSignature,
    *,
    sigma: float,
    log_multiplicity: Float[Tensor, "q k"] | Float[Tensor, " k"] | None = None,
    threads: int | None = None,
) -> PosteriorRecord:
    """Sum the given patches for each query window, without storing distances; fields are [q].

    Args:
        windows: query windows in [-1, 1] data units; all of one signature.
        ids: legal patches of that signature, a row per query or one list for all; -1 for none.
        sigma: noise in data units.
        log_multiplicity: log of how many equal patches each id stands for.
        threads: torch's number of threads if None.
    """
    fields = _native.rescore_record(
        as_array(pixels, np.uint8),
        as_array(windows, np.float32),
        as_array(ids, np.int64),
        float(sigma),
        log_multiplicity=None
        if log_multiplicity is None
        else as_array(log_multiplicity, np.float32),
        group_of=None,
        **options(geometry, signature, threads),
    )
    return as_record(fields)


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
    fields = _native.rescore_record(
        as_array(pixels, np.uint8),
        as_array(windows, np.float32),
        as_array(ids, np.int64),
        float(sigma),
        log_multiplicity=None,
        group_of=as_array(group_of, np.int64),
        **options(geometry, signature, None),
    )
    query, group, patch, dist_sq = (
        torch.from_numpy(fields.pop(name)) for name in ("query", "group", "id", "dist_sq")
    )
    members = GroupMembers(
        query=query,
        group=group,
        log_weights=dist_sq / (-2 * sigma**2),
        centers=centers_of(pixels, patch),
    )
    return as_record(fields), members


def options(
    geometry: PatchGeometry, signature: BorderSignature, threads: int | None
) -> dict[str, Any]:
    """What both ways of rescoring want to know besides the arrays."""
    rows, cols = signature.rows.offsets, signature.cols.offsets
    return {
        "rows": (rows.start, rows.stop),
        "cols": (cols.start, cols.stop),
        "wraps": windows_wrap(geometry),
        "threads": threads or torch.get_num_threads(),
        "isa": instruction_set(),
    }
