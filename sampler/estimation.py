"""Posterior records from an index: a retrieved head, summed exactly, and a sampled tail.

What retrieval missed can still be drawn in the tail, so recall costs variance and never bias.
A pixel in a corner has one legal center per image: a small dictionary that is always summed whole.
"""

from operator import itemgetter

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from patchindex import BorderSignature, PosteriorRecord
from patchindex.kernels import GroupMembers, rescore_groups, rescore_record, scan_groups
from sampler.coherence import anchor_grid, candidates_around, needed_anchors
from sampler.corners import corner_record
from sampler.image_tail import ImageDraws, image_tail
from sampler.patch_tail import patch_tail, truncated
from sampler.query import Query
from sampler.tail import uniform_draws

# Pixels an eighth of the window or one pixel from a searched one see mostly the same cells.
PIXELS_PER_ANCHOR = 4
# A tail in which about so many patches share the weight needs no head.
ENOUGH_DRAWS = 1000
# Lists with a larger share of a dictionary than 1 / LONGEST_SHARE are of plain patches: a tail
# meets so many equal ones that they need no head, and they would take most of the time.
LONGEST_SHARE, LONGEST_LIST = 1000, 10_000


def estimate_by_images(
    query: Query, draws: ImageDraws, pilot: ImageDraws, *, k: int, nprobe: int
) -> PosteriorRecord:
    """The estimate of every pixel with a tail of whole images; fields are [b, h, w].

    Only pixels whose weight is on few patches are searched. That is judged by a pilot: images drawn
    apart from the tail, because a choice by the tail's own draws would bias it.
    """
    pixels = query.index.images.tensor
    totals = scan_groups(pixels, draws.groups, query.y, query.sigma, query.geometry)
    shape = totals.sum_w.shape[1:]
    totals = totals.map(lambda sums: sums.flatten(1, 3))
    corners, corner_sums = corner_record(query)
    needed = needs_head(query, draws, pilot)
    needed.view(-1)[corners] = False
    places = torch.arange(needed.numel()).reshape(needed.shape)
    record = image_tail(totals, GroupMembers.none(query.y.shape[1]), draws)
    stride = max(2, query.geometry.patch_size // PIXELS_PER_ANCHOR)
    for number, signature in enumerate(query.geometry.signatures):
        wanted = cut(needed, signature)
        if not wanted.any():
            continue
        at = cut(places, signature)[wanted]
        windows = query.windows(number)
        ids = head_ids(query, number, windows, wanted, k=k, nprobe=nprobe, stride=stride)
        head, members = rescore_groups(
            pixels, windows[wanted], ids, query.geometry, signature,
            sigma=query.sigma, group_of=draws.group_of,
        )  # fmt: skip
        part = totals.map(itemgetter((slice(None), at)))
        record = record.replaced(at, head.merge(image_tail(part, members, draws)))
    record = record.replaced(corners, corner_sums)
    return record.map(lambda sums: sums.unflatten(0, shape))


def needs_head(query: Query, draws: ImageDraws, pilot: ImageDraws) -> Bool[Tensor, "b h w"]:
    """Pixels of whose weight the tail will probably see too few patches."""
    pixels = query.index.images.tensor
    sums = PosteriorRecord.merged_over(
        scan_groups(pixels, pilot.groups, query.y, query.sigma, query.geometry)
    )
    effective_draws = sums.sum_w**2 / sums.sum_w2
    return effective_draws * (draws.groups.numel() / pilot.groups.numel()) < ENOUGH_DRAWS


def estimate_by_patches(
    query: Query, *, k: int, nprobe: int, tail: int, entropy: list[int]
) -> PosteriorRecord:
    """The estimate of every pixel with a tail of single patches, or none; fields are [b, h, w]."""
    b, (height, width) = len(query.y), query.y.shape[2:]
    places = torch.arange(b * height * width).reshape(b, height, width)
    record = PosteriorRecord.empty((places.numel(),), query.y.shape[1])
    corners, corner_sums = corner_record(query)
    for number, signature in enumerate(query.geometry.signatures):
        at = cut(places, signature).flatten()
        if torch.isin(at[0], corners):
            continue
        candidates, windows = query.candidates(number), query.windows(number)
        everything = torch.ones(windows.shape[:3], dtype=torch.bool)
        ids = head_ids(query, number, windows, everything, k=k, nprobe=nprobe)
        queries = windows.flatten(0, 2).contiguous()
        part = rescore_record(
            candidates.pixels, queries, ids, query.geometry, signature, sigma=query.sigma
        )
        if tail:
            rng = np.random.default_rng([*entropy, number])
            num_draws = min(tail, candidates.num_patches)
            drawn = uniform_draws(query.members, signature, query.geometry, num_draws, rng)
            part = part.merge(
                patch_tail(candidates, queries, query.sigma, ids, torch.from_numpy(drawn))
            )
        else:
            part = truncated(part, (ids >= 0).sum(-1) == candidates.num_patches)
        record = record.replaced(at, part)
    record = record.replaced(corners, corner_sums)
    return record.map(lambda sums: sums.unflatten(0, (b, height, width)))


def head_ids(
    query: Query,
    number: int,
    windows: Float[Tensor, "b rows cols c s s"],
    wanted: Bool[Tensor, "b rows cols"],
    *,
    k: int,
    nprobe: int,
    stride: int = 1,
) -> Int[Tensor, "q m"]:
    """Patches to sum one by one for each wanted pixel: found for it, or for pixels around it.

    Args:
        stride: pixels from one searched pixel to the next.
    """
    patch_size, signature = query.geometry.patch_size, query.geometry.signatures[number]
    grid = anchor_grid(signature, stride)
    searched = needed_anchors(wanted, grid)
    k = min(k, query.candidates(number).num_patches)
    found = torch.full((*searched.shape, k), -1)
    found[searched] = query.index.search(
        patch_size,
        number,
        windows[:, grid.row_places][:, :, grid.col_places][searched].flatten(1),
        k,
        nprobe=nprobe,
        label=query.label,
        longest_list=max(LONGEST_LIST, query.candidates(number).num_patches // LONGEST_SHARE),
    )
    return candidates_around(found, wanted, grid, query.geometry)


def cut(sums: Tensor, signature: BorderSignature) -> Tensor:
    """The part [b, rows, cols, ...] of a field [b, h, w, ...] that has this signature."""
    rows, cols = signature.rows.pixels, signature.cols.pixels
    return sums[:, rows.start : rows.stop, cols.start : cols.stop]
