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
    "name", ["scales/7/codes", "scales/3/ids", "images", "scales/7/mean_patch"]
)
def test_a_flipped_bit_is_found_and_its_array_named(path, built, name):
    flip_bit(chunk_path(path / name, len(built.manifest["arrays"][name]["shape"])))
    index = PatchIndex.open(path)
    with pytest.raises(StoreError, match=rf"the checksum differs in {name}. Build it again"):
        index.verify()


def test_a_flipped_bit_in_the_metadata_of_an_array_is_found(path):
    flip_bit(path / "scales/7/codes/zarr.json", 30)
    with pytest.raises(StoreError, match=r"the checksum differs in scales/7/codes/zarr.json"):
        PatchIndex.open(path).verify()


@pytest.mark.parametrize("name", ["scales", "scales/7"])
@pytest.mark.parametrize("content", [b"", b"[]", b'{"zarr_format": 3, "node_type": "grouP"}'])
def test_damaged_metadata_of_a_group_is_found(path, name, content):
    (path / name / "zarr.json").write_bytes(content)
    with pytest.raises(StoreError, match=rf"the checksum differs in {name}/zarr.json. Build"):
        PatchIndex.open(path).verify()


def test_every_damaged_array_is_named(path):
    flip_bit(chunk_path(path / "images", 4))
    flip_bit(chunk_path(path / "scales/3/codes", 2))
    with pytest.raises(StoreError, match=r"differs in images, scales/3/codes"):
        PatchIndex.open(path).verify()


def test_ids_out_of_order_are_found(path, built):
    ids = np.array(built.arrays(3).ids)
    first = int(built.arrays(3).offsets[np.argmax(built.arrays(3).count)])
    ids[[first, first + 1]] = ids[[first + 1, first]]
    change(path, "scales/3/ids", ids)
    with pytest.raises(StoreError, match=r"scale 3: ids do not ascend in every list"):
        PatchIndex.open(path).verify()


def test_a_patch_in_two_lists_is_found(path, built):
    arrays = built.arrays(3)
    ids = np.array(arrays.ids)
    lists = np.flatnonzero(arrays.count)
    interior = [number for number in lists if number in arrays.lists_of(4)][:2]
    ends = [arrays.offsets[number + 1] - 1 for number in interior]
    ids[ends] = max(ids[ends])
    change(path, "scales/3/ids", ids)
    with pytest.raises(StoreError, match=r"scale 3: ids does not hold each patch exactly once"):
        PatchIndex.open(path).verify()


def test_a_patch_in_a_list_of_another_signature_is_found(path, built):
    ids = np.array(built.arrays(3).ids)
    ids[[39, -1]] = ids[[-1, 39]]  # the last patch of two corners
    change(path, "scales/3/ids", ids)
    with pytest.raises(StoreError, match=r"ids has patches in lists of another border signature"):
        PatchIndex.open(path).verify()


def test_a_patch_of_no_image_is_found(path, built):
    ids = np.array(built.arrays(3).ids)
    ids[-1] = 40 * 16 * 16
    change(path, "scales/3/ids", ids)
    with pytest.raises(StoreError, match=r"ids has patches of images that are not there"):
        PatchIndex.open(path).verify()


def test_wrong_counts_are_found(path, built):
    count = np.array(built.arrays(7).count)
    count[0] += 1
    change(path, "scales/7/count", count)
    with pytest.raises(StoreError, match=r"scale 7: count does not match offsets"):
        PatchIndex.open(path)


def test_offsets_that_leave_patches_out_are_found(path, built):
    offsets = np.array(built.arrays(7).offsets)
    offsets[-1] -= 1
    change(path, "scales/7/offsets", offsets)
    with pytest.raises(StoreError, match=r"scale 7: offsets do not cover ids"):
        PatchIndex.open(path)
