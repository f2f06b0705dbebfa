"""The tail's kernels for GPUs, in Triton's interpreter, against torch and the papers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from reference import pareto_shape

from patchindex import PosteriorRecord
from patchindex.kernels import GroupMembers, GroupSums, PairGroups
from patchindex.records import RecordRows
from sampler.estimator.intervals import pareto_k_hat
from sampler.estimator.tail import HeadInTail, PairDraws, squared_errors_variance, with_tail

triton_tail = pytest.importorskip("sampler.estimator.triton_tail")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NUM_PIXELS, NUM_STATES, PIXEL_SPREAD = 50, 2, 0.6


def made(rng: np.random.Generator, num_groups: int, channels: int, num_queries: int):
    """Sums of groups, a head of all pixels, and members of some groups, with cases at the end."""

    def drawn(*shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.uniform(0.1, 1.0, shape))

    log_max = 40 * drawn(num_groups, num_queries)
    log_max[1, 0] = -torch.inf  # a group without weight
    log_max[:, 1] = -torch.inf  # and a query without any
    weight = drawn(num_groups, num_queries).where(log_max > -torch.inf, 0.0)
    totals = GroupSums(
        log_max=log_max, sum_w=weight, sum_w2=weight**2 / 2,
        sum_wc=weight[..., None] * (2 * drawn(num_groups, num_queries, channels) - 1),
    )  # fmt: skip
    head_w = drawn(NUM_PIXELS)
    head = PosteriorRecord.exact(
        log_max=30 * drawn(NUM_PIXELS), sum_w=head_w, sum_w2=head_w**2,
        sum_wc=drawn(NUM_PIXELS, channels), num_scored=torch.from_numpy(rng.integers(9, size=50)),
    )  # fmt: skip
    head.log_max[7] = -torch.inf  # a pixel without a head
    head.sum_w[7] = head.sum_w2[7] = 0
    head.sum_wc[7] = 0
    places = torch.from_numpy(rng.permutation(NUM_PIXELS)[:num_queries])
    queries = torch.from_numpy(rng.integers(2, num_queries, 40))
    groups = torch.from_numpy(rng.integers(0, num_groups, 40))
    groups[0], queries[0] = 1, 0  # all that a group has
    share = drawn(40) / 60
    members = GroupMembers(
        query=places[queries],
        group=groups,
        log_weights=(log_max[groups, queries] + (weight[groups, queries] * share).log())
        .where(log_max[groups, queries] > -torch.inf, -50.0)
        .float(),
        centers=(2 * drawn(40, channels) - 1).float(),
    )
    gone = replace(members, query=torch.full_like(members.query, NUM_PIXELS))
    return totals, head, GroupMembers.joined([members, gone]), places


@pytest.mark.parametrize(("num_groups", "channels", "num_queries"), [(32, 1, 34), (40, 3, 36)])
def test_head_and_tail_are_those_of_torch(rng, num_groups, channels, num_queries) -> None:
    totals, head, members, places = made(rng, num_groups, channels, num_queries)
    groups = PairGroups.whole_images(torch.arange(num_groups * 3).reshape(num_groups, 3), 4, 4)
    draws = PairDraws(groups=groups, inverse_probability=17.5)
    num_met = torch.from_numpy(rng.integers(1, 99, num_queries))
    position = torch.full((NUM_PIXELS + 1,), num_queries)
    position[places] = torch.arange(num_queries)
    expected, expected_errors = with_tail(
        head.at(places), totals, members.of_queries(position), draws,
        num_scored=num_met, pixel_spread=PIXEL_SPREAD,
    )  # fmt: skip
    device = torch.device(DEVICE)
    rows = RecordRows.room(NUM_PIXELS, channels, device)
    rows.sums.fill_(-7.0)
    rows.counts.fill_(-7)
    there = replace(members, **{n: getattr(members, n).to(device) for n in members.__slots__})
    errors = triton_tail.put_with_tail(
        rows, places.to(device), head.map(lambda field: field.to(device)),
        GroupSums(**{name: getattr(totals, name).to(device) for name in totals.__slots__}),
        HeadInTail.of(there, NUM_PIXELS), draws,
        num_met=num_met.to(device), pixel_spread=PIXEL_SPREAD, num_states=NUM_STATES,
    )  # fmt: skip
    found = RecordRows(sums=rows.sums.cpu(), counts=rows.counts.cpu())
    for name in PosteriorRecord.__slots__:
        torch.testing.assert_close(
            getattr(found.record.at(places), name), getattr(expected, name),
            rtol=3e-7 if name == "var_wc" else 1e-9, atol=1e-12, equal_nan=True,
            msg=lambda text, name=name: f"{name}: {text}",
        )  # fmt: skip
    untouched = torch.ones(NUM_PIXELS, dtype=torch.bool)
    untouched[places] = False
    assert (found.sums[:, untouched] == -7).all()
    of_states = expected_errors.unflatten(1, (NUM_STATES, -1)).movedim(1, 0)
    torch.testing.assert_close(errors.cpu(), of_states, rtol=1e-9, atol=1e-15, equal_nan=True)
    assert squared_errors_variance(errors.flatten(2)).shape == (NUM_STATES,)


@pytest.mark.parametrize("num_draws", [30, 64])
@pytest.mark.parametrize("spread", [0.3, 2.0, 5.0])
def test_shapes_are_those_of_the_papers_formulas(rng, num_draws, spread) -> None:
    weights = np.exp(spread * rng.normal(size=(7, num_draws)))
    found = torch.empty(9, dtype=torch.float64, device=DEVICE)
    places = torch.tensor([3, 1, 0, 8, 2, 7, 4], device=DEVICE)
    triton_tail.put_k_hats(found, places, torch.from_numpy(weights).to(DEVICE))
    expected = [pareto_shape.k_hat(row.tolist()) for row in weights]
    np.testing.assert_allclose(found[places].cpu(), expected, rtol=1e-6)


def test_shapes_that_cannot_be_known_are_unsafe_and_bounded_ones_safe() -> None:
    weights = torch.zeros(6, 64, dtype=torch.float64)
    weights[1] = 3.0  # all alike
    weights[2, :3] = 1.0  # few with all the weight
    weights[3] = torch.linspace(1, 2, 64, dtype=torch.float64)
    weights[5] = torch.logspace(-150, 150, 64, dtype=torch.float64)
    weights[4] = 1e-300 * torch.linspace(1, 2, 64, dtype=torch.float64) ** 9
    found = torch.empty(6, dtype=torch.float64, device=DEVICE)
    triton_tail.put_k_hats(found, torch.arange(6, device=DEVICE), weights.to(DEVICE))
    torch.testing.assert_close(found.cpu(), pareto_k_hat(weights), rtol=1e-9, atol=0)
    few = torch.ones(2, 20, dtype=torch.float64, device=DEVICE)
    triton_tail.put_k_hats(found, torch.arange(2, device=DEVICE), few)
    assert found[:2].isposinf().all()
