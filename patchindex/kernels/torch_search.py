"""Ranking inverted lists, and candidates lent from pixel to pixel, in torch."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchindex.kernels.bounds import check_loans, check_nearest
from patchindex.kernels.loans import LoanAxis


def nearest_rows(
    rows: Float[Tensor, "n r"], vectors: Float[Tensor, "q r"], count: int
) -> Int[Tensor, "q count"]:
    """Positions of the rows nearest to each vector, nearest first; `count` of at most n."""
    check_nearest(rows, vectors, count)
    # float64, so that no batch size or number of threads can tip a near tie
    wide = rows.double()
    dist_sq = wide.square().sum(1) - 2 * vectors.double() @ wide.T
    return dist_sq.topk(count, dim=1, largest=False).indices


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
    check_loans(found, borrowers, rows, cols)
    state, row, col = borrowers.unbind(1)
    parts = []
    for i in range(2):
        for j in range(2):
            ids = found[state, rows.lenders[row, i], cols.lenders[col, j]]
            row_step, col_step = rows.steps[row, i, None], cols.steps[col, j, None]
            y, x = ids // width % height + row_step, ids % width + col_step
            legal = (y >= rows.centers.start) & (y < rows.centers.stop)
            legal &= (x >= cols.centers.start) & (x < cols.centers.stop)
            parts.append((ids + row_step * width + col_step).where((ids >= 0) & legal, -1))
    return each_once(torch.cat(parts, dim=1))


def each_once(ids: Int[Tensor, "q m"]) -> Int[Tensor, "q distinct"]:
    """Each id of a row once, ascending; filled up with -1, to the longest row."""
    last = torch.iinfo(torch.int64).max
    ordered = ids.where(ids >= 0, last).sort(dim=1).values
    repeats = torch.zeros_like(ordered, dtype=torch.bool)
    repeats[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    ordered = ordered.masked_fill(repeats, last).sort(dim=1).values
    longest = int((ordered < last).sum(1).max()) if len(ids) else 0
    distinct = ordered[:, :longest]
    return distinct.where(distinct < last, -1)
