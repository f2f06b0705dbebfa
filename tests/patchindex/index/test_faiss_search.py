"""FAISS is given addresses: what lies behind them is checked before."""

from dataclasses import replace

import numpy as np
import pytest
from small_index import build_small

from patchindex import PatchIndex
from patchindex.errors import KernelInputError, StoreError
from patchindex.index.list_search.faiss import ScaleSearcher

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    """Those of one scale of a small index, in one shard without checksums."""
    path = tmp_path_factory.mktemp("faiss") / "small.zarr"
    build_small(path, shard_patches=10**6)
    whole = PatchIndex.open(path, list_search="faiss").arrays(3)
    return replace(whole, shards=[replace(whole.shards[0], checks=None)])


def moved(offsets, place, step):
    changed = np.array(offsets)
    changed[place] += step
    return changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: {"offsets": moved(a.offsets, -1, 1)}, "lists end at .* behind the last of"),
        (lambda a: {"offsets": moved(a.offsets, -1, 2**40)}, "lists end at"),
        (lambda a: {"offsets": moved(a.offsets, 0, -1)}, "offsets do not ascend from 0"),
        (lambda a: {"offsets": np.array(a.offsets)[::-1]}, "offsets do not ascend from 0"),
        (lambda a: {"offsets": np.array(a.offsets)[:-1]}, "there are .* offsets for .* lists"),
        (lambda a: {"offsets": np.array(a.offsets) * 1.0}, "offsets do not ascend"),
        (lambda a: {"ids": a.ids[:-1]}, "there are .* ids as uint32 for .* codes"),
        (lambda a: {"ids": a.ids.astype(object)}, "ids as object"),
        (lambda a: {"codes": a.codes[:, :-1]}, "codes are uint8 of .*, but FAISS reads"),
        (lambda a: {"codes": a.codes.astype(np.uint16)}, "codes are uint16"),
    ],
)
def test_lists_that_are_not_inside_the_codes_are_refused(arrays, change, message):
    shard = arrays.shards[0]
    with pytest.raises(StoreError, match=rf"the index is damaged: .*{message}.*--overwrite"):
        ScaleSearcher(replace(arrays, shards=[replace(shard, **change(shard))]))


def queries(arrays, num=3, nprobe=2):
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((num, len(arrays.pca))).astype(np.float32)
    return vectors, rng.integers(0, len(arrays.count), (num, nprobe))


def test_what_does_not_fit_the_index_is_refused(arrays):
    searcher, (vectors, lists) = ScaleSearcher(arrays), queries(arrays)
    nlist = len(arrays.count)
    for wrong in vectors[:, :-1], vectors[:2], vectors[0]:
        with pytest.raises(KernelInputError, match=r"vectors are .*\. Give 3 of"):
            searcher.search(wrong, lists, 5, None)
    for number in -2, nlist, 2**40:
        with pytest.raises(KernelInputError, match=rf"no list {number}\. Give -1\.\.{nlist - 1}"):
            searcher.search(vectors, np.full((3, 2), number), 5, None)
    with pytest.raises(KernelInputError, match=r"k is 0\. Give at least 1"):
        searcher.search(vectors, lists, 0, None)
    with pytest.raises(KernelInputError, match="not finite"):
        searcher.search(vectors * np.float32(np.nan), lists, 5, None)


def test_arrays_of_other_types_and_in_other_memory_find_the_same(arrays):
    searcher, (vectors, lists) = ScaleSearcher(arrays), queries(arrays)
    expected = searcher.search(vectors, lists, 5, None)
    assert (expected >= 0).any()
    for others in (
        (np.repeat(vectors, 2, axis=1)[:, ::2], np.repeat(lists, 2, axis=1)[:, ::2]),
        (np.asfortranarray(vectors), np.asfortranarray(lists)),
        (vectors.astype(">f4"), lists.astype(np.int32)),
        (vectors.astype(np.float64), lists.astype(">i8")),
    ):
        assert np.array_equal(searcher.search(*others, 5, None), expected)


def test_queries_of_no_lists_find_nothing(arrays):
    searcher, (vectors, lists) = ScaleSearcher(arrays), queries(arrays)
    assert (searcher.search(vectors, lists[:, :0], 5, None) == -1).all()
    assert searcher.search(vectors[:0], lists[:0], 5, None).shape == (0, 5)
