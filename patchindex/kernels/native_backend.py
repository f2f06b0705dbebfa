"""The back end in C++, and its list search.

Importing this module fails with ImportError where the extension was not built. The instruction set
is the fastest one the processor has; PATCHINDEX_ISA forces another, for tests and comparisons.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8, UInt32
from numpy import ndarray
from numpy.typing import NDArray
from torch import Tensor

from patchindex.choices import Precision
from patchindex.errors import KernelInputError
from patchindex.geometry import BorderSignature, PatchGeometry
from patchindex.kernels import _native
from patchindex.kernels.bounds import NeighborAxis, check_groups, checked_query_pixels
from patchindex.kernels.by_signature import distances_by_signature, sums_by_signature
from patchindex.kernels.group_scans import groups_by_scan
from patchindex.kernels.groups import GroupMembers, GroupSets, PairGroups, PatchSums
from patchindex.kernels.in_threads import in_threads
from patchindex.kernels.shares import ScannedShares
from patchindex.kernels.torch_backend import centers_of
from patchindex.records import PosteriorRecord


def instruction_sets() -> list[str]:
    """Those of this build and processor, fastest first."""
    return _native.instruction_sets()


def instruction_set() -> str:
    """The one in use."""
    return os.environ.get("PATCHINDEX_ISA", "") or instruction_sets()[0]


def exact_scan(
    pixels: UInt8[Tensor, "n c h w"],
    y: Float[Tensor, "b c h w"],
    sigma: float,
    geometry: PatchGeometry,
    groups: PairGroups | None = None,
    *,
    precision: Precision = "auto",  # noqa: ARG001 - float32 is all there is
    threads: int | None = None,
) -> PosteriorRecord:
    """See `patchindex.kernels`; the sums do not depend on the number of threads."""
    options = _scan_options(geometry)
    states = _as_array(y, np.float32)
    if groups is None:
        threads = threads or torch.get_num_threads()
        array = _as_array(pixels, np.uint8)
        return _as_record(
            _native.exact_scan(array, states, float(sigma), threads=threads, **options)
        )
    check_groups(groups, len(pixels), geometry)
    displacement_shares = _as_array(groups.displacement_shares, np.int32)

    def scan_group(number: int) -> PosteriorRecord:
        return _as_record(
            _native.exact_scan(
                _as_array(pixels[groups.images[number]], np.uint8),
                states,
                float(sigma),
                image_shares=_as_array(groups.image_shares[number], np.int32),
                displacement_shares=displacement_shares,
                threads=1,
                **options,
            )
        )

    return PosteriorRecord.stacked(in_threads(scan_group, range(len(groups))))


scan_groups = partial(groups_by_scan, exact_scan)


def scan_shares(
    pixels: UInt8[Tensor, "n c h w"],
    y: Float[Tensor, "b c h w"],
    sigma: float,
    geometry: PatchGeometry,
    log_mass: Float[Tensor, "b h w"],
    *,
    least_share: float,
    threads: int | None = None,
) -> ScannedShares:
    """See `patchindex.kernels`; the shares do not depend on the number of threads."""
    found = _native.scan_shares(
        _as_array(pixels, np.uint8),
        _as_array(y, np.float32),
        float(sigma),
        _as_array(log_mass, np.float64),
        least_share=least_share,
        threads=threads or torch.get_num_threads(),
        **_scan_options(geometry),
    )
    return ScannedShares(**{name: torch.from_numpy(array) for name, array in found.items()})


def patch_distances(
    pixels: UInt8[Tensor, "n c h w"],
    windows: Float[Tensor, "q c s s"],
    ids: Int[Tensor, "*q k"],
    geometry: PatchGeometry,
    signature: BorderSignature | Int[Tensor, " q"],
    *,
    threads: int | None = None,
) -> Float[Tensor, "q k"]:
    """See `patchindex.kernels`."""
    if isinstance(signature, Tensor):
        return distances_by_signature(
            partial(patch_distances, threads=threads), pixels, windows, ids, geometry, signature
        )
    dist_sq = _native.patch_distances(
        _as_array(pixels, np.uint8),
        _as_array(windows, np.float32),
        _as_array(ids, np.int64),
        **_options(geometry, signature, threads),
    )
    return torch.from_numpy(dist_sq)


def sum_patches(  # noqa: PLR0913 - those of `patchindex.kernels`, and threads
    pixels: UInt8[Tensor, "n c h w"],
    windows: Float[Tensor, "q c s s"],
    ids: Int[Tensor, "*q k"],
    geometry: PatchGeometry,
    signature: BorderSignature | Int[Tensor, " q"],
    *,
    sigma: float,
    groups: PairGroups | GroupSets | None = None,
    query_pixels: Int[Tensor, " q"] | None = None,
    num_nearest: int = 0,
    threads: int | None = None,
) -> PatchSums:
    """See `patchindex.kernels`; distances are not stored."""
    if isinstance(signature, Tensor):
        return sums_by_signature(
            sum_patches, pixels, windows, ids, geometry, signature, groups=groups,
            query_pixels=query_pixels, num_nearest=num_nearest, sigma=sigma, threads=threads,
        )  # fmt: skip
    assert not isinstance(groups, GroupSets)  # noqa: S101 - those are for several signatures
    fields = _native.sum_patches(
        _as_array(pixels, np.uint8),
        _as_array(windows, np.float32),
        _as_array(ids, np.int64),
        float(sigma),
        num_nearest=min(num_nearest, ids.shape[-1]),
        **_group_options(groups, query_pixels, pixels, geometry, len(windows)),
        **_options(geometry, signature, threads),
    )
    nearest = torch.from_numpy(fields.pop("nearest"))
    if groups is None:
        members = GroupMembers.none(pixels.shape[1])
    else:
        query, group, patch, dist_sq = (
            torch.from_numpy(fields.pop(name)) for name in ("query", "group", "id", "dist_sq")
        )
        members = GroupMembers(
            query=query,
            group=group,
            log_weights=dist_sq / (-2 * sigma**2),
            centers=centers_of(pixels, patch),
        )
    return PatchSums(record=_as_record(fields), members=members, nearest=nearest)


def nearest_rows(
    rows: Float[Tensor, "n r"], vectors: Float[Tensor, "q r"], count: int
) -> Int[Tensor, "q count"]:
    """See `patchindex.kernels`."""
    positions = _native.nearest_rows(
        _as_array(rows, np.float32),
        _as_array(vectors, np.float32),
        count,
        threads=torch.get_num_threads(),
        isa=instruction_set(),
    )
    return torch.from_numpy(positions)


def nearest_in_cells(
    centers: Float[Tensor, "cells r"],
    rows: Float[Tensor, "n r"],
    offsets: Int[Tensor, " cells_plus_1"],
    vectors: Float[Tensor, "q r"],
    num_visits: int,
) -> Int[Tensor, " q"]:
    """See `patchindex.kernels`."""
    positions = _native.nearest_in_cells(
        _as_array(centers, np.float32),
        _as_array(rows, np.float32),
        _as_array(offsets, np.int64),
        _as_array(vectors, np.float32),
        num_visits,
        threads=torch.get_num_threads(),
        isa=instruction_set(),
    )
    return torch.from_numpy(positions)


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
    ordered = np.sort(_as_array(found, np.int64), axis=-1)  # six times as fast as torch's
    tables = {
        "row_neighbors": _as_array(rows.neighbors, np.int64),
        "row_steps": _as_array(rows.steps, np.int64),
        "col_neighbors": _as_array(cols.neighbors, np.int64),
        "col_steps": _as_array(cols.steps, np.int64),
    }
    wanted = _as_array(targets, np.int64)
    parts = [
        (
            which,
            _native.propagate_neighbors(
                ordered, wanted[which], row_centers=row_centers, col_centers=col_centers,
                height=height, width=width, threads=torch.get_num_threads(), **tables,
            ),
        )
        for row_centers, col_centers, which in _by_centers(wanted, rows, cols)
    ]  # fmt: skip
    width_of_all = max((part.shape[1] for _, part in parts), default=0)
    ids = np.full((len(wanted), width_of_all), -1, dtype=np.int64)
    for which, part in parts:
        ids[which, : part.shape[1]] = part
    return torch.from_numpy(ids)


def _by_centers(
    targets: Int[ndarray, "q 3"], rows: NeighborAxis, cols: NeighborAxis
) -> Iterator[tuple[tuple[int, int], tuple[int, int], Int[ndarray, " m"]]]:
    """The targets whose patches may have the same centers, in rows and columns."""
    by_row, by_col = (_as_array(axis.centers, np.int64) for axis in (rows, cols))
    # a place that the axis does not have is refused with the others of its kind
    row = np.minimum(targets[:, 1].clip(min=0), len(by_row) - 1)
    col = np.minimum(targets[:, 2].clip(min=0), len(by_col) - 1)
    centers = np.concatenate([by_row[row], by_col[col]], axis=1)
    kinds, kind = np.unique(centers, axis=0, return_inverse=True)
    for number, (top, bottom, left, right) in enumerate(kinds.tolist()):
        yield (top, bottom), (left, right), np.flatnonzero(kind.reshape(-1) == number)


def _as_array(tensor: Tensor, dtype: type[np.generic]) -> NDArray[Any]:
    """The tensor as an aligned C-contiguous array, copied only where it must be."""
    return np.require(tensor.detach().cpu().numpy(), dtype, ["C", "A"])


def _as_record(fields: dict[str, NDArray[Any]]) -> PosteriorRecord:
    """A kernel's sums as a record."""
    return PosteriorRecord.exact(**{name: torch.from_numpy(f) for name, f in fields.items()})


