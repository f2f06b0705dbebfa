"""Merging records: associative, order-free, and never nan."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference.samples import PROPERTY

from patchindex import PosteriorRecord

# log weights from -1e6 to 1e3 lie far outside what exp can hold, and far from each other
LOG_WEIGHTS = st.floats(-1e6, 1e3) | st.floats(-3, 3) | st.just(-np.inf)
PATCHES = st.lists(st.tuples(LOG_WEIGHTS, st.floats(-1, 1)), max_size=5)


def record_of(patches: list[tuple[float, float]]) -> PosteriorRecord:
    """The record of one query's patches (log weight, center), summed directly."""
    log_weights = torch.tensor([[entry[0] for entry in patches]], dtype=torch.float64)
    centers = torch.tensor([[entry[1] for entry in patches]], dtype=torch.float64)
    num_scored = torch.tensor([len(patches)])
    log_max = log_weights.max() if patches else torch.tensor(-torch.inf, dtype=torch.float64)
    if log_max.isneginf():
        return dataclasses.replace(PosteriorRecord.empty((1,), 1), num_scored=num_scored)
    weights = (log_weights - log_max).exp()
    return PosteriorRecord.exact(
        log_max=log_max[None],
        sum_w=weights.sum(dim=1),
        sum_wc=(weights * centers).sum(dim=1)[:, None],
        sum_w2=weights.square().sum(dim=1),
        num_scored=num_scored,
    )


def random_record(seed: int, *, log_scale: float) -> PosteriorRecord:
    """A record of three queries and two channels with sampling variances."""
    rng = np.random.default_rng(seed)
    fields = {
        field.name: torch.from_numpy(rng.random((3, 2) if "wc" in field.name else 3))
        for field in dataclasses.fields(PosteriorRecord)
    }
    log_max = torch.from_numpy(rng.normal(0, log_scale, 3))
    return PosteriorRecord(
        **fields
        | {"log_max": log_max, "num_scored": torch.arange(3), "rounds": torch.arange(3) % 2}
    )


def assert_same(a: PosteriorRecord, b: PosteriorRecord) -> None:
    for field in dataclasses.fields(PosteriorRecord):
        # a few float64 additions and one exp apart
        torch.testing.assert_close(
            getattr(a, field.name), getattr(b, field.name), rtol=1e-12, atol=1e-12, msg=field.name
        )


