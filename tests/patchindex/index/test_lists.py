import numpy as np
import pytest

from patchindex import PatchGeometry
from patchindex.index.config import IndexConfig
from patchindex.index.lists import (
    block_images,
    center_rectangle,
    num_lists,
    num_patches,
    shard_images,
    shard_ranges,
    signature_lists,
    signature_map,
)

CONFIG = IndexConfig(lists_per_sqrt=0.5, single_list_patches=65_536)


@pytest.mark.parametrize(
    ("patches", "lists"),
    [(1, 1), (65_536, 1), (65_537, 128), (34_560_000, 2939), (10**9, 15811)],
)
def test_lists_grow_with_the_square_root_of_the_patches(patches, lists):
    assert num_lists(patches, CONFIG) == lists


def test_lists_per_sqrt_tunes_the_number():
    config = IndexConfig(lists_per_sqrt=2.0, single_list_patches=0)
    assert [num_lists(n, config) for n in (1, 100, 10_000)] == [2, 20, 200]


def test_lists_are_numbered_signature_by_signature():
    geometry = PatchGeometry(height=32, width=32, patch_size=3)
    offsets = signature_lists(geometry, 60_000, CONFIG)
    interior = num_lists(60_000 * 30 * 30, CONFIG)
    edge = num_lists(60_000 * 30, CONFIG)
    assert np.diff(offsets).tolist() == [1, edge, 1, edge, interior, edge, 1, edge, 1]
    corners = IndexConfig(lists_per_sqrt=0.5, single_list_patches=100)
    assert signature_lists(geometry, 60_000, corners)[1] == 1, (
        "all of them are summed, not searched"
    )
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


def test_shards_are_whole_blocks_and_cover_all_images():
    geometry = PatchGeometry(height=8, width=8, patch_size=3)
    for images, shard, block in ((100, 1000, 200), (7, 64, 64), (5, 1, 1), (64, 10**9, 100)):
        config = IndexConfig(shard_patches=shard, block_patches=block)
        ranges = shard_ranges(geometry, images, config)
        assert [i for one in ranges for i in one] == list(range(images))
        assert all(one.start % block_images(geometry, config) == 0 for one in ranges)
        assert len({len(one) for one in ranges[:-1]}) <= 1
        assert len(ranges[0]) * 64 <= max(shard, 64)


def test_ids_of_a_shard_have_32_bits_even_where_an_image_has_one_patch():
    geometry = PatchGeometry(height=33, width=33, patch_size=33, boundary="circular_interior")
    config = IndexConfig(scales=(33,))
    assert num_patches(geometry, 1) == 1
    assert shard_images(geometry, config) * 33 * 33 <= 2**32 < 2 * 2**22 * 33 * 33
    assert shard_images(geometry, config) == 2**21
