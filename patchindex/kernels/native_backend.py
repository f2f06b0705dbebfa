"""The back end in C++, and its list search.

Importing this module fails with ImportError where the extension was not built. The instruction set
is the fastest one the processor has; PATCHINDEX_ISA forces another, for tests and comparisons.
"""

import os
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Integer, UInt8
from numpy import ndarray
from numpy.typing import NDArray
from torch import Tensor

from patchindex.errors import KernelInputError
from patchindex.geometry import BorderSignature, PatchGeometry
from patchindex.kernels import _native
from patchindex.kernels.bounds import NeighborAxis, check_images
from patchindex.kernels.group_members import GroupMembers
from patchindex.kernels.in_threads import in_threads
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
    groups: Int[Tensor, "g m"] | None = None,
    *,
    threads: int | None = None,
) -> PosteriorRecord:
    """See `patchindex.kernels`; the sums do not depend on the number of threads."""
    if groups is not None:
        check_images(groups, len(pixels))
        scan_group = partial(exact_scan, y=y, sigma=sigma, geometry=geometry, threads=1)
        return PosteriorRecord.stacked(in_threads(lambda group: scan_group(pixels[group]), groups))
    fields = _native.exact_scan(
        _as_array(pixels, np.uint8),
        _as_array(y, np.float32),
        float(sigma),
        patch_size=geometry.patch_size,
        boundary=geometry.boundary,
        equivariant=geometry.equivariant,
        threads=threads or torch.get_num_threads(),
        isa=instruction_set(),
    )
    return _as_record(fields)


def patch_distances(
    pixels: UInt8[Tensor, "n c h w"],
    windows: Float[Tensor, "q c s s"],
    ids: Int[Tensor, "*q k"],
    geometry: PatchGeometry,
    signature: BorderSignature,
    *,
    threads: int | None = None,
) -> Float[Tensor, "q k"]:
    """See `patchindex.kernels`."""
    dist_sq = _native.patch_distances(
        _as_array(pixels, np.uint8),
        _as_array(windows, np.float32),
        _as_array(ids, np.int64),
        **_options(geometry, signature, threads),
    )
    return torch.from_numpy(dist_sq)


def sum_patches(
    pixels: UInt8[Tensor, "n c h w"],
    windows: Float[Tensor, "q c s s"],
    ids: Int[Tensor, "*q k"],
    geometry: PatchGeometry,
    signature: BorderSignature,
    *,
    sigma: float,
    group_of: Int[Tensor, " n"] | None = None,
    threads: int | None = None,
) -> tuple[PosteriorRecord, GroupMembers]:
    """See `patchindex.kernels`; distances are not stored."""
    fields = _native.sum_patches(
        _as_array(pixels, np.uint8),
        _as_array(windows, np.float32),
        _as_array(ids, np.int64),
        float(sigma),
        group_of=None if group_of is None else _as_array(group_of, np.int64),
        **_options(geometry, signature, threads),
    )
    if group_of is None:
        return _as_record(fields), GroupMembers.none(pixels.shape[1])
    query, group, patch, dist_sq = (
        torch.from_numpy(fields.pop(name)) for name in ("query", "group", "id", "dist_sq")
    )
    members = GroupMembers(
        query=query,
        group=group,
        log_weights=dist_sq / (-2 * sigma**2),
        centers=centers_of(pixels, patch),
    )
    return _as_record(fields), members


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
    ids = _native.propagate_neighbors(
        _as_array(found.sort(dim=-1).values, np.int64),
        _as_array(targets, np.int64),
        row_neighbors=_as_array(rows.neighbors, np.int64),
        row_steps=_as_array(rows.steps, np.int64),
        col_neighbors=_as_array(cols.neighbors, np.int64),
        col_steps=_as_array(cols.steps, np.int64),
        row_centers=(rows.centers.start, rows.centers.stop),
        col_centers=(cols.centers.start, cols.centers.stop),
        height=height,
        width=width,
        threads=torch.get_num_threads(),
    )
    return torch.from_numpy(ids)


def _as_array(tensor: Tensor, dtype: type[np.generic]) -> NDArray[Any]:
    """The tensor as an aligned C-contiguous array, copied only where it must be."""
    return np.require(tensor.detach().cpu().numpy(), dtype, ["C", "A"])


def _as_record(fields: dict[str, NDArray[Any]]) -> PosteriorRecord:
    """A kernel's sums as a record."""
    return PosteriorRecord.exact(**{name: torch.from_numpy(f) for name, f in fields.items()})


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CodeLists:
    """Inverted lists as they lie on disk; memory maps are not copied.

    Attributes:
        offsets: first code of each list.
        code_min, code_span: code c stands for code_min + (c + 0.5) / 255 * code_span.
    """

    codes: UInt8[ndarray, "p r"]
    ids: Integer[ndarray, " p"]
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

    Every list is read once for all queries.

    Args:
        lists: nearest first; -1 for none.
        image_mask: images whose patches may be found; None for all.
    """
    ids = inverted.ids
    return _native.search_lists(
        inverted.codes,
        _native_array(ids, np.uint32 if ids.dtype == np.uint32 else np.int64),
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