@PROPERTY
@given(st.lists(PATCHES, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_any_split_and_any_order_give_the_record_of_all_patches(parts, random) -> None:
    together = record_of(list(itertools.chain.from_iterable(parts)))
    random.shuffle(parts)
    merged = PosteriorRecord.merged([record_of(part) for part in parts])
    assert_same(merged, together)
    assert not any(
        getattr(merged, field.name).isnan().any() for field in dataclasses.fields(PosteriorRecord)
    )


@PROPERTY
@given(st.integers(0, 1000), st.sampled_from([0.0, 1.0, 30.0, 1e4]))
def test_merging_is_associative_and_commutative(seed: int, log_scale: float) -> None:
    a, b, c = (random_record(3 * seed + i, log_scale=log_scale) for i in range(3))
    assert_same(a.merge(b).merge(c), a.merge(b.merge(c)))
    assert_same(a.merge(b), b.merge(a))


@PROPERTY
@given(st.integers(0, 1000), st.sampled_from([0.0, 1.0, 1e4]))
def test_the_empty_record_changes_nothing(seed: int, log_scale: float) -> None:
    record = random_record(seed, log_scale=log_scale)
    empty = PosteriorRecord.empty((3,), 2)
    assert_same(record.merge(empty), record)
    assert_same(empty.merge(record), record)


def test_nothing_merged_with_nothing_is_nothing() -> None:
    empty = PosteriorRecord.empty((2, 3), 1)
    merged = PosteriorRecord.merged([empty, empty, empty])
    assert merged.log_max.isneginf().all()
    assert_same(merged, empty)


@pytest.mark.parametrize("gap", [800.0, 1e5, 1e9])
def test_a_record_far_below_the_largest_vanishes_without_nan(gap: float) -> None:
    high, low = record_of([(0.0, 0.5)]), record_of([(-gap, -1.0)])
    for merged in (high.merge(low), low.merge(high)):
        assert merged.sum_w.tolist() == [1.0]
        assert merged.sum_wc.tolist() == [[0.5]]
        assert merged.num_scored.tolist() == [2]


def test_the_scale_of_the_weights_leaves_mean_and_relative_variance_alone() -> None:
    record = random_record(7, log_scale=1.0)
    # the same weights expressed relative to a maximum that is 2 higher
    shrink = float(np.exp(-2.0))
    rescaled = dataclasses.replace(
        record,
        log_max=record.log_max + 2,
        **{name: getattr(record, name) * shrink for name in ("sum_w", "sum_wc", "sum_head")},
        **{
            name: getattr(record, name) * shrink**2
            for name in ("sum_w2", "var_w", "cov_wc", "var_wc")
        },
    )
    other = random_record(8, log_scale=1.0)
    other = dataclasses.replace(other, log_max=record.log_max + 2)
    assert_same(record.merge(other), rescaled.merge(other))


def test_an_exact_record_has_no_sampling_variance_and_is_all_head() -> None:
    record = record_of([(0.0, 1.0), (-1.0, 0.5)])
    assert record.sum_head.equal(record.sum_w)
    for name in ("var_w", "cov_wc", "var_wc"):
        assert not getattr(record, name).any()


def test_left_out_patches_stay_marked_through_a_merge() -> None:
    record = random_record(1, log_scale=1.0)
    truncated = dataclasses.replace(record, var_w=record.var_w * torch.nan)
    assert truncated.merge(random_record(2, log_scale=1.0)).var_w.isnan().all()


def test_stacked_and_joined_records_are_their_parts_in_order() -> None:
    a, b = random_record(1, log_scale=1.0), random_record(2, log_scale=1.0)
    stacked, joined = PosteriorRecord.stacked([a, b]), PosteriorRecord.joined([a, b])
    assert stacked.sum_wc.shape == (2, 3, 2)
    assert joined.sum_wc.shape == (6, 2)
    for i, part in enumerate((a, b)):
        assert_same(stacked.map(lambda sums, i=i: sums[i]), part)
        assert_same(joined.map(lambda sums, i=i: sums[3 * i : 3 * i + 3]), part)


def test_replaced_queries_come_from_the_other_record_in_order() -> None:
    record, other = random_record(1, log_scale=1.0), random_record(2, log_scale=1.0)
    at = torch.tensor([2, 0])
    found = record.replaced(at, other.map(lambda sums: sums[:2]))
    assert_same(found.map(lambda sums: sums[at]), other.map(lambda sums: sums[:2]))
    assert_same(found.map(lambda sums: sums[1:2]), record.map(lambda sums: sums[1:2]))


def test_merging_over_an_axis_merges_its_records() -> None:
    records = [random_record(seed, log_scale=1.0) for seed in range(3)]
    merged = PosteriorRecord.merged_over(PosteriorRecord.stacked(records))
    assert_same(merged, PosteriorRecord.merged(records))


@PROPERTY
@given(num=st.integers(1, 40), level=st.integers(0, 5), seed=st.integers(0, 1000))
def test_aligned_branches_merge_to_the_same_bits(num: int, level: int, seed: int) -> None:
    """Whoever merges runs of a power of two of records, merging those gives the tree's own bits."""
    records = [random_record(seed + i, log_scale=5) for i in range(num)]
    whole = PosteriorRecord.merged_tree(iter(records))
    step = 2**level
    branches = [
        PosteriorRecord.merged_tree(records[first : first + step]) for first in range(0, num, step)
    ]
    cut = PosteriorRecord.merged_tree(branches)
    for field in dataclasses.fields(PosteriorRecord):
        assert torch.equal(getattr(cut, field.name), getattr(whole, field.name)), field.name
    assert_same(whole, PosteriorRecord.merged(records))
