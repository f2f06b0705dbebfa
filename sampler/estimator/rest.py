"""What an estimate adds to the head: sums of draws, or of all patches where these are few."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchindex import PosteriorRecord
from patchindex.kernels import GroupSums, PatchSums, exact_scan, scan_groups
from patchindex.kernels.backend import on_device
from patchindex.records import RecordRows
from sampler.estimator.plan import Kin, Plan
from sampler.estimator.query import Query
from sampler.estimator.regions import Region
from sampler.estimator.tail import (
    HeadInTail,
    PairDraws,
    squared_errors_variance,
    truncated,
    with_tail,
)

# of regions that are alike; None where nothing is drawn
Tails = list[GroupSums | None]


def scan_tails(query: Query, plan: Plan) -> Tails:
    """The sums of each group, of the pixels of all regions that are alike; fields are [g, q]."""
    return [
        scan_drawn(query, [(each.region, each.draws) for each in kin.regions if each.draws])
        for kin in plan.kin
    ]


def scan_drawn(query: Query, drawn: Sequence[tuple[Region, PairDraws]]) -> GroupSums | None:
    """The sums of each group for the regions' pixels; fields are [g, q]."""
    if not drawn:
        return None
    scans = [region.scan_of(draws.groups) for region, draws in drawn]
    return scan_groups(query.pixels, query.y, query.sigma, scans)


def put_rest(
    rows: RecordRows, query: Query, all_kin: Sequence[Kin], head: PatchSums | None, tails: Tails
) -> Float[Tensor, " b"]:
    """Leave the records of the pixels of all regions at their places.

    Returns:
        The variances of the states' squared errors, summed over pixels and channels.
    """
    variance = torch.zeros(len(query.y), dtype=torch.float64, device=query.y.device)
    sorted_head: HeadInTail | None = None
    for kin, tail in zip(all_kin, tails, strict=True):
        at, first = kin.places(query.y[:, 0].shape), kin.regions[0]
        if first.summed:
            rows.put(at, _scan_all(query, first.region))
            continue
        assert head is not None  # noqa: S101 - what is not summed is searched
        if first.draws is None or tail is None:
            num_all = len(query.label_indices) * first.region.num_centers
            own = head.record.at(at)
            rows.put(at, truncated(own, own.num_scored == num_all))
            continue
        if on_device(query.y):
            sorted_head = sorted_head or HeadInTail.of(head.members, len(head.nearest))
            errors = _put_fused(rows, query, kin, at, head.record, tail, sorted_head)
        else:
            errors = _put_drawn(rows, query, kin, at, head, tail)
        spread = squared_errors_variance(errors).unflatten(0, (-1, len(query.y)))
        variance = variance + spread.sum(0)
    return variance


def _put_drawn(  # noqa: PLR0917 - the same as `_put_fused`
    rows: RecordRows,
    query: Query,
    kin: Kin,
    at: Int[Tensor, " q"],
    head: PatchSums,
    totals: GroupSums,
) -> Float[Tensor, "states g m"]:
    """The records of head and tail at their places; the errors that each draw adds."""
    # one place more, for members that count for no pixel
    position = torch.full((len(head.nearest) + 1,), len(at), device=at.device)
    position[at] = torch.arange(len(at), device=at.device)
    num_states = len(query.y)
    record, errors = with_tail(
        head.record.at(at), totals, head.members.of_queries(position), _draws_of(kin),
        num_scored=kin.num_scored(num_states), pixel_spread=query.index.images.pixel_spread,
    )  # fmt: skip
    rows.put(at, record)
    of_states = errors.unflatten(1, (num_states * len(kin.regions), -1))
    by_state: Float[Tensor, "states g m"] = of_states.movedim(1, 0).flatten(2)
    return by_state


def _put_fused(  # noqa: PLR0917 - what `put_rest` has
    rows: RecordRows,
    query: Query,
    kin: Kin,
    at: Int[Tensor, " q"],
    head: PosteriorRecord,
    totals: GroupSums,
    head_in_tail: HeadInTail,
) -> Float[Tensor, "states g m"]:
    """The same in a few launches."""
    from sampler.estimator.triton_tail import put_with_tail  # noqa: PLC0415 - imports Triton

    num_states = len(query.y)
    errors = put_with_tail(
        rows, at, head, totals, head_in_tail, _draws_of(kin),
        num_met=kin.num_scored(num_states), pixel_spread=query.index.images.pixel_spread,
        num_states=num_states * len(kin.regions),
    )  # fmt: skip
    return errors.flatten(2)


def _draws_of(kin: Kin) -> PairDraws:
    """Of the first region: of the others there are as many."""
    draws = kin.regions[0].draws
    assert draws is not None  # noqa: S101 - of kin that are drawn
    return draws


def _scan_all(query: Query, region: Region) -> PosteriorRecord:
    """The sums over all patches for the region's pixels [q]."""
    pixels, y = region.seen_of(query.admitted_pixels), region.seen_of(query.y)
    sums = exact_scan(pixels, y, query.sigma, region.geometry, precision=query.precision)
    return sums.map(lambda field: region.own(field).flatten(0, 2))
