"""Damaged lists and images: no search finds anything in them, whatever searches them."""

import shutil

import numpy as np
import pytest
import torch
from small_index import build_small, reseal, small_images

from patchindex.device import Device
from patchindex.errors import StoreError
from patchindex.index.patch_index import PatchIndex
from patchindex.index.scale import list_checksums
from patchindex.index.store import chunk_path, crc32c
from patchindex.kernels.backend import BACKEND, has_triton

KINDS = ["faiss"] if BACKEND == "torch" else ["triton", "faiss"]
CENTER, EVERY = 4, 10**6  # the signature of the image's middle


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    path = tmp_path_factory.mktemp("built") / "small.zarr"
    return build_small(path, small_images(12), scales=(3,), shard_patches=1024, block_patches=1024)


@pytest.fixture
def path(built, tmp_path):
    """A copy to damage."""
    return shutil.copytree(built.path, tmp_path / "copy.zarr")


def flip_bit(path, place):
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1]))


def spoil(path, index, name, number):
    """Flip a bit within a list of the second shard."""
    shard = index.arrays(3).shards[1]
    rows = getattr(shard, name)
    flip_bit(chunk_path(path / "scales/3/shards/1" / name, rows.ndim),
             int(shard.offsets[number]) * rows[:1].nbytes)  # fmt: skip


def search(path, kind, nprobe=EVERY):
    index = PatchIndex.open(path, list_search=kind)
    return index.search(3, CENTER, torch.zeros(2, 9), 9, nprobe=nprobe)


def visited(index, nprobe):
    """The lists that the search goes to, nearest first."""
    arrays = index.arrays(3)
    return arrays.rank_lists(arrays.project(np.zeros((1, 9), np.float32)), CENTER, nprobe)[0]


def test_checksums_of_lists_are_those_of_their_rows(built):
    shard = built.arrays(3).shards[0]
    sums = list_checksums(shard.codes, shard.offsets)
    (built.path / "list").write_bytes(shard.codes[shard.offsets[7] : shard.offsets[8]].tobytes())
    assert f"{sums[7]:08x}" == crc32c(built.path / "list")
    (built.path / "list").unlink()


@pytest.mark.parametrize("name", ["codes", "ids"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_list_is_named_when_it_is_visited(path, built, kind, name):
    near, far = visited(built, EVERY)[[0, -1]]
    spoil(path, built, name, far)
    assert torch.equal(search(path, kind, nprobe=1), search(built.path, kind, nprobe=1))
    told = rf"list {far} of {name} of scales/3/shards/1 of .*copy.zarr is damaged: its checksum"
    with pytest.raises(StoreError, match=told):
        search(path, kind)
    spoil(path, built, name, near)
    with pytest.raises(StoreError, match=rf"list {near} of {name} of scales/3/shards/1"):
        search(path, kind, nprobe=1)


@pytest.mark.skipif(not has_triton(), reason="no Triton")
@pytest.mark.parametrize("budget", [0, 2**30])
def test_a_damaged_list_never_gets_onto_a_device(path, built, budget):
    from patchindex.index.list_search.triton import groups_on_device  # noqa: PLC0415 - needs Triton

    number = visited(built, EVERY)[-1]
    spoil(path, built, "codes", number)
    lists = torch.from_numpy(visited(built, EVERY)[None].copy())
    with pytest.raises(StoreError, match=rf"list {number} of codes of scales/3/shards/1"):
        list(groups_on_device(PatchIndex.open(path).arrays(3), lists, Device(memory=budget)))


@pytest.mark.parametrize("kind", KINDS)
def test_ids_of_images_that_are_not_there_are_never_found(path, built, kind):
    shard = built.arrays(3).shards[1]
    ids = shard.ids.copy()
    ids[-1] = 4 * 16 * 16
    sums = list_checksums(ids, shard.offsets)
    names = [f"scales/3/shards/1/{name}" for name in ("ids", "ids_crc32c")]
    for name, values in zip(names, (ids, sums), strict=True):
        chunk_path(path / name, 1).write_bytes(values.tobytes())

    def forge(attributes):
        for name in names:
            attributes["arrays"][name]["crc32c"] = crc32c(chunk_path(path / name, 1))

    reseal(path, forge)
    index = PatchIndex.open(path, list_search=kind)
    with pytest.raises(
        StoreError, match=r"ids of scales/3/shards/1 .* has patches of images that are not"
    ):
        index.search(3, len(index.geometry(3).signatures) - 1, torch.zeros(1, 9), 5)


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_images_are_noticed_at_their_first_use(path, kind):
    flip_bit(chunk_path(path / "images", 4), 700)
    index = PatchIndex.open(path, list_search=kind)
    assert index.info().images == (12, 1, 16, 16)
    for use in (lambda: index.images, lambda: index.search(3, 0, torch.zeros(1, 9), 1)):
        with pytest.raises(StoreError, match=r"images of .*copy.zarr is damaged: its checksum"):
            use()


@pytest.mark.parametrize(
    "name",
    ["labels", "scales/3/shards/1/offsets", "scales/3/pca", "scales/3/shards/0/codes_crc32c"],
)
def test_damaged_small_arrays_are_noticed_at_once(path, built, name):
    flip_bit(chunk_path(path / name, len(built.manifest["arrays"][name]["shape"])), 9)
    with pytest.raises(StoreError, match=rf"{name} of .*copy.zarr is damaged: its checksum"):
        PatchIndex.open(path)


def test_checksums_of_lists_that_are_those_of_others_are_found_by_verify(path):
    chunk = chunk_path(path / "scales/3/shards/0/codes_crc32c", 1)
    flip_bit(chunk, 5)
    reseal(
        path, lambda a: a["arrays"]["scales/3/shards/0/codes_crc32c"].update(crc32c=crc32c(chunk))
    )
    with pytest.raises(StoreError, match=r"list 1 of codes of scales/3/shards/0 of .* is damaged"):
        PatchIndex.open(path).verify()
