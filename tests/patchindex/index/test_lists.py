import numpy as np
import pytest

from patchindex import PatchGeometry
from patchindex.index.config import IndexConfig
from patchindex.index.lists import (
    center_rectangle,
    num_lists,
    num_patches,
    signature_lists,
    signature_map,
)

CONFIG = IndexConfig(lists_per_sqrt=0.5, single_list_patches=65_536)


@pytest.mark.parametrize(
    ("patches", "lists"),
    [(1, 1), (65_536, 1), (65_537, 128), (34_560_000, 2939), (10**9, 4096)],
)
def test_lists_grow_with_the_square_root_of_the_patches(patches, lists):
    assert num_lists(patches, CONFIG) == lists


def test_lists_per_sqrt_and_max_lists_tune_the_number():
    config = IndexConfig(lists_per_sqrt=2.0, max_lists=100, single_list_patches=0)
    assert [num_lists(n, config) for n in (1, 100, 10_000)] == [2, 20, 100]


def test_lists_are_numbered_signature_by_signature():
    geometry = PatchGeometry(height=32, width=32, patch_size=3)
    offsets = signature_lists(geometry, 60_000, CONFIG)
    interior = num_lists(60_000 * 30 * 30, CONFIG)
    edge = num_lists(60_000 * 30, CONFIG)
    assert np.diff(offsets).tolist() == [1, edge, 1, edge, interior, edge, 1, edge, 1]
    assert offsets[0] == 0


@pytest.mark.parametrize(
    ("boundary", "patch_size", "legal"),
    [
        ("zeros", 5, 8 * 9),
        ("zeros", 15, 8 * 9),
        ("circular", 5, 8 * 9),
        ("circular_interior", 5, 20),
    ],
)
def test_signatures_tile_the_legal_centers(boundary, patch_size, legal):
    geometry = PatchGeometry(height=8, width=9, patch_size=patch_size, boundary=boundary)
    rows, cols = center_rectangle(geometry)
    where = signature_map(geometry)
    assert num_patches(geometry, 3) == 3 * legal
    assert (where >= 0).sum() == legal == len(rows) * len(cols)
    assert (where[rows.start : rows.stop, cols.start : cols.stop] >= 0).all()
    counts = np.bincount(where[where >= 0], minlength=len(geometry.signatures))
    assert counts.tolist() == [signature.num_centers for signature in geometry.signatures]
