"""Posterior records from an index: a retrieved head, summed exactly, and a sampled tail.

What retrieval missed can still be drawn in the tail, so recall costs variance and never bias.
A pixel in a corner has one legal center per image: a small dictionary that is always summed whole.
"""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from patchindex import PosteriorRecord
from patchindex.kernels import GroupMembers, rescore_groups, rescore_record, scan_groups
from sampler.estimator.coherence import with_neighbors
from sampler.estimator.corners import corner_record
from sampler.estimator.image_tail import ImageDraws, with_image_tail
from sampler.estimator.patch_tail import patch_tail, truncated
from sampler.estimator.query import Query, cut
from sampler.estimator.tail import uniform_draws

# A tail in which about so many patches share the weight needs no head.
ENOUGH_DRAWS = 10_000


def estimate_by_images(
    query: Query,
    draws: ImageDraws,
    pilot: ImageDraws,
    *,
    k: int,
    nprobe: int,
    pixel_spread: float,
) -> PosteriorRecord:
    """The estimate of every pixel with a tail of whole images; fields are [b, h, w].

    Only pixels whose weight is on few patches are searched. That is judged by a pilot: images drawn
    apart from the tail, because a choice by the tail's own draws would bias it.
    """
    pixels, device = query.pixels, query.y.device
    totals = scan_groups(pixels, draws.groups, query.y, query.sigma, query.geometry)
    shape, channels = totals.sum_w.shape[1:], query.y.shape[1]
    corners, corner_sums = corner_record(query)
    needed = needs_head(query, draws, pilot)
    needed.view(-1)[corners] = False
    places = torch.arange(needed.numel(), device=device).reshape(needed.shape)
    head = PosteriorRecord.empty((needed.numel(),), channels, device)
    members = [GroupMembers.none(channels, device)]
    for number, signature in enumerate(query.geometry.signatures):
        wanted = cut(needed, signature)
        if not wanted.any():
            continue
        windows = query.windows(number)[wanted]
        ids = query.found_ids(number, windows, k=k, nprobe=nprobe)
        ids = with_neighbors(ids, wanted, signature, query.geometry)
        found, in_groups = rescore_groups(
            pixels, windows, ids, query.geometry, signature,
            sigma=query.sigma, group_of=draws.group_of,
        )  # fmt: skip
        at = cut(places, signature)[wanted]
        query.note(number, at, windows, ids)
        head = head.replaced(at, found)
        members.append(replace(in_groups, query=at[in_groups.query]))
    record = with_image_tail(
        head,
        totals.map(lambda sums: sums.flatten(1, 3)),
        GroupMembers.joined(members),
        draws,
        pixel_spread=pixel_spread,
    ).replaced(corners, corner_sums)
    return record.map(lambda sums: sums.unflatten(0, shape))


def needs_head(query: Query, draws: ImageDraws, pilot: ImageDraws) -> Bool[Tensor, "b h w"]:
    """Pixels of whose weight the tail will probably see too few patches."""
    sums = PosteriorRecord.merged_over(
        scan_groups(query.pixels, pilot.groups, query.y, query.sigma, query.geometry)
    )
    effective_draws = sums.sum_w**2 / sums.sum_w2
    return effective_draws * (draws.groups.numel() / pilot.groups.numel()) < ENOUGH_DRAWS


def estimate_by_patches(
    query: Query, *, k: int, nprobe: int, tail: int, entropy: list[int]
) -> PosteriorRecord:
    """The estimate of every pixel with a tail of single patches, or none; fields are [b, h, w]."""
    (b, channels, height, width), device = query.y.shape, query.y.device
    places = torch.arange(b * height * width, device=device).reshape(b, height, width)
    record = PosteriorRecord.empty((places.numel(),), channels, device)
    corners, corner_sums = corner_record(query)
    for number, signature in enumerate(query.geometry.signatures):
        at = cut(places, signature).flatten()
        if torch.isin(at[0], corners):
            continue
        candidates = query.candidates(number)
        queries = query.windows(number).flatten(0, 2).contiguous()
        ids = query.found_ids(number, queries, k=k, nprobe=nprobe, plain_too=not tail)
        query.note(number, at, queries, ids)
        part = rescore_record(
            candidates.pixels, queries, ids, query.geometry, signature, sigma=query.sigma
        )
        if tail:
            rng = np.random.default_rng([*entropy, number])
            num_draws = min(tail, candidates.num_patches)
            drawn = uniform_draws(query.members, signature, query.geometry, num_draws, rng)
            draws = torch.from_numpy(drawn).to(device)
            part = part.merge(patch_tail(candidates, queries, query.sigma, ids, draws))
        else:
            part = truncated(part, (ids >= 0).sum(-1) == candidates.num_patches)
        record = record.replaced(at, part)
    record = record.replaced(corners, corner_sums)
    return record.map(lambda sums: sums.unflatten(0, places.shape))
