"""Searching lists where the queries are, against float64 brute force and the processor's search."""

import numpy as np
import pytest
import torch

from patchindex import ImageSet, device

pytest.importorskip("triton")
from patchindex.index.list_search import triton as triton_search
from patchindex.index.list_search.triton import TritonListSearch
from patchindex.index.scale import IndexLists, ListShard, ScaleArrays
from patchindex.kernels import nearest_codes, triton_lists

DEVICE = torch.empty(0, device="cuda" if torch.cuda.is_available() else "cpu").device
PER_IMAGE = 10


@pytest.fixture(params=["resident", "passing"])
def memory(request, monkeypatch):
    """The lists stay on the device, or pass through it in groups of one or two."""
    budget = 2**30 if request.param == "resident" else 0
    monkeypatch.setattr(device, "default_budget", lambda _: budget)
    monkeypatch.setattr(triton_search, "GROUP_BYTES", 2**12)
    return request.param


@pytest.fixture(autouse=True)
def small_buffers(monkeypatch):
    """Thresholds for few codes, too, of which the interpreter ranks but some thousands a second."""
    monkeypatch.setattr(nearest_codes, "LEAST_CAPACITY", 64)
    monkeypatch.setattr(nearest_codes, "LEAST_EVERY", 4)
    monkeypatch.setattr(triton_lists, "LIST_SHARES", 2)


