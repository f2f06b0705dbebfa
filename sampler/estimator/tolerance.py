"""Tolerance: pixels whose error is too large are estimated again with more effort.

Each round draws afresh: the draws by which an estimate was found wanting say nothing about the next
one. A first estimate is accepted by the error that its own draws tell, so that a pixel they flatter
passes; intervals were therefore checked against the exact scan.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from operator import itemgetter

import torch
from jaxtyping import Bool
from torch import Tensor

from patchindex import PosteriorRecord
from sampler.estimator.estimate import Estimate, Retrieval
from sampler.estimator.query import Query

# above it neither an estimate nor its standard error can be believed (PSIS, arXiv 1507.02646)
LARGEST_K_HAT = 0.7

Round = Callable[[Query], PosteriorRecord]


def within_tolerance(query: Query, first: Estimate, retrieval: Retrieval) -> PosteriorRecord:
    """The first estimate, with pixels beyond the retrieval's tolerance estimated again.

    They are estimated with four times the probes and draws, and where that is not enough, their
    state is summed exactly.
    """
    if retrieval.tolerance is None:
        return first.record
    rounds: tuple[Round, ...] = (
        lambda part: retrieval.estimate(part, effort=1).record,
        Query.exact_record,
    )
    return to_tolerance(query, first.record, rounds, retrieval.tolerance)


def to_tolerance(
    query: Query, first: PosteriorRecord, rounds: Sequence[Round], tolerance: float
) -> PosteriorRecord:
    """The record of every pixel by the first round that is accepted; fields are [b, h, w].

    Args:
        first: the estimate of all pixels.
        rounds: further ones in the order of their effort; each is asked only for states of which
            some pixel is still not accepted, and the last is accepted whatever it says.
        tolerance: largest standard error of the posterior mean in any channel.
    """
    record = first
    for number, estimate in enumerate(rounds, 1):
        wanting = ~accepted(record, tolerance)
        states = wanting.flatten(1).any(1).nonzero()[:, 0]
        if not len(states):
            break
        better = estimate(replace(query, y=query.y[states]))
        better = replace(better, rounds=torch.full_like(better.rounds, number))
        taken = better.map(itemgetter(wanting[states]))
        at = wanting.flatten().nonzero()[:, 0]
        record = record.map(partial(torch.flatten, start_dim=0, end_dim=2)).replaced(at, taken)
        record = record.map(partial(torch.unflatten, dim=0, sizes=wanting.shape))
    return record


def accepted(record: PosteriorRecord, tolerance: float) -> Bool[Tensor, "b h w"]:
    """Pixels whose error is small, and known."""
    small = (record.standard_error <= tolerance).all(-1)
    return small & (record.k_hat < LARGEST_K_HAT)
