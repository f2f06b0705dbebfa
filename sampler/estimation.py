"""Posterior records from an index: a retrieved head, summed exactly, and a sampled tail.

What retrieval missed can still be drawn in the tail, so recall costs variance and never bias.
A pixel in a corner has one legal center per image: a small dictionary that is always summed whole.
"""

from functools import partial
from operator import itemgetter

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from patchindex import BorderSignature, PosteriorRecord
from patchindex.kernels import scan, scan_groups
from sampler.coherence import anchor_grid, candidates_around, needed_anchors
from sampler.head import Head, rescored_head
from sampler.image_tail import ImageDraws, image_tail
from sampler.patch_tail import patch_tail, truncated
from sampler.query import Query, index_geometry
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
    pixels_per_image = query.geometry.height * query.geometry.width
    shape = totals.sum_w.shape[1:]
    totals = totals.map(lambda sums: sums.flatten(1, 3))
    record = image_tail(totals, no_head(query), draws, pixels_per_image)
    needed = needs_head(query, draws, pilot)
    places = torch.arange(needed.numel()).reshape(needed.shape)
    stride = max(2, query.geometry.patch_size // PIXELS_PER_ANCHOR)
    for number, signature in enumerate(query.geometry.signatures):
        wanted = cut(needed, signature)
        if signature.num_centers == 1 or not wanted.any():
            continue
        at = cut(places, signature)[wanted]
        windows = query.windows(number)
        ids = head_ids(query, number, windows, wanted, k=k, nprobe=nprobe, stride=stride)[wanted]
        head = rescored_head(query.candidates(number), windows[wanted], query.sigma, ids)
        part = totals.map(itemgetter((slice(None), at)))
        rest = image_tail(part, head, draws, pixels_per_image)
        record = record.replaced(at, head.record().merge(rest))
    for signature, corner in corner_records(query):
        record = record.replaced(cut(places, signature).flatten(), corner)
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
    for number, signature in enumerate(query.geometry.signatures):
        if signature.num_centers == 1:
            continue
        candidates, windows = query.candidates(number), query.windows(number)
        everything = torch.ones(windows.shape[:3], dtype=torch.bool)
        ids = head_ids(query, number, windows, everything, k=k, nprobe=nprobe).flatten(0, 2)
        queries = windows.flatten(0, 2).contiguous()
        part = rescored_head(candidates, queries, query.sigma, ids).record()
        if tail:
            rng = np.random.default_rng([*entropy, number])
            num_draws = min(tail, candidates.num_patches)
            drawn = uniform_draws(query.members, signature, query.geometry, num_draws, rng)
            part = part.merge(
                patch_tail(candidates, queries, query.sigma, ids, torch.from_numpy(drawn))
            )
        else:
            part = truncated(part, (ids >= 0).sum(-1) == candidates.num_patches)
        record = record.replaced(cut(places, signature).flatten(), part)
    for signature, corner in corner_records(query):
        record = record.replaced(cut(places, signature).flatten(), corner)
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
) -> Int[Tensor, "b rows cols m"]:
    """Patches to sum one by one: those found for a pixel or for pixels around it.

    Args:
        wanted: pixels that need any; what others get is not said.
        stride: pixels from one searched pixel to the next.
    """
    patch_size, signature = query.geometry.patch_size, query.geometry.signatures[number]
    anchors = anchor_grid(signature, stride)
    searched = needed_anchors(wanted, anchors)
    k = min(k, query.candidates(number).num_patches)
    found = torch.full((*searched.shape, k), -1)
    found[searched] = query.index.search(
        patch_size,
        number,
        windows[:, anchors.rows][:, :, anchors.cols][searched].flatten(1),
        k,
        nprobe=nprobe,
        label=query.label,
        longest_list=max(LONGEST_LIST, query.candidates(number).num_patches // LONGEST_SHARE),
    )
    return candidates_around(found, anchors, signature, query.geometry)


def corner_records(query: Query) -> list[tuple[BorderSignature, PosteriorRecord]]:
    """Exact records [q] of the pixels that have one legal center per image."""
    corners = [s for s in query.geometry.signatures if s.num_centers == 1]
    if not corners:
        return []
    same_place = index_geometry(query.index, query.geometry.patch_size, equivariant=False)
    exact = scan(
        query.index.images.with_label(query.label).tensor, query.y, query.sigma, same_place
    )
    return [(corner, exact.map(partial(flat_cut, signature=corner))) for corner in corners]


def no_head(query: Query) -> Head:
    """Nothing summed one by one, for every pixel."""
    b, c, height, width = query.y.shape
    nothing = torch.zeros(b * height * width, 0)
    return Head(
        ids=nothing.long(), log_weights=nothing, centers=nothing[..., None].expand(-1, 0, c)
    )


def flat_cut(sums: Tensor, signature: BorderSignature) -> Tensor:
    """The same part with one axis for all its pixels."""
    return cut(sums, signature).flatten(0, 2)


def cut(sums: Tensor, signature: BorderSignature) -> Tensor:
    """The part [b, rows, cols, ...] of a field [b, h, w, ...] that has this signature."""
    rows, cols = signature.rows.pixels, signature.cols.pixels
    return sums[:, rows.start : rows.stop, cols.start : cols.stop]