class Lists:
    """A scale of random codes, in lists of very different sizes, some of them empty."""

    def __init__(self, dims, seed, *, levels=256, sizes=(0, 1, 7, 40, 90), first_id=0):
        self.rng = rng = np.random.default_rng(seed)
        self.arrays = ScaleArrays(
            shards=[self.shard(dims, levels, sizes, first_id + at) for at in (0, 40_000)],
            code_min=rng.uniform(-2, -1, dims).astype(np.float32),
            code_span=rng.uniform(1, 4, dims).astype(np.float32),
            signature_lists=np.array([0, 12]), centroids=np.zeros((12, dims), np.float32),
            pca=np.eye(dims, dtype=np.float32), pca_bias=np.zeros(dims, np.float32),
            explained_variance=np.ones(dims),
        )  # fmt: skip
        self.ids, self.codes = self.arrays.read_lists(np.arange(12))
        labels = rng.integers(0, 3, 80_000 // PER_IMAGE)
        pixels = np.zeros((len(labels), 1, 2, PER_IMAGE // 2), np.uint8)
        self.images = ImageSet.from_array(pixels, labels)

    def shard(self, dims, levels, sizes, first_id):
        count = self.rng.choice(sizes, size=12)
        num = int(count.sum())
        return ListShard(
            codes=self.rng.integers(0, levels, (num, dims), dtype=np.uint8),
            ids=self.rng.permutation(3 * num)[:num].astype(np.uint32),
            offsets=np.concatenate([[0], np.cumsum(count)]), first_id=first_id,
        )  # fmt: skip

    def queries(self, num, num_probes):
        vectors = self.rng.normal(0, 1, (num, self.codes.shape[1])).astype(np.float32)
        lists = np.stack([self.rng.permutation(12)[:num_probes] for _ in range(num)])
        lists[0, :] = -1
        lists[1, 1:] = -1
        return vectors, lists

    def list_search(self):
        return TritonListSearch(IndexLists(images=self.images, scales={3: self.arrays}))

    def search(self, vectors, lists, k, label=None, list_search=None):
        on_device = (torch.from_numpy(array).to(DEVICE) for array in (vectors, lists))
        found = (list_search or self.list_search()).nearest(3, *on_device, k, label)
        assert found.dtype == torch.int64
        return found.cpu().numpy()

    def distances(self, vector, lists):
        """Float64 distances to all codes of the lists in the order of the file, and their ids."""
        stored = self.arrays
        places = [np.arange(*stored.offsets[n : n + 2]) for n in np.sort(lists) if n >= 0]
        at = np.concatenate([*places, np.arange(0)])
        decoded = stored.code_min + (self.codes[at] + 0.5) / 255 * stored.code_span.astype(float)
        return np.square(decoded - vector).sum(1), self.ids[at]


@pytest.mark.parametrize(("dims", "k"), [(9, 1), (16, 20), (33, 5000)])
@pytest.mark.usefixtures("memory")
def test_the_nearest_codes_of_the_lists_are_found(dims, k):
    lists = Lists(dims, seed=dims)
    vectors, probes = lists.queries(7, 5)
    found = lists.search(vectors, probes, k)
    assert found.shape == (7, k)
    for vector, row, ids in zip(vectors, probes, found, strict=True):
        dist_sq, all_ids = lists.distances(vector, row)
        count = min(k, len(all_ids))
        assert (ids[count:] == -1).all()
        by_id = dict(zip(all_ids.tolist(), dist_sq, strict=True))
        got = np.array([by_id[i] for i in ids[:count].tolist()])
        # float32 sums of some tens of squares up to 16
        np.testing.assert_allclose(got, np.sort(dist_sq)[:count], atol=1e-4)
        assert len(set(ids[:count].tolist())) == count


@pytest.mark.usefixtures("memory")
def test_ids_beyond_32_bits_are_whole():
    lists = Lists(8, seed=6, first_id=10**10)
    found = lists.search(*lists.queries(3, 12), 10**4)
    assert sorted(found[2][found[2] >= 0]) == sorted(lists.ids)


@pytest.mark.slow
@pytest.mark.usefixtures("memory")
def test_only_members_are_found():
    lists = Lists(16, seed=7)
    vectors, probes = lists.queries(5, 6)
    found = lists.search(vectors, probes, 9, label=1)
    for vector, row, ids in zip(vectors, probes, found, strict=True):
        dist_sq, all_ids = lists.distances(vector, row)
        mine = lists.images.labels[all_ids // PER_IMAGE] == 1
        expected = all_ids[mine][np.argsort(dist_sq[mine])][:9]
        assert ids[: len(expected)].tolist() == expected.tolist()
        assert (ids[len(expected) :] == -1).all()


@pytest.mark.usefixtures("memory")
def test_many_queries_of_one_list_fill_several_tiles():
    lists = Lists(8, seed=2, sizes=(100, 200))
    vectors, probes = lists.queries(35, 1)
    probes[:] = 5
    found = lists.search(vectors, probes, 3)
    for vector, ids in zip(vectors, found, strict=True):
        dist_sq, all_ids = lists.distances(vector, [5])
        assert ids.tolist() == all_ids[np.argsort(dist_sq)][:3].tolist()


def test_of_equal_distances_the_first_on_disk_is_nearer(memory):
    lists = Lists(8, seed=3, levels=2)  # few different codes: most distances are tied
    lists.arrays.code_min[:], lists.arrays.code_span[:] = -1, 255  # whole numbers and a half
    vectors, probes = lists.queries(5, 6)
    vectors[:] = 0.5
    for row, ids in zip(probes, lists.search(vectors, probes, 10**4), strict=True):
        dist_sq, all_ids = lists.distances(vectors[0], row)
        expected = all_ids[np.argsort(dist_sq.astype(np.float32), kind="stable")]
        assert ids[ids >= 0].tolist() == expected.tolist()


@pytest.mark.slow
def test_a_query_finds_the_same_in_any_company_and_block(memory, monkeypatch):
    lists = Lists(9, seed=5)
    vectors, probes = lists.queries(4, 4)
    together = lists.search(vectors, probes, 6)
    monkeypatch.setattr(triton_search, "work_bytes", lambda _: 3000)
    assert np.array_equal(lists.search(vectors, probes, 6), together)
    apart = [lists.search(v[None], p[None], 6)[0] for v, p in zip(vectors, probes, strict=True)]
    assert np.array_equal(np.stack(apart), together)


def test_lists_stay_on_the_device_within_the_budget(memory):
    lists = Lists(16, seed=1)
    list_search = lists.list_search()
    vectors, probes = lists.queries(3, 3)
    before = lists.search(vectors, probes, 9, list_search=list_search)
    for shard in lists.arrays.shards:
        shard.codes[:] = 0
    again = lists.search(vectors, probes, 9, list_search=list_search)
    assert np.array_equal(again, before) == (memory == "resident")
    used = lists.images.device.at(DEVICE).used
    assert used == (triton_search.list_bytes(lists.arrays) if memory == "resident" else 0)


def test_no_list_and_no_query_have_no_neighbors(memory):
    lists = Lists(8, seed=4)
    vectors, probes = lists.queries(3, 2)
    assert (lists.search(vectors, probes * 0 - 1, 5) == -1).all()
    assert lists.search(vectors[:0], probes[:0], 5).shape == (0, 5)
