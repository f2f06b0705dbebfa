"""The patches nearest to one window, and the mass of its whole dictionary.

Small dictionaries are compared patch by patch, and any other on request. Otherwise an index finds
the patches, their distances are computed again from the images, and patches drawn at random stand
for the mass of those that were not found, as in `sampler.estimator.patch_tail`.
"""

from dataclasses import dataclass
from functools import partial
from math import inf, log, sqrt

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from patchindex.errors import IndexConfigError
from patchindex.kernels import patch_distances, regather, seen_cells, sum_patches
from sampler.choices import LOOKUP_K, LOOKUP_NPROBE
from sampler.errors import SamplerConfigError
from sampler.estimator import Candidates, Query, is_in_head, patch_tail, uniform_draws
from sampler.studies.recall import TIE, dictionary_chunks

MOST_SOURCES = 10_000
# kernels round the squared distance of equal windows to less, and 8-bit windows that differ at all
# are 6e-5 apart
ROUNDING = 1e-9
PATCHES_PER_BLOCK = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupConfig:
    """How nearest patches are looked for, and among which.

    Attributes:
        k: patches asked for.
        label: only patches of images of this class.
        exact: compare every legal patch.
        whole: dictionaries of at most so many patches are always compared patch by patch.
        nprobe: inverted lists visited.
        candidates: patches taken from them whose distances are computed; at least 4 k.
        draws: patches drawn at random for the mass of those not found.
        seed: of the draws.

    Raises:
        SamplerConfigError: k is out of range.
        IndexConfigError: nprobe is.
    """

    k: int = LOOKUP_K
    label: int | None = None
    exact: bool = False
    whole: int = 2_000_000
    nprobe: int = LOOKUP_NPROBE
    candidates: int = 4096
    draws: int = 2**18
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.k <= MOST_SOURCES:
            raise SamplerConfigError(f"k is {self.k}. Give 1 to {MOST_SOURCES:,} source patches.")
        if self.nprobe < 1:
            raise IndexConfigError(f"nprobe is {self.nprobe}. Give at least 1 inverted list.")

    @property
    def kept(self) -> int:
        """Nearest patches that are kept: more than asked for, so that ties can be counted."""
        return max(4 * self.k, self.candidates)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NearestPatches:
    """What was found near a window.

    Attributes:
        ids, dist_sq: by distance, then by id.
        num_nearest: patches at the smallest distance, ties included, as far as found.
        log_mass: log of the sum of the weights of the whole dictionary; without noise, where the
            nearest patches share all weight, log(num_nearest).
        mass_error: relative standard error of the mass; 0 where every patch was summed.
        complete: every legal patch was compared, so that no nearer one exists.
    """

    ids: Int[ndarray, " m"]
    dist_sq: Float[ndarray, " m"]
    num_nearest: int
    log_mass: float
    mass_error: float
    complete: bool


def nearest_patches(
    query: Query, number: int, window: Float[Tensor, "1 c s s"], config: LookupConfig
) -> NearestPatches:
    """The patches of one signature's dictionary that are nearest to a window, and its mass.

    Args:
        query: of one state; without noise its sigma is 0.
        number: position of the window's border signature.
    """
    if not config.exact and query.candidates(number).num_patches > config.whole:
        ids = searched(query, number, window, config)
        if ids.shape[1] >= config.k:
            return weighed(query, number, window, ids, config)
    return compared(query, number, window, config)


def compared(
    query: Query, number: int, window: Float[Tensor, "1 c s s"], config: LookupConfig
) -> NearestPatches:
    """The nearest of all patches, each of which is compared."""
    candidates = query.candidates(number)
    ids, dist_sq = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float64)
    num_nearest, log_mass = 0, -inf
    for chunk in dictionary_chunks(query.label_indices, query.geometry, candidates.signature):
        ids_here = torch.from_numpy(chunk).to(window.device)
        found = patch_distances(
            candidates.pixels, window, ids_here, query.geometry, candidates.signature
        )[0].double()
        found[found < ROUNDING] = 0.0
        found_sq = found.cpu().numpy()
        num_nearest = count_nearest(dist_sq, num_nearest, found_sq)
        ids, dist_sq = merged((ids, dist_sq), (chunk, found_sq), config.kept)
        if query.sigma:
            log_mass = np.logaddexp(log_mass, mass_of(found, query.sigma))
    ids, dist_sq = measured(candidates, window, ids)
    return NearestPatches(
        ids=ids,
        dist_sq=dist_sq,
        num_nearest=num_nearest,
        log_mass=float(log_mass) if query.sigma else log(num_nearest),
        mass_error=0.0,
        complete=True,
    )


def searched(
    query: Query, number: int, window: Float[Tensor, "1 c s s"], config: LookupConfig
) -> Int[Tensor, "1 k"]:
    """The patches that the index finds."""
    ids = query.index.search(
        query.geometry.patch_size,
        number,
        window.flatten(1),
        min(config.kept, query.candidates(number).num_patches),
        nprobe=config.nprobe,
        label=query.label,
    )
    return ids[:, ids[0] >= 0]


