"""Ranks of codes against float64 distances to what codes stand for, and the first of them."""

import weakref
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

pytest.importorskip("triton")
from patchindex.errors import KernelInputError
from patchindex.kernels import nearest_codes, triton_lists
from patchindex.kernels.nearest_codes import Selection, nearest_ranks
from patchindex.kernels.triton_lists import (
    EVERY_CODE,
    NONE,
    DeviceLists,
    ListQueries,
    QueryDigits,
    aligned,
    append_near,
    code_norms,
    rank_some,
)

DEVICE = torch.empty(0, device="cuda" if torch.cuda.is_available() else "cpu").device
MEMORY = 2**24
VISITS = [[0, 3], [2, -1], [3, 1], [-1, -1], [1, 2]]
SIZES = [150, 0, 1, 170]


@pytest.fixture(autouse=True)
def few_programs(monkeypatch):
    """The interpreter takes a millisecond for each."""
    monkeypatch.setattr(triton_lists, "LIST_SHARES", 2)


def lists_of(codes, sizes, *, first=-3.0, span=6.0):
    """Lists of these codes [p, r], whose dimensions are as wide as `span` says."""
    num, dims = codes.shape
    rows = torch.zeros(num, aligned(dims), dtype=torch.uint8)
    rows[:, :dims] = torch.from_numpy(codes)
    step = torch.from_numpy(np.broadcast_to(np.asarray(span) / 255, dims).copy()).to(DEVICE)
    return DeviceLists(
        codes=rows.to(DEVICE), norms=code_norms(rows.to(DEVICE), step),
        ids=torch.arange(num, device=DEVICE),
        offsets=torch.tensor(np.concatenate([[0], np.cumsum(sizes)]), device=DEVICE),
        code_middle=torch.as_tensor(first, device=DEVICE) + 128.5 * step, code_step=step,
    )  # fmt: skip


def asking(lists, vectors, visits, image_mask=None):
    vectors = torch.as_tensor(vectors, dtype=torch.float32, device=DEVICE)
    return ListQueries(
        digits=QueryDigits.of(vectors, lists), visits=torch.as_tensor(visits, device=DEVICE),
        image_mask=image_mask, patches_per_image=10,
    )  # fmt: skip


def some_lists(rng):
    """Lists of random codes, some of them empty or nearly, and queries of five vectors."""
    lists = lists_of(rng.integers(0, 256, (321, 9), dtype=np.uint8), SIZES)
    return lists, rng.normal(0, 1, (5, 9)).astype(np.float32)


def wide_lists(rng, num_codes, dims, num_queries):
    """As principal components: the first is fifty times as wide as the last; and queries there."""
    span = 20 * 50 ** -np.linspace(0, 1, dims)
    codes = rng.integers(0, 256, (num_codes, dims), dtype=np.uint8)
    lists = lists_of(codes, [num_codes], first=-span / 2, span=span)
    return lists, (rng.normal(0, 0.25, (num_queries, dims)) * span).astype(np.float32)


def distances(lists, vectors):
    """Float64 squared distances [q, p] to what all codes stand for."""
    codes = lists.codes[:, : len(lists.code_step)].cpu().double().numpy()
    decoded = lists.code_middle.cpu().numpy() + (codes - 128) * lists.code_step.cpu().numpy()
    return np.square(np.asarray(vectors, np.float64)[:, None] - decoded).sum(2)


def errors(lists, vectors, ranks):
    """How far the keys [q, p] are from float64 distances, less what a query adds to all of them."""
    whole = (ranks >> 32).int()
    keys = (whole ^ ((whole >> 31) & 0x7FFFFFFF)).view(torch.float32).cpu().double().numpy()
    way = vectors.astype(np.float64) - lists.code_middle.cpu().numpy()
    return np.abs(keys + np.square(way).sum(1, keepdims=True) - distances(lists, vectors))


def first_places(lists, vectors, visits, k, members=None):
    """By brute force: places of the k nearest, of equal ones the first; -1 behind the last."""
    dist_sq, offsets = distances(lists, vectors), lists.offsets.tolist()
    found = np.full((len(vectors), k), -1)
    for row, (mine, numbers) in enumerate(zip(dist_sq, visits, strict=True)):
        places = [np.arange(*offsets[n : n + 2]) for n in sorted(numbers) if n >= 0]
        at = np.concatenate([np.arange(0), *places])
        if members is not None:
            at = at[np.isin(at, members)]
        nearest = at[np.argsort(mine[at], kind="stable")][:k]
        found[row, : len(nearest)] = nearest
    return found


def places_of(ranks):
    return (ranks & 0xFFFFFFFF).where(ranks < NONE, -1).cpu().numpy()


