"""What neighbors lend each other is legal, moved by the right step, and never counted twice."""

import torch

from patchindex import PatchGeometry
from sampler.coherence import anchor_grid, candidates_around, needed_anchors

GEOMETRY = PatchGeometry(height=10, width=12, patch_size=3)
INTERIOR = max(GEOMETRY.signatures, key=lambda signature: signature.num_centers)


def patch_id(image: int, row: int, col: int) -> int:
    return (image * GEOMETRY.height + row) * GEOMETRY.width + col


def lent(found: torch.Tensor, stride: int) -> torch.Tensor:
    """Candidates [b, rows, cols, m] of every pixel."""
    shape = (len(found), len(INTERIOR.rows.pixels), len(INTERIOR.cols.pixels))
    everything = torch.ones(shape, dtype=torch.bool)
    ids = candidates_around(found, everything, anchor_grid(INTERIOR, stride), GEOMETRY)
    return ids.reshape(*shape, -1)


def test_the_grid_holds_the_first_and_the_last_pixel_of_both_axes() -> None:
    anchors = anchor_grid(INTERIOR, 3)
    assert anchors.row_places.tolist() == [0, 3, 6, 7]
    assert anchors.col_places.tolist() == [0, 3, 6, 9]


def test_a_pixel_takes_what_its_anchors_found_moved_by_its_own_step() -> None:
    anchors = anchor_grid(INTERIOR, 2)
    found = torch.full((1, len(anchors.row_places), len(anchors.col_places), 1), -1)
    # the anchor at position (2, 4), which is pixel (3, 5), found the patch at (4, 6) of image 7
    found[0, 1, 2, 0] = patch_id(7, 4, 6)
    ids = lent(found, 2)
    moved = {
        (row, col): ids[0, row, col].max().item()
        for row in range(ids.shape[1])
        for col in range(ids.shape[2])
        if ids[0, row, col].max() >= 0
    }
    assert moved == {
        (row, col): patch_id(7, 4 + row - 2, 6 + col - 4) for row in (1, 2, 3) for col in (3, 4, 5)
    }


def test_a_step_over_the_border_of_the_legal_centers_lends_nothing() -> None:
    anchors = anchor_grid(INTERIOR, 2)
    found = torch.full((1, len(anchors.row_places), len(anchors.col_places), 2), -1)
    # legal centers are rows 1 to 8 and columns 1 to 10
    found[0, 1, 2] = torch.tensor([patch_id(0, 8, 5), patch_id(3, 4, 10)])
    ids = lent(found, 2)
    assert set(ids[0, 3, 4].tolist()) == {-1, patch_id(3, 5, 10)}  # one down: row 9 is none
    assert set(ids[0, 2, 5].tolist()) == {-1, patch_id(0, 8, 6)}  # one right: column 11 is none


def test_searching_every_pixel_lends_nothing() -> None:
    shape = (2, len(INTERIOR.rows.pixels), len(INTERIOR.cols.pixels), 3)
    found = torch.randint(0, 400, shape, generator=torch.Generator().manual_seed(0))
    row, col = found // 12 % 10, found % 12
    found = found.where((row > 0) & (row < 9) & (col > 0) & (col < 11), -1)
    for own, ids in zip(found.flatten(0, 2), lent(found, 1).flatten(0, 2), strict=True):
        assert set(ids.tolist()) - {-1} == set(own.tolist()) - {-1}


def test_an_id_that_several_anchors_found_is_a_candidate_once() -> None:
    anchors = anchor_grid(INTERIOR, 2)
    found = torch.full((1, len(anchors.row_places), len(anchors.col_places), 2), -1)
    # anchors at columns 2 and 4 found the same patch as seen from the column between them
    found[0, 1, 1] = torch.tensor([patch_id(5, 4, 4), patch_id(5, 4, 7)])
    found[0, 1, 2] = torch.tensor([patch_id(5, 4, 6), patch_id(5, 6, 2)])
    ids = lent(found, 2)[0, 2, 3]
    assert ids[ids >= 0].tolist() == [patch_id(5, 4, 5), patch_id(5, 4, 8), patch_id(5, 6, 1)]


def test_only_anchors_around_needed_pixels_are_searched() -> None:
    anchors = anchor_grid(INTERIOR, 3)
    needed = torch.zeros(1, 8, 10, dtype=torch.bool)
    needed[0, 1, 3] = True  # between rows 0 and 3, on column 3
    assert needed_anchors(needed, anchors).nonzero().tolist() == [[0, 0, 1], [0, 1, 1]]
    assert not needed_anchors(torch.zeros_like(needed), anchors).any()
