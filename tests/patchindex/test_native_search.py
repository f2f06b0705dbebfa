"""The list-major search in C++ against a sort of every distance in float64."""

import numpy as np
import pytest
import torch

search = pytest.importorskip("patchindex.kernels.native_backend")
from patchindex.kernels import _native  # noqa: E402 - absent where nothing was built

PER_IMAGE = 10


@pytest.fixture(params=_native.instruction_sets())
def isa(request, monkeypatch):
    monkeypatch.setenv("PATCHINDEX_ISA", request.param)


class Lists:
    """Random codes in lists of very different sizes, some of them empty."""

    def __init__(self, dims, seed, *, levels=256, dtype=np.uint32):
        rng = np.random.default_rng(seed)
        sizes = rng.choice([0, 1, 7, 16, 129, 500], size=12)
        self.offsets = np.concatenate([[0], np.cumsum(sizes)])
        self.codes = rng.integers(0, levels, (self.offsets[-1], dims), dtype=np.uint8)
        self.ids = rng.permutation(3 * self.offsets[-1])[: self.offsets[-1]].astype(dtype)
        self.code_min = rng.uniform(-2, -1, dims).astype(np.float32)
        self.code_span = rng.uniform(1, 4, dims).astype(np.float32)
        self.rng = rng

    def queries(self, num, num_probes):
        vectors = self.rng.normal(0, 1, (num, self.codes.shape[1])).astype(np.float32)
        lists = np.stack([self.rng.permutation(12)[:num_probes] for _ in range(num)])
        lists[0, :] = -1
        lists[1, 1:] = -1
        return vectors, lists

    def search(self, vectors, lists, k, **options):
        options = {"image_mask": None, "patches_per_image": PER_IMAGE} | options
        inverted = search.CodeLists(
            codes=self.codes, ids=self.ids, offsets=self.offsets,
            code_min=self.code_min, code_span=self.code_span,
        )  # fmt: skip
        return search.search_lists(inverted, vectors, lists, k, **options)

    def distances(self, vector, lists):
        """Float64 distances to all codes of the lists, and their ids."""
        at = np.concatenate(
            [np.arange(*self.offsets[n : n + 2]) for n in lists if n >= 0] or [np.arange(0)]
        ).astype(int)
        decoded = self.code_min + (self.codes[at] + 0.5) / 255 * self.code_span.astype(np.float64)
        return np.square(decoded - vector).sum(1), self.ids[at].astype(np.int64)


@pytest.mark.parametrize(("dims", "k"), [(9, 1), (16, 40), (40, 200), (33, 5000)])
@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
def test_the_nearest_codes_of_the_lists_are_found(isa, dims, k, dtype):
    lists = Lists(dims, seed=dims, dtype=dtype)
    vectors, probes = lists.queries(11, 5)
    found = lists.search(vectors, probes, k)
    assert found.shape == (11, k)
    for vector, row, ids in zip(vectors, probes, found, strict=True):
        dist_sq, all_ids = lists.distances(vector, row)
        count = min(k, len(all_ids))
        assert (ids[count:] == -1).all()
        by_id = dict(zip(all_ids.tolist(), dist_sq, strict=True))
        got = np.array([by_id[i] for i in ids[:count].tolist()])
        np.testing.assert_allclose(got, np.sort(dist_sq)[:count], atol=1e-4)
        assert len(set(ids[:count].tolist())) == count


def test_of_equal_codes_the_first_are_found_by_any_number_of_threads(isa):
    lists = Lists(8, seed=3, levels=2)  # 256 different codes: most distances are tied
    vectors, probes = lists.queries(40, 6)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = lists.search(vectors, probes, 20)
        torch.set_num_threads(4)
        for _ in range(5):
            assert np.array_equal(lists.search(vectors, probes, 20), alone)
    finally:
        torch.set_num_threads(before)


def test_a_query_finds_the_same_in_any_company(isa):
    lists = Lists(32, seed=5)
    vectors, probes = lists.queries(23, 4)
    together = lists.search(vectors, probes, 30)
    apart = [lists.search(v[None], p[None], 30)[0] for v, p in zip(vectors, probes, strict=True)]
    assert np.array_equal(together, np.stack(apart))


