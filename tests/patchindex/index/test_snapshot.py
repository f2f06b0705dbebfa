"""An open index is one index, whatever happens to its folder; it can be pickled and shown."""

import pickle
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from small_index import build_small, small_images

from patchindex import ImageSet
from patchindex.errors import StoreError
from patchindex.index import snapshot
from patchindex.index.job import WorkDir
from patchindex.index.patch_index import PatchIndex

ONE, OTHER = small_images(12), ImageSet.from_array(255 - small_images(12).pixels, name="other")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two indices of the same shape, built from different images."""
    folder = tmp_path_factory.mktemp("pair")
    for name, images in (("one", ONE), ("other", OTHER)):
        build_small(folder / name, images, scales=(3,))
    return folder


@pytest.fixture
def live(pair, tmp_path):
    """A copy of the first, at a place where the other comes to be."""
    return shutil.copytree(pair / "one", tmp_path / "live.zarr")


def replace(live, source):
    """Put a copy of an index in place of another as a build does."""
    work = WorkDir(live.with_name("live.zarr.building"))
    work.path.mkdir(exist_ok=True)
    shutil.copytree(source, work.store)
    work.swap_in(live)
    shutil.rmtree(work.path)


def found(index):
    """What tells which index was searched, and whose images those are."""
    ids = index.search(3, 4, torch.full((3, 9), -0.5), 50)
    return index.manifest["dataset"], ids.tolist(), index.images.sha256


@pytest.mark.parametrize("change", ["replaced", "removed"])
def test_an_open_index_stays_what_it_was(pair, live, change):
    index = PatchIndex.open(live)
    if change == "replaced":
        replace(live, pair / "other")
        assert found(PatchIndex.open(live)) == found(PatchIndex.open(pair / "other"))
    else:
        shutil.rmtree(live)
    assert found(index) == found(PatchIndex.open(pair / "one"))


@pytest.mark.slow
def test_readers_beside_swaps_never_mix_two_indices(pair, live):
    wanted = [found(PatchIndex.open(pair / name)) for name in ("one", "other")]
    ended = threading.Event()

    def read():
        seen = []
        while not ended.is_set():
            seen.append(found(PatchIndex.open(live)))
        return seen

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read) for _ in range(4)]
        for turn in range(12):
            replace(live, pair / ("other", "one")[turn % 2])
        ended.set()
        seen = [one for reader in readers for one in reader.result()]
    assert all(one in wanted for one in seen)


def test_an_index_that_changes_while_it_is_read_is_read_again(pair, live, monkeypatch):
    read, left = snapshot.map_array, [pair / "other"]

    def read_slowly(path, name, entry):
        if left:
            replace(live, left.pop())
        return read(path, name, entry)

    monkeypatch.setattr(snapshot, "map_array", read_slowly)
    assert found(PatchIndex.open(live)) == found(PatchIndex.open(pair / "other"))


def test_an_index_that_never_stays_the_same_is_refused(live, monkeypatch):
    monkeypatch.setattr(snapshot, "SWAP_SECONDS", 0.1)
    monkeypatch.setattr(snapshot, "root_metadata", lambda _: b"%f" % time.monotonic())
    with pytest.raises(StoreError, match=r"was replaced again and again while it was opened. Wait"):
        PatchIndex.open(live)


def test_a_reader_waits_for_the_second_stroke_of_a_swap(live):
    work = WorkDir(live.with_name("live.zarr.building"))
    work.path.mkdir()
    live.rename(work.replaced)
    back = threading.Timer(0.2, work.replaced.rename, [live])
    back.start()
    assert len(PatchIndex.open(live).images) == 12
    back.join()


def test_a_swap_whose_build_was_interrupted_is_told(live, monkeypatch):
    monkeypatch.setattr(snapshot, "SWAP_SECONDS", 0.1)
    work = WorkDir(live.with_name("live.zarr.building"))
    work.path.mkdir()
    live.rename(work.replaced)
    with pytest.raises(StoreError, match=r"replacing .*live.zarr was interrupted. Run the same"):
        PatchIndex.open(live)


def test_verify_tells_that_another_index_is_there(pair, live):
    index = PatchIndex.open(live)
    replace(live, pair / "other")
    with pytest.raises(StoreError, match=r"live.zarr was replaced since it was opened. Open it"):
        index.verify()


def test_an_index_opened_by_few_descriptors_tells_that_there_are_no_more(live):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = max(int(name.name) for name in live.__class__("/dev/fd").iterdir()) + 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        with pytest.raises(StoreError, match=r"cannot read .*: Too many open files. Make"):
            _ = [PatchIndex.open(live) for _ in range(200)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_pickled_index_is_the_same_index(pair):
    index = PatchIndex.open(pair / "one", list_search="faiss")
    index.images.sha256  # noqa: B018 - what is cached must not be in the way
    copy = pickle.loads(pickle.dumps(index))  # noqa: S301 - our own
    assert len(pickle.dumps(index)) < 1000
    assert found(copy) == found(index)
    halves = np.arange(12) % 2
    again = pickle.loads(pickle.dumps(index.relabelled(halves)))  # noqa: S301 - our own
    assert np.array_equal(again.images.labels, halves)


def test_images_of_an_index_share_its_map_after_pickling(pair):
    index = PatchIndex.open(pair / "one")
    images, copy = pickle.loads(pickle.dumps((index.images, index)))  # noqa: S301 - our own
    assert images is copy.images
    assert images.sha256 == ONE.sha256
    assert len(pickle.dumps(index.images)) < 1000


def test_an_index_that_was_replaced_is_not_unpickled(pair, live):
    kept = pickle.dumps(PatchIndex.open(live))
    replace(live, pair / "other")
    with pytest.raises(StoreError, match=r"is not the index that was pickled: it was replaced"):
        pickle.loads(kept)  # noqa: S301 - our own


def test_images_and_indices_are_shown_in_one_line(pair):
    told = f"PatchIndex('{pair / 'one'}': small, 12 images of 1 x 16 x 16, zeros, scales 3)"
    assert repr(PatchIndex.open(pair / "one")) == told
    assert repr(ONE) == "ImageSet(small: 12 images of 1 x 16 x 16, 10 classes)"
    assert repr(OTHER) == "ImageSet(other: 12 images of 1 x 16 x 16, no labels)"
    shown = repr(PatchIndex.open(pair / "other").images)
    assert shown == "ImageSet(other: 12 images of 1 x 16 x 16, no labels)"