@pytest.mark.parametrize("dims", [9, 16, 40, 57, 64, 100])
def test_ranks_are_float64_distances_far_within_the_step_of_codes(dims, rng):
    lists, vectors = wide_lists(rng, 150, dims, 6)
    middle, step = lists.code_middle.cpu().numpy(), lists.code_step.cpu().numpy()
    vectors[0] *= 20  # far beyond all codes
    vectors[1] = middle + (lists.codes[7, :dims].cpu().numpy() - 128.0) * step  # all but a code
    ranks = rank_some(lists, asking(lists, vectors, [[0]] * 6), 150, every=1)
    assert (ranks.cpu() & 0xFFFFFFFF == torch.arange(150)).all()
    error = errors(lists, vectors, ranks).max(1)
    # what it does to a distance that codes are rounded to whole steps
    rounding = np.sqrt(((2 * (vectors - middle) * step) ** 2).sum(1) / 12)
    assert (error < rounding / 500).all()
    # a half of the last place of 24-bit digits of up to 127 a dimension, three float32 roundings
    largest = np.abs(2 * (vectors - middle) * step).max(1)
    most = distances(lists, vectors).max(1) + np.square(vectors - middle).sum(1)
    assert (error < 128 * dims * largest * 2.0**-24 + 3 * most * 2.0**-24).all()


def test_one_float16_digit_would_not_do(rng):
    """Without the second the error is as large as what codes lose by being rounded."""
    lists, vectors = wide_lists(rng, 300, 40, 5)
    asked = asking(lists, vectors, [[0]] * 5)
    blunt = replace(asked, digits=replace(asked.digits, low=torch.zeros_like(asked.digits.low)))
    both, one = (
        errors(lists, vectors, rank_some(lists, each, 300, every=1)).max()
        for each in (asked, blunt)
    )
    assert one > 500 * both


def test_digits_are_exact_in_float16_and_their_sums_in_float32(rng):
    lists = lists_of(rng.integers(0, 256, (3, 64), dtype=np.uint8), [3])
    vectors = torch.from_numpy(rng.normal(0, 3, (50, 64)).astype(np.float32)).to(DEVICE)
    vectors[0] = 1e30
    digits = QueryDigits.of(vectors, lists)
    wanted = -2 * (vectors.double() - lists.code_middle) * lists.code_step
    joined = (
        digits.high.double() * digits.high_unit.double()[:, None]
        + digits.low.double() * digits.low_unit.double()[:, None]
    )
    assert ((joined - wanted).abs().amax(1) <= wanted.abs().amax(1) * 2.0**-23).all()
    for digit in (digits.high, digits.low):
        assert (digit == digit.round()).all()
        assert 64 * 128 * digit.abs().max().double() <= 2**24


def test_too_many_dimensions_are_refused():
    lists = lists_of(np.zeros((1, 1025), np.uint8), [1])
    with pytest.raises(KernelInputError, match=r"codes have 1025 dimensions.*Give most_dims of at"):
        asking(lists, np.zeros((1, 1025)), [[0]])


@pytest.fixture
def plans(monkeypatch):
    """Makes plans of small buffers, with changes; returns thresholds, sizes and counts of each."""
    launches = []

    def use(**changes):
        monkeypatch.setattr(nearest_codes, "LEAST_CAPACITY", 8)
        monkeypatch.setattr(nearest_codes, "LEAST_EVERY", 4)
        make = Selection.of
        monkeypatch.setattr(Selection, "of", lambda *given: replace(make(*given), **changes))

        def noted(lists, asked, thresholds, capacity):
            ranks, counts = append_near(lists, asked, thresholds, capacity)
            launches.append((thresholds.tolist(), capacity, counts.tolist()))
            return ranks, counts

        monkeypatch.setattr(nearest_codes, "append_near", noted)
        return launches

    return use


@pytest.mark.parametrize(
    ("changes", "asked_again"),
    [
        ({}, False),
        ({"rank": 1, "capacity": 64}, True),  # about four codes are up to the first of the sample
        ({"rank": 60, "capacity": 16}, True),  # most are, and more than fit
    ],
    ids=["good", "too few", "too many"],
)
def test_whatever_the_thresholds_the_nearest_are_found(rng, plans, changes, asked_again):
    lists, vectors = some_lists(rng)
    launches = plans(**changes)
    ranks = nearest_ranks(lists, asking(lists, vectors, VISITS), 7, width=320, memory=MEMORY)
    assert np.array_equal(places_of(ranks), first_places(lists, vectors, VISITS, 7))
    assert (len(launches) > 1) == asked_again
    thresholds, capacity, counts = launches[0]
    finite = np.array(thresholds) < EVERY_CODE
    assert finite.any()
    if changes.get("rank") == 1:
        assert (np.array(counts)[finite] < 7).any()
    elif asked_again:
        assert max(counts) > capacity


def test_equal_codes_overflow_no_buffer_and_the_first_are_found(plans):
    """A threshold is a place, too: of equal codes as many are up to it as of others."""
    lists = lists_of(np.full((300, 9), 77, np.uint8), [300])
    launches = plans(capacity=96)
    asked = asking(lists, np.zeros((2, 9)), [[0]] * 2)
    ranks = nearest_ranks(lists, asked, 9, width=300, memory=MEMORY)
    assert places_of(ranks).tolist() == [list(range(9))] * 2
    assert len(launches) == 1