def test_only_members_are_found(isa):
    lists = Lists(16, seed=7)
    vectors, probes = lists.queries(9, 6)
    members = np.random.default_rng(0).random(3 * len(lists.ids) // PER_IMAGE + 1) < 0.3
    found = lists.search(vectors, probes, 25, image_mask=members)
    for vector, row, ids in zip(vectors, probes, found, strict=True):
        dist_sq, all_ids = lists.distances(vector, row)
        mine = members[all_ids // PER_IMAGE]
        expected = all_ids[mine][np.argsort(dist_sq[mine])][:25]
        assert ids[: len(expected)].tolist() == expected.tolist()
        assert (ids[len(expected) :] == -1).all()


@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit_is_refused():
    lists = Lists(8, seed=1)
    vectors, probes = lists.queries(4, 3)
    with pytest.raises(ValueError, match=r"there is no list \d+. Give -1..11"):
        lists.search(vectors, probes + 20, 5)
    with pytest.raises(ValueError, match="not finite"):
        lists.search(vectors * np.float32(np.nan), probes, 5)
    with pytest.raises(ValueError, match="as many dimensions as the codes"):
        lists.search(vectors[:, :5], probes, 5)
    with pytest.raises(ValueError, match="one row per vector"):
        lists.search(vectors, probes[:2], 5)
    with pytest.raises(ValueError, match="must be at least 1"):
        lists.search(vectors, probes, 0)
    lists.offsets = lists.offsets[::-1].copy()
    with pytest.raises(ValueError, match="ascend"):
        lists.search(vectors, probes, 5)


def test_neighbors_are_propagated_as_in_torch():
    from patchindex.kernels import torch_backend  # noqa: PLC0415
    from patchindex.kernels.bounds import NeighborAxis  # noqa: PLC0415

    rng = np.random.default_rng(2)
    height, width = 14, 11
    rows, cols = NeighborAxis.beside(10, range(2, 12)), NeighborAxis.beside(7, range(2, 9))
    shape = (3, 10, 7, 50)
    y, x = rng.integers(2, 12, shape), rng.integers(2, 9, shape)
    found = (rng.integers(0, 3, shape) * height + y) * width + x  # few images: many repeats
    found[rng.random(shape) < 0.2] = -1
    targets = torch.ones(3, 10, 7).nonzero()[::2]
    arguments = (torch.from_numpy(found), targets, rows, cols)
    ids = search.propagate_neighbors(*arguments, height=height, width=width)
    assert torch.equal(
        ids, torch_backend.propagate_neighbors(*arguments, height=height, width=width)
    )
    with pytest.raises(ValueError, match="outside the searched field"):
        search.propagate_neighbors(
            arguments[0], targets + 5, rows, cols, height=height, width=width
        )


def test_the_nearest_rows_are_those_of_float64_in_any_company(isa):
    from patchindex.kernels import torch_backend  # noqa: PLC0415

    rng = np.random.default_rng(4)
    rows = torch.from_numpy(rng.standard_normal((307, 9)).astype(np.float32))
    vectors = torch.from_numpy(rng.standard_normal((133, 9)).astype(np.float32))
    true = (vectors[:, None].double() - rows.double()).square().sum(2)
    for count in (1, 20, 307):
        nearest = search.nearest_rows(rows, vectors, count)
        expected = torch_backend.nearest_rows(rows, vectors, count)
        # float32 may swap near ties
        torch.testing.assert_close(
            true.gather(1, nearest), true.gather(1, expected), rtol=0, atol=2e-5
        )
        assert all(len(set(row)) == count for row in nearest.tolist())
    alone = torch.cat([search.nearest_rows(rows, vector[None], 20) for vector in vectors])
    assert torch.equal(alone, search.nearest_rows(rows, vectors, 20))
    rows[200:] = rows[3]  # of equal rows the first
    assert search.nearest_rows(rows, rows[3:4], 2).tolist() == [[3, 200]]
