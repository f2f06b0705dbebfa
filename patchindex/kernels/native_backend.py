"""The C++ kernels: exact scan, rescoring, and list search.

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
from patchindex.kernels.bounds import LoanAxis, check_images, windows_wrap
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


def scan(
    pixels: UInt8[Tensor, "n c h w"],
    y: Float[Tensor, "b c h w"],
    sigma: float,
    geometry: PatchGeometry,
    *,
    threads: int | None = None,
) -> PosteriorRecord:
    """Sum every legal patch of every image for every pixel of `y`; fields are [b, h, w].

    All states share one pass over the images. The sums do not depend on the number of threads.
    What is skipped is below 1e-6 of a pixel's mass, all together. `log_max` is a scale near the log
    mass of the pixel, not the largest log weight.

    Args:
        pixels: training images.
        y: query states in data units, xt / sqrt(alpha_bar); finite.
        sigma: noise in the same units.
        threads: torch's number of threads if None.
    """
    fields = _native.scan(
        as_array(pixels, np.uint8),
        as_array(y, np.float32),
        float(sigma),
        patch_size=geometry.patch_size,
        boundary=geometry.boundary,
        equivariant=geometry.equivariant,
        threads=threads or torch.get_num_threads(),
        isa=instruction_set(),
    )
    return as_record(fields)


def scan_groups(
    pixels: UInt8[Tensor, "n c h w"],
    groups: Int[Tensor, "g m"],
    y: Float[Tensor, "b c h w"],
    sigma: float,
    geometry: PatchGeometry,
) -> PosteriorRecord:
    """The scan of each group of images apart; fields are [g, b, h, w]. See `scan`.

    Args:
        groups: image numbers; groups of 16 fill a register.
    """
    check_images(groups, len(pixels))
    scan_group = partial(scan, y=y, sigma=sigma, geometry=geometry, threads=1)
    return PosteriorRecord.stacked(in_threads(lambda group: scan_group(pixels[group]), groups))


def as_array(tensor: Tensor, dtype: type[np.generic]) -> NDArray[Any]:
    """The tensor as an aligned C-contiguous array, copied only where it must be."""
    return np.require(tensor.detach().cpu().numpy(), dtype, ["C", "A"])


def as_record(fields: dict[str, NDArray[Any]]) -> PosteriorRecord:
    """A kernel's sums as a record."""
    return PosteriorRecord.exact(**{name: torch.from_numpy(f) for name, f in fields.items()})


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
    threads: int | None = None,
) -> PosteriorRecord:
    """Sum the given patches for each query window, without storing distances; fields are [q].

    Args:
        windows: query windows in [-1, 1] data units; all of one signature.
        ids: legal patches of that signature, a row per query or one list for all; -1 for none.
        sigma: noise in data units.
        threads: torch's number of threads if None.
    """
    fields = _native.rescore_record(
        as_array(pixels, np.uint8),
        as_array(windows, np.float32),
        as_array(ids, np.int64),
        float(sigma),
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
    members: Bool[ndarray, " n"] | None,
    patches_per_image: int,
) -> Int[ndarray, "q k"]:
    """Ids of the k nearest codes in each query's lists, nearest first; -1 where there are fewer.

    Every list is read once for all queries.

    Args:
        lists: nearest first; -1 for none.
        members: images whose patches may be found; None for all.
    """
    ids = inverted.ids
    return _native.search_lists(
        inverted.codes,
        native_array(ids, np.uint32 if ids.dtype == np.uint32 else np.int64),
        native_array(inverted.offsets, np.int64),
        native_array(inverted.code_min, np.float32),
        native_array(inverted.code_span, np.float32),
        native_array(vectors, np.float32),
        native_array(lists, np.int64),
        k,
        members=members,
        patches_per_image=patches_per_image,
        threads=torch.get_num_threads(),
        isa=instruction_set(),
    )


def native_array(array: ndarray, dtype: type[np.generic]) -> NDArray[Any]:
    """The array as the kernels read it; not copied if it is so already, as memory maps are.

    Raises:
        KernelInputError: it holds fractions, or no numbers, where whole numbers belong.
    """
    wanted = np.dtype(dtype)
    if array.dtype.kind not in ("iu" if wanted.kind in "iu" else "iuf"):
        raise KernelInputError(f"an array is {array.dtype}. Give {wanted}, or what becomes it.")
    return np.require(array, wanted, ["C", "A"])


def nearest_rows(
    rows: Float[Tensor, "n r"], vectors: Float[Tensor, "q r"], count: int
) -> Int[Tensor, "q count"]:
    """Positions of the rows nearest to each vector, nearest first; `count` of at most n."""
    positions = _native.nearest_rows(
        as_array(rows, np.float32),
        as_array(vectors, np.float32),
        count,
        threads=torch.get_num_threads(),
        isa=instruction_set(),
    )
    return torch.from_numpy(positions)


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
    ids = _native.moved_union(
        as_array(found.sort(dim=-1).values, np.int64),
        as_array(borrowers, np.int64),
        row_lenders=as_array(rows.lenders, np.int64),
        row_steps=as_array(rows.steps, np.int64),
        col_lenders=as_array(cols.lenders, np.int64),
        col_steps=as_array(cols.steps, np.int64),
        row_centers=(rows.centers.start, rows.centers.stop),
        col_centers=(cols.centers.start, cols.centers.stop),
        height=height,
        width=width,
        threads=torch.get_num_threads(),
    )
    return torch.from_numpy(ids)