def _scan_options(geometry: PatchGeometry) -> dict[str, Any]:
    """What scans want to know besides the arrays."""
    return {
        "patch_size": geometry.patch_size,
        "boundary": geometry.boundary,
        "equivariant": geometry.equivariant,
        "isa": instruction_set(),
    }


def _options(
    geometry: PatchGeometry, signature: BorderSignature, threads: int | None
) -> dict[str, Any]:
    """What distances and sums want to know besides the arrays."""
    rows, cols = signature.rows.offsets, signature.cols.offsets
    return {
        "rows": (rows.start, rows.stop),
        "cols": (cols.start, cols.stop),
        "wraps": geometry.training_wraps,
        "threads": threads or torch.get_num_threads(),
        "isa": instruction_set(),
    }


def _group_options(
    groups: PairGroups | None,
    query_pixels: Int[Tensor, " q"] | None,
    pixels: UInt8[Tensor, "n c h w"],
    geometry: PatchGeometry,
    num_windows: int,
) -> dict[str, Any]:
    """What sums want to know to tell which patches are in groups."""
    if groups is None:
        return {}
    check_groups(groups, len(pixels), geometry)
    num_pixels = geometry.height * geometry.width
    query_pixels = checked_query_pixels(query_pixels, num_windows, num_pixels)
    group_of, share_of = groups.of_images(len(pixels))
    return {
        "group_of": _as_array(group_of, np.int64),
        "image_shares": _as_array(share_of, np.int32),
        "displacement_shares": _as_array(groups.displacement_shares, np.int32),
        "query_pixels": _as_array(query_pixels, np.int64),
    }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CodeShard:
    """The members that consecutive images have in all inverted lists; memory maps are not copied.

    Attributes:
        ids: ids of patches, less `first_id`.
        offsets: first code of each list.
    """

    codes: UInt8[ndarray, "p r"]
    ids: UInt32[ndarray, " p"]
    offsets: Int[ndarray, " nlist_plus_1"]
    first_id: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CodeLists:
    """Inverted lists as they lie on disk.

    Attributes:
        shards: by ascending ids; a list's members are those in all of them.
        offsets: place of each list's first member among all: the sum of the shards' offsets.
        code_min, code_span: code c stands for code_min + (c + 0.5) / 255 * code_span.
    """

    shards: Sequence[CodeShard]
    offsets: Int[ndarray, " nlist_plus_1"]
    code_min: Float[ndarray, " r"]
    code_span: Float[ndarray, " r"]


