"""Opening an index: everything that can be wrong with it is told in one line."""

import dataclasses
import json
import shutil
from contextlib import suppress

import numpy as np
import pytest
import zarr
from small_index import build_small, reseal, small_images

from patchindex.errors import StoreError
from patchindex.index.patch_index import PatchIndex
from patchindex.index.store import chunk_path, crc32c, create_array, preallocate


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build_small(tmp_path_factory.mktemp("built") / "small.zarr")


@pytest.fixture
def path(built, tmp_path):
    """A copy to damage."""
    return shutil.copytree(built.path, tmp_path / "copy.zarr")


def test_the_file_of_a_chunk_is_the_array(tmp_path):
    group = zarr.create_group(tmp_path / "g.zarr").create_group("scales")
    written = create_array(group, "ids", (5, 3), np.uint32)
    written[...] = np.arange(15).reshape(5, 3)
    path = chunk_path(tmp_path / "g.zarr/scales/ids", 2)
    assert path.read_bytes() == np.arange(15, dtype="<u4").tobytes()
    assert np.array_equal(zarr.open_array(path.parents[2])[:], written)


def test_space_is_reserved_before_it_is_mapped(tmp_path):
    preallocate(tmp_path / "file", 5_000_000)
    status = (tmp_path / "file").stat()
    assert status.st_size == 5_000_000 <= status.st_blocks * 512


def test_space_is_reserved_where_the_disk_cannot_do_it_by_itself(tmp_path, monkeypatch):
    monkeypatch.delattr("os.posix_fallocate")
    preallocate(tmp_path / "file", 20_000_001)
    assert (tmp_path / "file").stat().st_size == 20_000_001


def test_checksums_are_crc_32c(tmp_path):
    (tmp_path / "file").write_bytes(b"123456789")  # the check value of the CRC catalogues
    assert crc32c(tmp_path / "file") == "e3069283"


def test_zarr_alone_reads_every_array(built):
    root = zarr.open_group(built.path, mode="r")
    for name in built.manifest["arrays"]:
        stored = root[name][:]
        assert stored.tobytes() == chunk_path(built.path / name, stored.ndim).read_bytes()
    for patch_size in built.scales:
        arrays, group = built.arrays(patch_size), root[f"scales/{patch_size}"]
        for name in group.array_keys():
            assert np.array_equal(group[name][:], getattr(arrays, name))
        for number, shard in enumerate(arrays.shards):
            for name in ("ids", "codes", "offsets"):
                assert np.array_equal(group[f"shards/{number}/{name}"][:], getattr(shard, name))
    assert np.array_equal(root["images"][:], built.images.pixels)
    assert np.array_equal(root["labels"][:], built.images.labels)


def test_names_of_files_come_back_byte_for_byte(tmp_path):
    names = [*(f"a/{i}.png" for i in range(38)), "ümlaut \n\udcff.png", ""]
    images = dataclasses.replace(small_images(), names=tuple(names))
    index = build_small(tmp_path / "named.zarr", images, scales=(3,))
    assert list(index.images.names) == names
    assert index.images.with_label(int(images.labels[39])).names[-1] == ""
    assert "names     of every image file" in list(index.info().lines())
    renamed = dataclasses.replace(images, names=("b", *names[1:]))
    with pytest.raises(StoreError, match="was built from other images"):
        build_small(tmp_path / "named.zarr", renamed, scales=(3,))


def test_an_open_index_cannot_be_written_to(path):
    with pytest.raises(ValueError, match="read-only"):
        PatchIndex.open(path).images.pixels[...] = 1
    PatchIndex.open(path).verify()


def test_an_absent_index_is_named(tmp_path):
    with pytest.raises(StoreError, match=r"there is no index at .*nowhere.zarr. Build one"):
        PatchIndex.open(tmp_path / "nowhere.zarr")


def test_a_folder_that_is_no_index_is_refused(tmp_path):
    with pytest.raises(StoreError, match=r"is not an index. Give a folder that"):
        PatchIndex.open(tmp_path)


def test_another_zarr_group_is_refused(tmp_path):
    zarr.create_group(tmp_path / "other.zarr")
    with pytest.raises(StoreError, match=r"is a Zarr group, but not an index"):
        PatchIndex.open(tmp_path / "other.zarr")


def test_an_index_that_is_not_complete_is_refused(path):
    reseal(path, lambda attributes: attributes.update(status="building"))
    with pytest.raises(StoreError, match=r"not complete: its status is 'building'. Run the"):
        PatchIndex.open(path)


def test_another_schema_version_is_refused(path):
    reseal(path, lambda attributes: attributes.update(schema_version=99))
    with pytest.raises(StoreError, match=r"has schema version 99, but this program reads 2. Build"):
        PatchIndex.open(path)


def test_a_missing_chunk_is_named(path):
    chunk_path(path / "scales/7/shards/0/codes", 2).unlink()
    with pytest.raises(
        StoreError, match=r"lacks the data of scales/7/shards/0/codes: .* is missing. Build"
    ):
        PatchIndex.open(path)


def test_a_truncated_chunk_is_named(path):
    with chunk_path(path / "scales/3/shards/1/ids", 1).open("r+b") as file:
        file.truncate(100)
    with pytest.raises(
        StoreError, match=r"scales/3/shards/1/ids of .* has 100 bytes, but \d+ were written"
    ):
        PatchIndex.open(path)


def test_a_changed_digit_in_the_manifest_is_noticed(path):
    text = (path / "zarr.json").read_text()
    (path / "zarr.json").write_text(text.replace('"most_dims": 64', '"most_dims": 63'))
    with pytest.raises(StoreError, match=r"zarr.json is damaged: its own checksum differs. Build"):
        PatchIndex.open(path)


def test_any_flipped_byte_of_the_manifest_is_refused_or_changes_nothing(path, built, rng):
    metadata = path / "zarr.json"
    whole = metadata.read_bytes()
    for place in rng.integers(0, len(whole), 200):
        torn = bytearray(whole)
        torn[place] ^= 1 << int(rng.integers(8))
        metadata.write_bytes(torn)
        with suppress(StoreError):
            assert PatchIndex.open(path).manifest == built.manifest


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"attributes": 3}', b"\xff\xfe"])
def test_metadata_that_is_no_json_is_refused(path, content):
    (path / "zarr.json").write_bytes(content)
    with pytest.raises(StoreError, match=r"zarr.json is damaged"):
        PatchIndex.open(path)


def test_a_group_of_another_zarr_version_is_refused(path):
    group = json.loads((path / "zarr.json").read_text())
    (path / "zarr.json").write_text(json.dumps(group | {"zarr_format": 2}))
    with pytest.raises(StoreError, match=r"damaged: it is not a Zarr v3 group"):
        PatchIndex.open(path)


def test_attributes_that_are_no_table_are_damage(path):
    group = json.loads((path / "zarr.json").read_text())
    (path / "zarr.json").write_text(json.dumps(group | {"attributes": ["format", "patchindex"]}))
    with pytest.raises(StoreError, match=r"zarr\.json is damaged: its attributes are no table"):
        PatchIndex.open(path)
