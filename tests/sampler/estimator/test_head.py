"""Ids propagated to neighbors are legal, moved by the right step, and never counted twice."""

import torch

from patchindex import PatchGeometry
from sampler.estimator.head import with_neighbors

GEOMETRY = PatchGeometry(height=10, width=12, patch_size=3)
INTERIOR = max(GEOMETRY.signatures, key=lambda signature: signature.num_centers)
# legal centers of the interior are rows 1 to 8 and columns 1 to 10; so are its pixels
FIELD = (1, 8, 10)


def patch_id(image: int, row: int, col: int) -> int:
    return (image * GEOMETRY.height + row) * GEOMETRY.width + col


def propagated(found: dict[tuple[int, int], list[int]], wanted: torch.Tensor | None = None):
    """Candidates of every wanted place (row, column of the field), given those that were found."""
    wanted = torch.ones(FIELD, dtype=torch.bool) if wanted is None else wanted
    k = max(map(len, found.values()))
    field = torch.full((*FIELD, k), -1)
    for (row, col), ids in found.items():
        field[0, row, col, : len(ids)] = torch.tensor(ids)
    ids = with_neighbors(field[wanted], wanted, INTERIOR, GEOMETRY)
    places = wanted.nonzero()[:, 1:].tolist()
    return {
        tuple(place): row[row >= 0].tolist()
        for place, row in zip(places, ids, strict=True)
        if (row >= 0).any()
    }


def test_a_pixel_propagates_to_those_above_and_left_of_it_moved_by_their_step() -> None:
    assert propagated({(3, 5): [patch_id(7, 4, 6)]}) == {
        (row, col): [patch_id(7, 4 + row - 3, 6 + col - 5)] for row in (2, 3) for col in (4, 5)
    }


def test_the_last_row_and_column_take_from_those_before_them() -> None:
    assert propagated({(6, 8): [patch_id(2, 5, 5)]})[7, 9] == [patch_id(2, 6, 6)]


def test_a_step_over_the_border_of_the_legal_centers_propagates_nothing() -> None:
    candidates = propagated({(3, 5): [patch_id(0, 1, 5), patch_id(3, 4, 1)]})
    assert candidates[2, 5] == [patch_id(3, 3, 1)]  # one up: row 0 is none
    assert candidates[3, 4] == [patch_id(0, 1, 4)]  # one left: column 0 is none
    assert (2, 4) not in candidates


def test_what_several_found_is_a_candidate_once() -> None:
    candidates = propagated(
        {
            (3, 5): [patch_id(5, 4, 4), patch_id(1, 2, 3)],
            (3, 6): [patch_id(5, 4, 5)],
            (4, 5): [patch_id(5, 5, 4), patch_id(9, 8, 8)],
        }
    )
    assert candidates[3, 5] == [patch_id(1, 2, 3), patch_id(5, 4, 4), patch_id(9, 7, 8)]


def test_only_wanted_pixels_give_and_take() -> None:
    wanted = torch.zeros(FIELD, dtype=torch.bool)
    wanted[0, 3, 4] = wanted[0, 3, 5] = True
    found = {(row, col): [patch_id(row, 4, col + 1)] for row in (3, 4) for col in (4, 5)}
    assert propagated(found, wanted) == {
        (3, 4): [patch_id(3, 4, 5)],
        (3, 5): [patch_id(3, 4, 6)],
    }
