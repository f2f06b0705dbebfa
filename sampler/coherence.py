"""Candidates from searched neighbors: windows that overlap have nearest patches that overlap.

Of the pixels with one border signature only those of a grid are searched. What was found for a
searched pixel, moved by the same step as the pixel, is a candidate for the pixels around it; its
weight comes from its exact distance like any other's, so a poor candidate costs time and no bias.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from patchindex import BorderSignature, PatchGeometry
from patchindex.kernels import LoanAxis, moved_union


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AnchorGrid:
    """The searched pixels of one signature, and who borrows from them.

    Attributes:
        row_places, col_places: positions along the signature's pixels; ascending, the first and
            the last among them.
    """

    row_places: Int[Tensor, " ar"]
    col_places: Int[Tensor, " ac"]
    rows: LoanAxis
    cols: LoanAxis


def anchor_grid(signature: BorderSignature, stride: int) -> AnchorGrid:
    """Every `stride`-th pixel along both axes, and the last."""
    axes = (signature.rows, signature.cols)
    places = [
        torch.unique(torch.tensor([*range(0, len(axis.pixels), stride), len(axis.pixels) - 1]))
        for axis in axes
    ]
    rows, cols = (
        LoanAxis.between(searched, len(axis.pixels), axis.centers)
        for searched, axis in zip(places, axes, strict=True)
    )
    return AnchorGrid(row_places=places[0], col_places=places[1], rows=rows, cols=cols)


def needed_anchors(
    needed: Bool[Tensor, "b rows cols"], grid: AnchorGrid
) -> Bool[Tensor, "b ar ac"]:
    """The anchors that some needed pixel borrows from."""
    image, row, col = needed.nonzero(as_tuple=True)
    result = torch.zeros(
        len(needed), len(grid.row_places), len(grid.col_places), dtype=torch.bool
    )
    for row_lenders in grid.rows.lenders[row].unbind(1):
        for col_lenders in grid.cols.lenders[col].unbind(1):
            result[image, row_lenders, col_lenders] = True
    return result


def candidates_around(
    found: Int[Tensor, "b ar ac k"],
    wanted: Bool[Tensor, "b rows cols"],
    grid: AnchorGrid,
    geometry: PatchGeometry,
) -> Int[Tensor, "q m"]:
    """Ids from the up to four anchors around each wanted pixel; each once, -1 behind the last."""
    return moved_union(
        found,
        wanted.nonzero(),
        grid.rows,
        grid.cols,
        height=geometry.height,
        width=geometry.width,
    )
