r"""The estimator: an exactly summed head plus a tail sampled with known probability.

With head H and m of the dictionary's n patches drawn uniformly without replacement, of which those
in H are dropped,

    Z = \sum_H w + (n / m) \sum_{tail} w,      N = \sum_H w c + (n / m) \sum_{tail} w c

are unbiased whatever H is; mean = N / Z. Anchors: DEANN (arXiv 2107.02736) and vAttention
(arXiv 2510.05688).
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int, UInt8
from numpy import ndarray
from torch import Tensor

from patchindex import BorderSignature, PatchGeometry, PosteriorRecord
from patchindex.kernels import centers_of, rescore, rescore_shared

QUERIES_PER_CHUNK = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """The dictionary of one border signature.

    Attributes:
        pixels: all training images.
        num_patches: patches in the dictionary, of those images that the label admits.
    """

    pixels: UInt8[Tensor, "n c h w"]
    geometry: PatchGeometry
    signature: BorderSignature
    num_patches: int


def head_and_tail(
    candidates: Candidates,
    queries: Float[Tensor, "q c s s"],
    sigma: float,
    head_ids: Int[Tensor, "q k"],
    draws: Int[ndarray, " m"],
) -> PosteriorRecord:
    """The estimated record of each query window.

    Args:
        head_ids: retrieved patches of each query, without repeats; -1 where there is none.
        draws: ids drawn uniformly without replacement, ascending, the same for all queries; with
            none at all, the record is that of the head, its variance and share unknown.
    """
    drawn = torch.from_numpy(draws)
    chunks = zip(queries.split(QUERIES_PER_CHUNK), head_ids.split(QUERIES_PER_CHUNK), strict=True)
    records = []
    for windows, ids in chunks:
        record = head_record(candidates, windows, sigma, ids)
        if len(drawn):
            record = record.merge(tail_record(candidates, windows, sigma, ids, drawn))
        else:
            record = truncated(record, (ids >= 0).sum(-1) == candidates.num_patches)
        records.append(record)
    return PosteriorRecord.joined(records)


def head_record(
    candidates: Candidates,
    windows: Float[Tensor, "q c s s"],
    sigma: float,
    ids: Int[Tensor, "q k"],
) -> PosteriorRecord:
    """The exact sums over retrieved patches."""
    found = ids >= 0
    legal = torch.where(found, ids, first_legal_id(candidates))
    dist_sq = rescore(
        candidates.pixels, windows, legal, candidates.geometry, candidates.signature
    ).double()
    log_weights = (-dist_sq / (2 * sigma**2)).masked_fill(~found, -torch.inf)
    log_max, weights = shifted_weights(log_weights)
    centers = centers_of(candidates.pixels, legal).double()
    return PosteriorRecord.exact(
        log_max=log_max,
        sum_w=weights.sum(-1),
        sum_wc=torch.einsum("qk,qkc->qc", weights, centers),
        sum_w2=weights.square().sum(-1),
        num_scored=found.sum(-1),
    )


def tail_record(
    candidates: Candidates,
    windows: Float[Tensor, "q c s s"],
    sigma: float,
    head_ids: Int[Tensor, "q k"],
    drawn: Int[Tensor, " m"],
) -> PosteriorRecord:
    """Unbiased sums over all patches outside the head, and the variance that drawing adds."""
    dist_sq = rescore_shared(
        candidates.pixels, windows, drawn, candidates.geometry, candidates.signature
    ).double()
    in_head = members_of_head(head_ids, drawn)
    log_max, weights = shifted_weights((-dist_sq / (2 * sigma**2)).masked_fill(in_head, -torch.inf))
    centers = centers_of(candidates.pixels, drawn).double()
    moments = torch.cat([torch.ones_like(centers[:, :1]), centers, centers**2], dim=1)
    c = centers.shape[1]
    sum_w, sum_wc = (weights @ moments[:, : 1 + c]).tensor_split([1], dim=1)
    sum_w2, sum_w2c, sum_w2c2 = (weights**2 @ moments).tensor_split([1, 1 + c], dim=1)

    m, inverse = len(drawn), candidates.num_patches / len(drawn)
    # variance of a total under simple random sampling without replacement, dropped draws as zeros
    spread = inverse**2 * m / max(m - 1, 1) * (1 - 1 / inverse)
    return PosteriorRecord(
        log_max=log_max,
        sum_w=inverse * sum_w[:, 0],
        sum_wc=inverse * sum_wc,
        sum_w2=inverse * sum_w2[:, 0],
        sum_head=torch.zeros_like(log_max) if m < candidates.num_patches else sum_w[:, 0],
        var_w=spread * (sum_w2 - sum_w**2 / m)[:, 0],
        cov_wc=spread * (sum_w2c - sum_w * sum_wc / m),
        var_wc=spread * (sum_w2c2 - sum_wc**2 / m),
        num_scored=(~in_head).sum(-1),
    )


def truncated(record: PosteriorRecord, complete: Bool[Tensor, " q"]) -> PosteriorRecord:
    """A head without a tail: its error and its share are unknown unless it is the dictionary."""
    unknown = torch.where(complete, 0.0, torch.nan).double()
    return replace(
        record,
        sum_head=record.sum_head + unknown,
        var_w=record.var_w + unknown,
        cov_wc=record.cov_wc + unknown[:, None],
        var_wc=record.var_wc + unknown[:, None],
    )


def members_of_head(head_ids: Int[Tensor, "q k"], drawn: Int[Tensor, " m"]) -> Bool[Tensor, "q m"]:
    """Which draws are in the head of which query; `drawn` ascends."""
    place = torch.searchsorted(drawn, head_ids).clamp(max=len(drawn) - 1)
    hit = drawn[place] == head_ids
    # a miss scatters False where a hit may scatter True: add up instead of overwriting
    counts = torch.zeros(len(head_ids), len(drawn), dtype=torch.int8)
    return counts.scatter_add_(1, place, hit.to(torch.int8)).bool()


def shifted_weights(
    log_weights: Float[Tensor, "q k"],
) -> tuple[Float[Tensor, " q"], Float[Tensor, "q k"]]:
    """(log_max, exp(log_weights - log_max)); zeros where there is nothing at all."""
    log_max = log_weights.amax(-1)
    shift = torch.where(torch.isneginf(log_max), 0.0, log_max)
    return log_max, (log_weights - shift[:, None]).exp()


def first_legal_id(candidates: Candidates) -> int:
    """Some id of the dictionary, to stand in where the search found fewer than k."""
    rows, cols = candidates.signature.rows.centers, candidates.signature.cols.centers
    return rows.start * candidates.geometry.width + cols.start
