"""The posterior from an index: a retrieved head, a sampled tail, and how far they can be off."""

from sampler.estimator.estimate import (
    Estimate,
    Found,
    Retrieval,
    Wanted,
    nearest_of,
)
from sampler.estimator.head import Head
from sampler.estimator.image_shares import ImageShares
from sampler.estimator.kept_head import DAMAGED_ARRAYS, CarriedHead, KeptHead
from sampler.estimator.parts import parts_for
from sampler.estimator.patch_tail import is_in_head, patch_tail, uniform_draws
from sampler.estimator.query import (
    PIXELS_PER_CHUNK,
    Candidates,
    NeighborSearch,
    Query,
    index_geometry,
)
from sampler.estimator.settings import RetrievalSettings, check_numbers
from sampler.estimator.sources import Sources, exact_sources, find_sources, image_sources
from sampler.estimator.tolerance import LARGEST_K_HAT, within_tolerance

__all__ = [
    "DAMAGED_ARRAYS",
    "LARGEST_K_HAT",
    "PIXELS_PER_CHUNK",
    "Candidates",
    "CarriedHead",
    "Estimate",
    "Found",
    "Head",
    "ImageShares",
    "KeptHead",
    "NeighborSearch",
    "Query",
    "Retrieval",
    "RetrievalSettings",
    "Sources",
    "Wanted",
    "check_numbers",
    "exact_sources",
    "find_sources",
    "image_sources",
    "index_geometry",
    "is_in_head",
    "nearest_of",
    "parts_for",
    "patch_tail",
    "uniform_draws",
    "within_tolerance",
]
