"""The list-major search in C++ against a sort of every distance in float64."""

from dataclasses import replace

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

    def __init__(self, dims, seed, *, levels=256, first_id=0):
        self.rng = rng = np.random.default_rng(seed)
        sizes = rng.choice([0, 1, 7, 16, 129, 500], size=12)
        self.offsets = np.concatenate([[0], np.cumsum(sizes)])
        self.codes = rng.integers(0, levels, (self.offsets[-1], dims), dtype=np.uint8)
        ids = np.sort(rng.permutation(3 * self.offsets[-1])[: self.offsets[-1]])
        in_list = rng.permutation(np.repeat(np.arange(12), sizes))  # of each id
        self.ids = first_id + ids[np.argsort(in_list, kind="stable")]
        self.first_id, self.next_id = first_id, first_id + 3 * int(self.offsets[-1])
        self.code_min = rng.uniform(-2, -1, dims).astype(np.float32)
        self.code_span = rng.uniform(1, 4, dims).astype(np.float32)

    def divided(self, num):
        """So many shards of consecutive ids, some of them empty."""
        edges = np.sort(self.rng.integers(self.first_id, self.next_id, num - 1))
        starts = [self.first_id, *edges.tolist()]
        lists = np.repeat(np.arange(12), np.diff(self.offsets))
        for first, stop in zip(starts, [*starts[1:], self.next_id], strict=True):
            mine = (self.ids >= first) & (self.ids < stop)
            yield search.CodeShard(
                codes=self.codes[mine], ids=(self.ids[mine] - first).astype(np.uint32),
                offsets=np.concatenate([[0], np.bincount(lists[mine], minlength=12).cumsum()]),
                first_id=first,
            )  # fmt: skip

    def queries(self, num, num_probes):
        vectors = self.rng.normal(0, 1, (num, self.codes.shape[1])).astype(np.float32)
        lists = np.stack([self.rng.permutation(12)[:num_probes] for _ in range(num)])
        lists[0, :] = -1
        lists[1, 1:] = -1
        return vectors, lists

    def search(self, vectors, lists, k, shards=1, **options):
        options = {"image_mask": None, "patches_per_image": PER_IMAGE} | options
        inverted = search.CodeLists(
            shards=list(self.divided(shards)), offsets=self.offsets,
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
@pytest.mark.parametrize(("shards", "first_id"), [(1, 0), (5, 10**11)])
def test_the_nearest_codes_of_the_lists_are_found(isa, dims, k, shards, first_id):
    lists = Lists(dims, seed=dims, first_id=first_id)
    vectors, probes = lists.queries(11, 5)
    found = lists.search(vectors, probes, k, shards)
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


def test_how_ids_are_divided_changes_nothing(isa):
    lists = Lists(8, seed=4, levels=2)  # most distances are tied
    vectors, probes = lists.queries(30, 6)
    members = np.random.default_rng(0).random(lists.next_id // PER_IMAGE + 1) < 0.5
    for mask in (None, members):
        whole = lists.search(vectors, probes, 40, image_mask=mask)
        for shards in (2, 3, 17):
            again = lists.search(vectors, probes, 40, shards, image_mask=mask)
            assert np.array_equal(again, whole)


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
    with pytest.raises(ValueError, match="Give 8 dimensions, as code_min has"):
        lists.search(vectors[:, :5], probes, 5)
    with pytest.raises(ValueError, match="one row per vector"):
        lists.search(vectors, probes[:2], 5)
    with pytest.raises(ValueError, match="must be at least 1"):
        lists.search(vectors, probes, 0)
    right = search.CodeLists(
        shards=list(lists.divided(2)), offsets=lists.offsets, code_min=lists.code_min,
        code_span=lists.code_span,
    )  # fmt: skip
    for offsets, message in (
        (lists.offsets + np.arange(13), r"codes in its shards, but \d+ places. If they come from"),
        (lists.offsets[::-1].copy(), "ascend"),
    ):
        wrong = replace(right, offsets=offsets)
        with pytest.raises(ValueError, match=message):
            search.search_lists(
                wrong, vectors, probes, 5, image_mask=None, patches_per_image=PER_IMAGE
            )


def test_neighbors_are_propagated_as_in_torch():
    from patchindex.geometry import AxisSignature  # noqa: PLC0415
    from patchindex.kernels import torch_backend  # noqa: PLC0415
    from patchindex.kernels.bounds import NeighborAxis  # noqa: PLC0415

    rng = np.random.default_rng(2)
    height, width = 14, 11
    every, offsets = range(2, 12), range(-2, 3)
    rows = NeighborAxis.beside(
        [AxisSignature(range(3), range(2, 3), offsets), AxisSignature(range(3, 10), every, offsets)]
    )
    cols = NeighborAxis.beside([AxisSignature(range(7), range(2, 9), offsets)], forward=False)
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
    nothing = search.propagate_neighbors(
        arguments[0], targets[:0], rows, cols, height=height, width=width
    )
    assert nothing.shape == (0, 0)


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


def in_cells(rng, num_cells, dims):
    """Centers, rows cell after cell, and the first row of each."""
    centers = rng.standard_normal((num_cells, dims)).astype(np.float32)
    offsets = np.concatenate([[0], rng.integers(1, 300, num_cells).cumsum()])
    rows = centers.repeat(np.diff(offsets), axis=0) + rng.normal(0, 0.5, (offsets[-1], dims))
    return (torch.from_numpy(x) for x in (centers, rows.astype(np.float32), offsets))


@pytest.mark.slow
@pytest.mark.parametrize(("num_cells", "num_visits"), [(1, 1), (7, 3), (150, 64)])
def test_the_row_found_is_the_nearest_of_the_nearest_cells(isa, num_cells, num_visits):
    from patchindex.kernels import torch_backend  # noqa: PLC0415

    rng = np.random.default_rng(num_cells)
    centers, rows, offsets = in_cells(rng, num_cells, 9)
    vectors = torch.from_numpy(rng.standard_normal((5000, 9)).astype(np.float32))
    found = search.nearest_in_cells(centers, rows, offsets, vectors, num_visits)
    to_centers = (vectors[:, None].double() - centers.double()).square().sum(2)
    visited = to_centers.argsort(1)[:, :num_visits]
    to_rows = torch.cdist(vectors.double(), rows.double()).square()
    for cell in range(num_cells):
        outside = ~(visited == cell).any(1)
        to_rows[outside, offsets[cell] : offsets[cell + 1]] = torch.inf
    # float32 may swap near ties, of rows and of cells
    nearest = to_rows.gather(1, found.long()[:, None])[:, 0]
    assert ((nearest - to_rows.amin(1)).abs() < 1e-5).double().mean() > 0.999
    again = torch_backend.nearest_in_cells(centers, rows, offsets, vectors, num_visits)
    assert (again == found).double().mean() > 0.999
    few = torch.cat(
        [
            search.nearest_in_cells(centers, rows, offsets, part, num_visits)
            for part in vectors[:200].split(7)
        ]
    )
    assert torch.equal(few, found[:200])