@pytest.mark.slow
def test_codes_that_come_nearer_and_nearer_are_asked_for_with_larger_buffers(plans):
    """The worst order: what is in the buffer first is farthest."""
    codes = np.repeat(np.arange(199, -1, -1, dtype=np.uint8)[:, None], 3, axis=1)
    lists = lists_of(codes, [200], first=0.0, span=255.0)
    launches = plans(rank=49, capacity=16)
    asked = asking(lists, np.full((1, 3), 0.5), [[0]])
    ranks = nearest_ranks(lists, asked, 5, width=200, memory=MEMORY)
    assert places_of(ranks).tolist() == [[199, 198, 197, 196, 195]]
    capacities = [capacity for _, capacity, _ in launches]
    assert len(capacities) > 1
    assert capacities == [16, 64, 200][: len(capacities)]


def test_only_members_are_ranked_however_few(rng, plans):
    lists, vectors = some_lists(rng)
    mask = torch.zeros(33, dtype=torch.uint8)
    mask[[3, 20, 21]] = 1
    plans()
    asked = asking(lists, vectors, VISITS, mask.to(DEVICE))
    ranks = nearest_ranks(lists, asked, 12, width=320, memory=MEMORY)
    members = np.flatnonzero(np.isin(np.arange(321) // 10, [3, 20, 21]))
    expected = first_places(lists, vectors, VISITS, 12, members)
    assert np.array_equal(places_of(ranks), expected)


@pytest.mark.filterwarnings("ignore:All-NaN slice")  # as the interpreter has it of numpy
def test_queries_that_are_not_numbers_find_nothing(rng, plans):
    lists, _ = some_lists(rng)
    plans()
    asked = asking(lists, np.full((1, 9), np.nan), [[0, 3]])
    assert (nearest_ranks(lists, asked, 3, width=320, memory=MEMORY) == NONE).all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:invalid value encountered")
def test_a_query_finds_nothing_in_lists_of_others_though_its_distances_overflow(rng, plans):
    """Its digits stand in for those of queries that a tile lacks."""
    lists = lists_of(rng.integers(0, 256, (300, 9), dtype=np.uint8), [150, 150])
    plans(rank=1, capacity=64)
    vectors = np.array([[1e38] * 9, [0.0] * 9], np.float32)
    ranks = nearest_ranks(lists, asking(lists, vectors, [[0], [1]]), 7, width=150, memory=MEMORY)
    places = places_of(ranks)
    assert places[0].max() < 150
    assert places[1].min() >= 150


@pytest.mark.slow
def test_buffers_that_are_there_together_keep_to_the_memory_when_queries_are_asked_again(
    rng, plans, monkeypatch
):
    there, most, buffer = [], [], triton_lists._buffer

    def noted(num_queries, columns, device):
        made = buffer(num_queries, columns, device)
        there.append(weakref.ref(made))
        most.append(sum(8 * each().numel() for each in there if each() is not None))
        return made

    monkeypatch.setattr(triton_lists, "_buffer", noted)
    launches = plans(rank=1, capacity=64)
    lists, vectors = some_lists(rng)
    memory = 8 * 320
    nearest_ranks(lists, asking(lists, vectors, VISITS), 7, width=320, memory=memory)
    assert max(capacity for _, capacity, _ in launches) == 320
    assert max(most) <= memory


def test_buffers_keep_to_the_memory(rng, plans, monkeypatch):
    sizes, buffer = [], triton_lists._buffer

    def noted(num_queries, columns, device):
        sizes.append(8 * num_queries * columns)
        return buffer(num_queries, columns, device)

    monkeypatch.setattr(triton_lists, "_buffer", noted)
    plans()
    lists, vectors = some_lists(rng)
    asked = asking(lists, vectors, VISITS)
    whole = nearest_ranks(lists, asked, 3, width=320, memory=MEMORY)
    plan = Selection.of(3, 320, 2, MEMORY)
    assert max(sizes) == 8 * 5 * max(plan.sampled, plan.capacity)
    sizes.clear()
    memory = 2 * 8 * max(plan.sampled, plan.capacity)
    parts = nearest_ranks(lists, asked, 3, width=320, memory=memory)
    assert torch.equal(parts, whole)
    assert len(sizes) == 6
    assert max(sizes) <= memory


@pytest.mark.parametrize("memory", [2**33, 2**40])
@pytest.mark.parametrize("width", [10, 3000, 1_400_000, 2**31 + 5])
def test_no_block_has_more_elements_than_32_bits_count(width, memory):
    plan = Selection.of(256, width, 64, memory)
    rows = plan.blocks(3_000_000)
    assert (rows[0].start, rows[-1].stop >= 3_000_000) == (0, True)
    assert all(before.stop == after.start for before, after in pairwise(rows))
    # else Triton compiles the kernel anew for addresses that are no multiples of 16 bytes
    assert all(each.start * 4 % 16 == 0 for each in rows)
    largest = (rows[0].stop - rows[0].start) * max(plan.sampled, plan.capacity)
    assert largest < 2**31
    assert largest * 8 <= memory


def test_a_query_takes_a_small_part_of_all_its_distances():
    plan = Selection.of(256, 1_400_000, 64, 2**33)
    assert 8 * (plan.sampled + plan.capacity) < 4 * 1_400_000 / 40
