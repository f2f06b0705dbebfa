"""The tail of an estimate on a GPU: what `tail.with_tail` computes, in a few launches."""

from contextlib import nullcontext

import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchindex import PosteriorRecord
from patchindex.kernels import GroupSums
from patchindex.records import RecordRows
from sampler.estimator.intervals import FEWEST_EXCEEDANCES, grid_points, tail_length
from sampler.estimator.tail import HeadInTail, PairDraws
from sampler.estimator.triton_tail_kernel import K_HAT, pareto_kernel, tail_kernel

QUERIES = 16  # of a program, beside one another for each group
FITTED_QUERIES = 32  # of a program that fits shapes


def put_with_tail(  # noqa: PLR0917 - those of `with_tail` behind where to put it
    rows: RecordRows,
    places: Int[Tensor, " q"],
    head: PosteriorRecord,
    totals: GroupSums,
    head_in_tail: HeadInTail,
    draws: PairDraws,
    *,
    num_met: Int[Tensor, " q"],
    pixel_spread: float,
    num_states: int,
) -> Float[Tensor, "states g m c"]:
    """Leave the record of head and tail in the rows at these places; see `tail.with_tail`.

    Returns:
        The errors that each draw adds, of which `tail.squared_errors_variance` is made.
    """
    members = head_in_tail.members
    (num_groups, num_queries), c = totals.sum_w.shape, totals.sum_wc.shape[-1]
    device, num_images = totals.sum_w.device, draws.groups.images.numel()
    num_pairs = round(draws.inverse_probability * num_images)
    rests = torch.empty(num_queries, num_groups, dtype=torch.float64, device=device)
    errors = torch.empty(
        num_states, num_groups, num_queries // num_states, c, dtype=torch.float64, device=device
    )
    k_hats = rows.sums[K_HAT.value]
    with torch.cuda.device(device) if totals.sum_w.is_cuda else nullcontext():
        tail_kernel[(-(-num_queries // QUERIES),)](
            totals.log_max.contiguous(), totals.sum_w.contiguous(), totals.sum_w2.contiguous(),
            totals.sum_wc.movedim(-1, 0).contiguous(),
            head.log_max.contiguous(), head.sum_w.contiguous(), head.sum_w2.contiguous(),
            head.sum_wc, head.num_scored.contiguous(),
            head_in_tail.order, head_in_tail.firsts,
            members.group, members.log_weights, members.centers,
            places, num_met, rows.sums, rows.counts, rests, errors,
            num_queries, rows.sums.shape[1], num_queries // num_states, *head.sum_wc.stride(),
            num_pairs, num_images, pixel_spread,
            GROUPS=num_groups, LANES=1 << (num_groups - 1).bit_length(), C=c, QUERIES=QUERIES,
            num_warps=8, enable_fp_fusion=False,
        )  # fmt: skip
        put_k_hats(k_hats, places, rests)
    return errors


def put_k_hats(
    k_hats: Float[Tensor, " pixels"], places: Int[Tensor, " q"], weights: Float[Tensor, "q m"]
) -> None:
    """The Pareto shape of each query's weights, at its place; see `intervals.pareto_k_hat`."""
    tail = tail_length(weights.shape[1])
    if tail < FEWEST_EXCEEDANCES:
        k_hats.index_fill_(0, places, torch.inf)
        return
    largest = weights.topk(tail + 1, dim=1).values
    pareto_kernel[(-(-len(places) // FITTED_QUERIES),)](
        largest, places, k_hats, len(places),
        TAIL=tail, POINTS=grid_points(tail), QUERIES=FITTED_QUERIES,
        num_warps=1, enable_fp_fusion=False,
    )  # fmt: skip
