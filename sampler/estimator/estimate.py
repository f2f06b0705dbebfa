"""The retrieval estimator: a head of near patches, summed exactly, and a sampled tail.

What retrieval missed can still be drawn in the tail, so recall costs variance and never bias.
A pixel in a corner has one legal center per image: a small dictionary that is always summed whole.

With a tolerance, pixels whose error is above it are estimated again with more effort. Each round
draws afresh: the draws by which an estimate was found wanting say nothing about the next
one. A first estimate is accepted by the error that its own draws tell, so that a pixel they flatter
passes; intervals were therefore checked against the exact scan.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from math import inf
from operator import itemgetter
from typing import TypedDict

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from patchindex import PosteriorRecord
from patchindex.geometry import nearest_scale
from patchindex.images import to_unit
from patchindex.kernels import GroupMembers, exact_scan, sum_patches
from sampler.errors import SamplerConfigError
from sampler.estimator.head import with_neighbors
from sampler.estimator.query import (
    PIXELS_PER_CHUNK,
    NeighborSearch,
    Query,
    corner_record,
    cut,
    index_geometry,
)
from sampler.estimator.source_search import settle_sources
from sampler.estimator.sources import SourceCollector
from sampler.estimator.tail import (
    FEWEST_GROUPS,
    ImageDraws,
    draw_images,
    patch_tail,
    truncated,
    uniform_draws,
    with_image_tail,
)
from sampler.noise import check_seed

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
    totals = exact_scan(pixels, query.y, query.sigma, query.geometry, draws.groups)
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
        found, in_groups = sum_patches(
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
        exact_scan(query.pixels, query.y, query.sigma, query.geometry, pilot.groups)
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
        part, _ = sum_patches(
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


# above it neither an estimate nor its standard error can be believed (PSIS, arXiv 1507.02646)
LARGEST_K_HAT = 0.7

Estimate = Callable[[Float[Tensor, "b c h w"]], PosteriorRecord]


def to_tolerance(
    y: Float[Tensor, "b c h w"], rounds: Sequence[Estimate], tolerance: float
) -> PosteriorRecord:
    """The record of every pixel by the first round that is accepted; fields are [b, h, w].

    Args:
        y: states.
        rounds: in the order of their effort; each is asked only for states of which some pixel is
            still not accepted, and the last is accepted whatever it says.
        tolerance: largest standard error of the posterior mean in any channel.
    """
    record = rounds[0](y)
    for number, estimate in enumerate(rounds[1:], 1):
        wanting = ~accepted(record, tolerance)
        states = wanting.flatten(1).any(1).nonzero()[:, 0]
        if not len(states):
            break
        better = estimate(y[states])
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


logger = logging.getLogger(__name__)

# tail * patch_size / CELLS_PER_IMAGE images are drawn: more where an image has fewer legal patches
# and takes less time.
CELLS_PER_IMAGE = 32
PILOT_SHARE = 8  # of the tail's images
MORE_EFFORT = 4  # times the probes and draws, where a first estimate is not within tolerance


class RetrievalSettings(TypedDict, total=False):
    """Keyword arguments of `Retrieval`, which documents them and holds the defaults."""

    k: int
    tail: int
    nprobe: int
    tolerance: float | None
    seed: int
    strict_scales: bool


@dataclass(frozen=True)
class Retrieval:
    """Top-k retrieval plus a corrected tail over an index.

    Attributes:
        k: patches retrieved for each pixel that is searched; its neighbors share them.
        tail: how much to draw at random besides: tail * patch_size / 32 whole images, or so many
            single patches where that is fewer than 32 images. 0 leaves the rest out, which is
            biased and for comparison only.
        nprobe: inverted lists visited per searched pixel; pixels whose weight is spread over very
            many patches are not searched.
        tolerance: standard error of the posterior mean that is good enough. Pixels above it, or
            with k-hat of 0.7 or more, are estimated again with four times the probes and draws,
            and where that is not enough, their state is scanned exactly. None accepts all.
        seed: of the tail's draws; equal seeds give equal results.
        strict_scales: refuse a patch size that the index lacks instead of using the nearest.

    Raises:
        SamplerConfigError: a setting out of range.
    """

    index: NeighborSearch
    k: int = 256
    tail: int = 4096
    nprobe: int = 16
    tolerance: float | None = None
    seed: int = 0
    strict_scales: bool = False
    _announced: set[int] = field(default_factory=set, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_settings(self)
        if self.tail == 0:
            logger.warning(
                "tail is 0: the mean over the %d retrieved patches alone is biased, most of all "
                "at high noise. Use it for comparison only.",
                self.k,
            )

    def record(
        self,
        y: Float[Tensor, "b c h w"],
        sigma: float,
        patch_size: int,
        label: int | None,
        sources: SourceCollector | None = None,
    ) -> PosteriorRecord:
        """The estimated sums over the dictionary of each pixel; fields are [b, h, w].

        Args:
            sources: where the heaviest patches are noted that the first estimate retrieves.
        """
        geometry = index_geometry(self.index, self.served_scales([patch_size])[0])
        query = Query(
            index=self.index, y=y, sigma=sigma, geometry=geometry, label=label, sources=sources
        )
        return PosteriorRecord.joined(
            [self._settled(part) for part in query.split(PIXELS_PER_CHUNK)]
        )

    def _settled(self, query: Query) -> PosteriorRecord:
        """The sums of some states to the tolerance, and the sources as shares of these sums."""
        if self.tolerance is None:
            record = self._estimate(query)
        else:
            again = replace(query, sources=None)
            rounds: tuple[Estimate, ...] = (
                lambda _: self._estimate(query),
                lambda states: self._estimate(replace(again, y=states), effort=1),
                lambda states: self._exact(replace(again, y=states)),
            )
            record = to_tolerance(query.y, rounds, self.tolerance)
        settle_sources(query, record)
        return record

    def _exact(self, query: Query) -> PosteriorRecord:
        devices = query.index.images.device.at(query.y.device).scanning
        return exact_scan(
            query.admitted_pixels, query.y, query.sigma, query.geometry, devices=devices
        )

    def _estimate(self, query: Query, effort: int = 0) -> PosteriorRecord:
        """One estimate, by MORE_EFFORT to the power of `effort` times the probes and draws."""
        members, patch_size = query.members, query.geometry.patch_size
        tail = self.tail * MORE_EFFORT**effort
        num_images = tail * patch_size // CELLS_PER_IMAGE
        if num_images >= max(len(members), FEWEST_GROUPS):  # every image would be drawn
            return self._exact(query)
        entropy = self._entropy(query.sigma, patch_size, query.label, effort)
        search = {"k": self.k, "nprobe": self.nprobe * MORE_EFFORT**effort}
        if num_images < FEWEST_GROUPS:
            return estimate_by_patches(query, tail=tail, entropy=entropy, **search)
        rng = np.random.default_rng(entropy)
        draws = draw_images(members, self._brightness, num_images, rng)
        pilot = draw_images(
            members, self._brightness, num_images // PILOT_SHARE, rng, fewest_groups=1
        )
        device = query.y.device
        return estimate_by_images(
            query,
            draws.to(device),
            pilot.to(device),
            pixel_spread=self._pixel_spread,
            **search,
        )

    def served_scales(self, patch_sizes: Sequence[int]) -> tuple[int, ...]:
        """The patch sizes that are searched for these: themselves, or the nearest in the index.

        Raises:
            SamplerConfigError: one is not in the index and `strict_scales` is set.
            GeometryError: one is no patch size at all.
        """
        scales = self.index.scales
        lacking = sorted(set(patch_sizes) - set(scales))
        for patch_size in lacking:
            index_geometry(self.index, patch_size)
        nearest = {patch_size: nearest_scale(scales, patch_size) for patch_size in lacking}
        if lacking and self.strict_scales:
            raise SamplerConfigError(
                f"scale {lacking[0]} is not in the index, which has {list(scales)}. "
                f"Build an index with it, or allow the nearest scale, {nearest[lacking[0]]}."
            )
        if new := nearest.keys() - self._announced:
            self._announced.update(new)
            told = [
                f"scale {size} (scale {nearest[size]} serves in its place)" for size in sorted(new)
            ]
            logger.warning("the index lacks %s", ", ".join(told))
        return tuple(nearest.get(patch_size, patch_size) for patch_size in patch_sizes)

    @cached_property
    def _brightness(self) -> Float[np.ndarray, " n"]:
        """Mean pixel value of every image."""
        means: Float[np.ndarray, " n"] = self.index.images.pixels.mean(axis=(1, 2, 3))
        return means

    @cached_property
    def _pixel_spread(self) -> float:
        """Standard deviation of the training pixels in [-1, 1] units, from a thousand images."""
        pixels = self.index.images.pixels
        return float(to_unit(np.asarray(pixels[:: 1 + len(pixels) // 1000])).std())

    def _entropy(self, sigma: float, patch_size: int, label: int | None, effort: int) -> list[int]:
        """What the draws depend on: not the batch, so that a sample is the same in any batch."""
        step = int(np.float64(sigma).view(np.uint64))
        return [self.seed, step, patch_size, 0 if label is None else label + 1, effort]


def check_settings(settings: Retrieval) -> None:
    """Raise SamplerConfigError unless k, tail, nprobe, tolerance and seed are in range."""
    check_numbers(
        k=settings.k, tail=settings.tail, nprobe=settings.nprobe, tolerance=settings.tolerance,
        seed=settings.seed,
    )  # fmt: skip
    geometries = [index_geometry(settings.index, scale) for scale in settings.index.scales]
    per_image = max(s.num_centers for geometry in geometries for s in geometry.signatures)
    num_patches = len(settings.index.images) * per_image
    if settings.k > num_patches:
        raise SamplerConfigError(
            f"k is {settings.k}, but a pixel has {num_patches} patches to retrieve from. "
            f"Give 1 to {num_patches}; to sum them all, use the exact machine."
        )


def check_numbers(*, k: int, tail: int, nprobe: int, tolerance: float | None, seed: int) -> None:
    """Raise SamplerConfigError unless the numbers can be settings of some retrieval."""
    if k < 1:
        raise SamplerConfigError(f"k is {k}. Give at least 1 patch to retrieve.")
    if tail < 0 or tail == 1:
        raise SamplerConfigError(
            f"tail is {tail}. Give at least 2 draws, without which there is no standard "
            "error, or 0 for the biased average of the retrieved patches alone."
        )
    if nprobe < 1:
        raise SamplerConfigError(f"nprobe is {nprobe}. Give at least 1 inverted list.")
    if tolerance is not None and not 0 <= tolerance < inf:
        raise SamplerConfigError(
            f"tolerance is {tolerance}. Give a standard error in [-1, 1] units, such as "
            "0.02; 0 scans exactly."
        )
    check_seed(seed)