def weighed(
    query: Query,
    number: int,
    window: Float[Tensor, "1 c s s"],
    ids: Int[Tensor, "1 k"],
    config: LookupConfig,
) -> NearestPatches:
    """These patches as the nearest, and the mass of the dictionary they are of."""
    found, dist_sq = measured(query.candidates(number), window, ids[0].cpu().numpy())
    num_nearest = int((dist_sq <= tie_reach(dist_sq[0])).sum())
    log_mass, mass_error = log(num_nearest), 0.0
    if query.sigma:
        log_mass, mass_error = estimated_mass(query, number, window, ids, config)
    elif num_nearest == config.kept:
        log_mass, mass_error = estimated_ties(query, number, window, ids, config)
    return NearestPatches(
        ids=found,
        dist_sq=dist_sq,
        num_nearest=num_nearest,
        log_mass=log_mass,
        mass_error=mass_error,
        complete=False,
    )


def estimated_mass(
    query: Query,
    number: int,
    window: Float[Tensor, "1 c s s"],
    ids: Int[Tensor, "1 k"],
    config: LookupConfig,
) -> tuple[float, float]:
    """Log of the dictionary's mass, and its relative standard error: those found, and draws."""
    candidates, geometry = query.candidates(number), query.geometry
    drawn = draw(query, number, config)
    head = sum_patches(
        candidates.pixels, window, ids, geometry, candidates.signature, sigma=query.sigma
    )
    record = head.record.merge(patch_tail(candidates, window, query.sigma, ids, drawn))
    sum_w = float(record.sum_w)
    return float(record.log_max) + log(sum_w), sqrt(float(record.var_w)) / sum_w


def estimated_ties(
    query: Query,
    number: int,
    window: Float[Tensor, "1 c s s"],
    nearest: Int[Tensor, "1 k"],
    config: LookupConfig,
) -> tuple[float, float]:
    """The same without noise, where more patches than could be kept are all nearest."""
    candidates, drawn = query.candidates(number), draw(query, number, config)
    rescored = partial(
        patch_distances,
        candidates.pixels,
        window,
        geometry=query.geometry,
        signature=candidates.signature,
    )
    reach = tie_reach(float(rescored(nearest[0]).max()))
    hits = (rescored(drawn) <= reach) & ~is_in_head(nearest, drawn)
    share, num_patches = float(hits.double().mean()), candidates.num_patches
    total = nearest.shape[1] + share * num_patches
    unseen = 1 - len(drawn) / num_patches
    return log(total), num_patches * sqrt(unseen * share * (1 - share) / len(drawn)) / total


def draw(query: Query, number: int, config: LookupConfig) -> Int[Tensor, " m"]:
    """Ids of patches drawn uniformly from a dictionary."""
    candidates = query.candidates(number)
    drawn = uniform_draws(
        query.label_indices,
        candidates.signature,
        query.geometry,
        min(config.draws, candidates.num_patches),
        np.random.default_rng([config.seed, number]),
    )
    return torch.from_numpy(drawn).to(query.y.device)


def merged(
    nearest: tuple[Int[ndarray, " m"], Float[ndarray, " m"]],
    chunk: tuple[Int[ndarray, " p"], Float[ndarray, " p"]],
    kept: int,
) -> tuple[Int[ndarray, " n"], Float[ndarray, " n"]]:
    """The nearest of both by distance, then by id; those of the chunk have larger ids."""
    (ids, dist_sq), (chunk_ids, chunk_dist_sq) = nearest, chunk
    # of patches that tie with the farthest kept, those with the smallest ids stay
    near = chunk_dist_sq < (dist_sq[-1] if len(dist_sq) == kept else inf)
    ids = np.concatenate([ids, chunk_ids[near]])
    dist_sq = np.concatenate([dist_sq, chunk_dist_sq[near]])
    order = dist_sq.argsort(kind="stable")[:kept]
    return ids[order], dist_sq[order]


def count_nearest(
    dist_sq: Float[ndarray, " m"], num_nearest: int, chunk_dist_sq: Float[ndarray, " p"]
) -> int:
    """How many patches are nearest, once a chunk has been compared.

    Args:
        dist_sq: distances before the chunk, smallest first, of which num_nearest tie.
    """
    before, smallest = min(dist_sq, default=inf), float(chunk_dist_sq.min())
    reach = tie_reach(min(before, smallest))
    still_nearest = num_nearest if before <= reach else 0
    return still_nearest + int((chunk_dist_sq <= reach).sum())


def measured(
    candidates: Candidates, window: Float[Tensor, "1 c s s"], ids: Int[ndarray, " m"]
) -> tuple[Int[ndarray, " m"], Float[ndarray, " m"]]:
    """These patches by distance, then by id, and their squared distances in float64."""
    per_image = candidates.geometry.height * candidates.geometry.width
    images, position = np.unique(ids // per_image, return_inverse=True)
    # only the images needed: where windows wrap, all that are given are padded
    pixels = candidates.pixels[torch.from_numpy(images)].to(window.device)
    places = torch.from_numpy(position * per_image + ids % per_image).to(window.device)
    own = seen_cells(window, candidates.geometry, candidates.signature).double()
    parts = [
        (regather(pixels, part, candidates.signature).double() - own).square_().sum((-2, -1))
        for part in places.split(PATCHES_PER_BLOCK)
    ]
    dist_sq = torch.cat(parts).cpu().numpy()
    order = np.lexsort((ids, dist_sq))
    return ids[order], dist_sq[order]


def tie_reach(dist_sq: float) -> float:
    """The largest squared distance that counts as equal to this one."""
    return max((1 + TIE) * dist_sq, ROUNDING)


def mass_of(dist_sq: Float[Tensor, " p"], sigma: float) -> float:
    """Log of the sum of the weights at these distances."""
    nearest = float(dist_sq.min())
    weights = ((nearest - dist_sq) / (2 * sigma**2)).exp()
    return log(float(weights.sum())) - nearest / (2 * sigma**2)
