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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Anchors:
    """The searched pixels of one signature, as positions along its rows and columns.

    Attributes:
        rows, cols: ascending; the first and the last position are searched always.
    """

    rows: Int[Tensor, " ar"]
    cols: Int[Tensor, " ac"]


def anchor_grid(signature: BorderSignature, stride: int) -> Anchors:
    """Every `stride`-th pixel along both axes, and the last."""
    rows, cols = (
        torch.unique(torch.tensor([*range(0, length, stride), length - 1]))
        for length in (len(signature.rows.pixels), len(signature.cols.pixels))
    )
    return Anchors(rows=rows, cols=cols)


def needed_anchors(
    needed: Bool[Tensor, "b rows cols"], anchors: Anchors
) -> Bool[Tensor, "b ar ac"]:
    """The anchors that some needed pixel takes candidates from."""
    result = needed[:, anchors.rows][:, :, anchors.cols].clone()
    for row_anchor in nearest_anchors(anchors.rows, needed.shape[1]):
        for col_anchor in nearest_anchors(anchors.cols, needed.shape[2]):
            image, row, col = needed.nonzero(as_tuple=True)
            result[image, row_anchor[row], col_anchor[col]] = True
    return result


def candidates_around(
    found: Int[Tensor, "b ar ac k"],
    anchors: Anchors,
    signature: BorderSignature,
    geometry: PatchGeometry,
) -> Int[Tensor, "b rows cols m"]:
    """Ids from the up to four anchors around each pixel; -1 for repeats and illegal places."""
    num_rows, num_cols = len(signature.rows.pixels), len(signature.cols.pixels)
    parts = [
        moved(
            found[:, row_anchor][:, :, col_anchor],
            torch.arange(num_rows) - anchors.rows[row_anchor],
            torch.arange(num_cols) - anchors.cols[col_anchor],
            signature,
            geometry,
        )
        for row_anchor in nearest_anchors(anchors.rows, num_rows)
        for col_anchor in nearest_anchors(anchors.cols, num_cols)
    ]
    return without_repeats(torch.cat(parts, dim=-1))


def nearest_anchors(positions: Int[Tensor, " a"], length: int) -> list[Int[Tensor, " length"]]:
    """The anchors before and behind each position; only one list if all are anchors."""
    behind = torch.searchsorted(positions, torch.arange(length))
    before = torch.searchsorted(positions, torch.arange(length), right=True) - 1
    return [before] if len(positions) == length else [before, behind]


def moved(
    ids: Int[Tensor, "b rows cols k"],
    row_step: Int[Tensor, " rows"],
    col_step: Int[Tensor, " cols"],
    signature: BorderSignature,
    geometry: PatchGeometry,
) -> Int[Tensor, "b rows cols k"]:
    """The patches one step beside these; -1 where there is none with this signature."""
    width, row_step, col_step = geometry.width, row_step[:, None, None], col_step[:, None]
    row = ids // width % geometry.height + row_step
    col = ids % width + col_step
    rows, cols = signature.rows.centers, signature.cols.centers
    legal = (row >= rows.start) & (row < rows.stop) & (col >= cols.start) & (col < cols.stop)
    return (ids + row_step * width + col_step).where((ids >= 0) & legal, -1)


def without_repeats(ids: Int[Tensor, "*q m"]) -> Int[Tensor, "*q m"]:
    """Each id once, ascending; -1 in place of the others."""
    ordered = ids.sort(dim=-1).values
    repeats = torch.zeros_like(ordered, dtype=torch.bool)
    repeats[..., 1:] = ordered[..., 1:] == ordered[..., :-1]
    return ordered.masked_fill(repeats, -1)