def search_lists(
    inverted: CodeLists,
    vectors: Float[ndarray, "q r"],
    lists: Int[ndarray, "q nprobe"],
    k: int,
    *,
    image_mask: Bool[ndarray, " n"] | None,
    patches_per_image: int,
) -> Int[ndarray, "q k"]:
    """Ids of the k nearest codes in each query's lists, nearest first; -1 where there are fewer.

    Every list is read once for all queries. How patches are divided into shards changes nothing.

    Args:
        lists: nearest first; -1 for none.
        image_mask: images whose patches may be found; None for all.
    """
    shards = [
        (
            shard.codes,
            _native_array(shard.ids, np.uint32),
            _native_array(shard.offsets, np.int64),
            shard.first_id,
        )
        for shard in inverted.shards
    ]
    return _native.search_lists(
        shards,
        _native_array(inverted.offsets, np.int64),
        _native_array(inverted.code_min, np.float32),
        _native_array(inverted.code_span, np.float32),
        _native_array(vectors, np.float32),
        _native_array(lists, np.int64),
        k,
        image_mask=image_mask,
        patches_per_image=patches_per_image,
        threads=torch.get_num_threads(),
        isa=instruction_set(),
    )


def _native_array(array: ndarray, dtype: type[np.generic]) -> NDArray[Any]:
    """The array as the kernels read it; not copied if it is so already, as memory maps are.

    Raises:
        KernelInputError: it holds fractions, or no numbers, where whole numbers belong.
    """
    wanted = np.dtype(dtype)
    if array.dtype.kind not in ("iu" if wanted.kind in "iu" else "iuf"):
        raise KernelInputError(f"an array is {array.dtype}. Give {wanted}, or what becomes it.")
    return np.require(array, wanted, ["C", "A"])
