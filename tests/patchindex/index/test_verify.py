import shutil

import numpy as np
import pytest
from small_index import build_small, reseal

from patchindex.errors import StoreError
from patchindex.index.patch_index import PatchIndex
from patchindex.index.store import chunk_path, crc32c


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build_small(tmp_path_factory.mktemp("built") / "small.zarr")


@pytest.fixture
def path(built, tmp_path):
    """A copy to damage."""
    return shutil.copytree(built.path, tmp_path / "copy.zarr")


def flip_bit(path, place=1000):
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1]))


def change(path, name, values):
    """Overwrite an array and make its checksum right again: damage that only counting can find."""
    entry_path = chunk_path(path / name, values.ndim)
    entry_path.write_bytes(values.tobytes())

    def forge(attributes):
        attributes["arrays"][name]["crc32c"] = crc32c(entry_path)

    reseal(path, forge)


def test_a_whole_index_passes_and_tells_how_far_it_is(built):
    steps = []
    built.verify(lambda stage, done, total: steps.append((stage, done, total)))
    assert {stage for stage, *_ in steps} == {
        "verify checksums", "verify scale 3", "verify scale 7",
    }  # fmt: skip
    assert all(done <= total for _, done, total in steps)


@pytest.mark.parametrize("boundary", ["circular", "circular_interior"])
def test_other_boundaries_pass_too(tmp_path, boundary):
    build_small(tmp_path / "other.zarr", boundary=boundary).verify()


@pytest.mark.parametrize(
    "name", ["scales/7/shards/0/codes", "scales/3/shards/1/ids", "images", "scales/7/pca"]
)
def test_a_flipped_bit_is_found_and_its_array_named(path, built, name):
    flip_bit(chunk_path(path / name, len(built.manifest["arrays"][name]["shape"])))
    told = rf"the checksum differs in {name}. Build|{name} of .* is damaged: its checksum"
    with pytest.raises(StoreError, match=told):
        PatchIndex.open(path).verify()


def test_a_flipped_bit_in_the_metadata_of_an_array_is_found(path):
    flip_bit(path / "scales/7/shards/0/codes/zarr.json", 30)
    with pytest.raises(
        StoreError, match=r"the checksum differs in scales/7/shards/0/codes/zarr.json"
    ):
        PatchIndex.open(path).verify()


@pytest.mark.parametrize("name", ["scales", "scales/7", "scales/7/shards", "scales/7/shards/1"])
@pytest.mark.parametrize("content", [b"", b"[]", b'{"zarr_format": 3, "node_type": "grouP"}'])
def test_damaged_metadata_of_a_group_is_found(path, name, content):
    (path / name / "zarr.json").write_bytes(content)
    with pytest.raises(StoreError, match=rf"the checksum differs in {name}/zarr.json. Build"):
        PatchIndex.open(path).verify()


def test_every_damaged_array_is_named(path):
    flip_bit(chunk_path(path / "images", 4))
    flip_bit(chunk_path(path / "scales/3/shards/2/codes", 2))
    with pytest.raises(StoreError, match=r"differs in images, scales/3/shards/2/codes"):
        PatchIndex.open(path).verify()


SECOND = "scales/3/shards/1/ids"


def test_ids_out_of_order_are_found(path, built):
    shard = built.arrays(3).shards[1]
    ids, first = np.array(shard.ids), int(shard.offsets[np.argmax(np.diff(shard.offsets))])
    ids[[first, first + 1]] = ids[[first + 1, first]]
    change(path, SECOND, ids)
    with pytest.raises(StoreError, match=r"scale 3: ids do not ascend in every list"):
        PatchIndex.open(path).verify()


def test_a_patch_in_two_lists_is_found(path, built):
    shard = built.arrays(3).shards[1]
    ids, lists = np.array(shard.ids), np.flatnonzero(np.diff(shard.offsets))
    interior = [number for number in lists if number in built.arrays(3).lists_of(4)][:2]
    ends = [shard.offsets[number + 1] - 1 for number in interior]
    ids[ends] = max(ids[ends])
    change(path, SECOND, ids)
    with pytest.raises(StoreError, match=r"scale 3: ids does not hold each patch exactly once"):
        PatchIndex.open(path).verify()


def test_a_patch_in_a_list_of_another_signature_is_found(path, built):
    ids = np.array(built.arrays(3).shards[1].ids)
    last = built.arrays(3).shards[1].offsets[1] - 1
    ids[[last, -1]] = ids[[-1, last]]  # the last patch of two corners
    change(path, SECOND, ids)
    with pytest.raises(StoreError, match=r"ids has patches in lists of another border signature"):
        PatchIndex.open(path).verify()


def test_a_patch_of_no_image_is_found(path, built):
    ids = np.array(built.arrays(3).shards[1].ids)
    ids[-1] = 40 * 16 * 16
    change(path, SECOND, ids)
    with pytest.raises(StoreError, match=r"ids has patches of images that are not there"):
        PatchIndex.open(path).verify()


def test_offsets_that_leave_patches_out_are_found(path, built):
    offsets = np.array(built.arrays(7).shards[0].offsets)
    offsets[-1] -= 1
    change(path, "scales/7/shards/0/offsets", offsets)
    with pytest.raises(StoreError, match=r"scales/7/shards/0/offsets do not cover ids"):
        PatchIndex.open(path)
