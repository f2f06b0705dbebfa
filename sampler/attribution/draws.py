"""One posterior of each picture from those of its noisy states: averages over draws of noise."""

from dataclasses import replace

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from patchindex.device import CPU
from sampler.estimator import ImageShares, Sources
from sampler.posterior import Posterior


def average_draws(posterior: Posterior, draws: int, num_sources: int) -> Posterior:
    """The posterior of each picture, averaged over the states that its draws of noise gave.

    Means, shares and weights are arithmetic means, so that they still sum to one. The effective
    sample size is 1 / the mean sum of squared weights, which is the harmonic mean. The standard
    error is the mean of those of the draws, an upper bound: they share what the tail draws.

    Args:
        posterior: of draws * b states, all draws of a picture behind each other; with sources.
        num_sources: patches to list for each pixel, of all that are listed in any draw.
    """
    sources = posterior.sources
    assert sources is not None  # noqa: S101 - whoever attributes has asked for them

    def mean(values: Tensor) -> Tensor:
        return _split(values, draws).double().mean(1).to(values.dtype)

    return replace(
        posterior,
        mean=mean(posterior.mean),
        log_mass=mean(posterior.log_mass),
        effective_sample_size=1 / mean(1 / posterior.effective_sample_size.to(CPU)),
        head_mass=mean(posterior.head_mass),
        standard_error=mean(posterior.standard_error),
        num_scored=_split(posterior.num_scored, draws).sum(1),
        k_hat=_split(posterior.k_hat, draws).amax(1),
        rounds=_split(posterior.rounds, draws).amax(1),
        mse_deviation=mean(posterior.mse_deviation),
        sources=average_sources(sources, draws, num_sources),
        head=None,
    )


def average_sources(sources: Sources, draws: int, num_sources: int) -> Sources:
    """The union of the draws' sources with the mean of their weights, the heaviest of each pixel.

    A patch that a draw does not list has no weight in it.
    """
    ids, weights = (
        rearrange(_split(part, draws), "b t h w m -> b h w (t m)")
        for part in (sources.ids, sources.weights)
    )
    ids, weights = _merged(ids, weights.double() / draws)
    listed = min(num_sources, ids.shape[-1])
    shares = sources.image_shares.to(CPU)
    wide = (*ids.shape[:-1], num_sources)
    top_ids, top_weights = torch.full(wide, -1), torch.zeros(wide)
    top_ids[..., :listed], top_weights[..., :listed] = ids[..., :listed], weights[..., :listed]
    return replace(
        sources,
        ids=top_ids,
        weights=top_weights,
        image_shares=ImageShares.summed(
            shares.num_states // draws, shares.state // draws, shares.image, shares.share / draws
        ),
    )


def _split(values: Tensor, draws: int) -> Tensor:
    """Pictures first, then their draws, on the processor."""
    return rearrange(values.to(CPU), "(b t) ... -> b t ...", t=draws)


def _merged(
    ids: Int[Tensor, "*places m"], weights: Float[Tensor, "*places m"]
) -> tuple[Int[Tensor, "*places m"], Float[Tensor, "*places m"]]:
    """Each id once with the sum of its weights, the heaviest first; -1 and 0 where there is none.

    Of equal weights the smaller id comes first, so that batches do not matter.
    """
    ordered, order = ids.sort(dim=-1, stable=True)
    is_new = torch.ones_like(ordered, dtype=torch.bool)
    is_new[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    group = is_new.long().cumsum(-1) - 1
    total = torch.zeros_like(weights).scatter_add_(-1, group, weights.gather(-1, order))
    named = torch.full_like(ids, -1).scatter_(-1, group, ordered)
    total, heaviest = total.sort(dim=-1, descending=True, stable=True)
    return named.gather(-1, heaviest).where(total > 0, -1), total
