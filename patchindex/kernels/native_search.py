"""Searching inverted lists in C++, and lending what was found to neighboring pixels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Integer, UInt8
from numpy import ndarray
from numpy.typing import NDArray
from torch import Tensor

from patchindex.errors import KernelInputError
from patchindex.kernels import _native
from patchindex.kernels.loans import LoanAxis
from patchindex.kernels.native_backend import as_array, instruction_set


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
