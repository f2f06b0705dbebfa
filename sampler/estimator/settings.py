"""The settings of retrieval, and whether they are in range."""

from math import inf
from typing import TypedDict

from patchindex import PatchIndex
from sampler.errors import SamplerConfigError
from sampler.estimator.parts import most_parts
from sampler.estimator.query import NeighborSearch, index_geometry
from sampler.noise import check_seed


class RetrievalSettings(TypedDict, total=False):
    """Keyword arguments of `Retrieval`, which documents them and holds the defaults."""

    k: int
    tail: int
    nprobe: int
    tolerance: float | None
    seed: int
    strict_scales: bool
    parts: int


def check_numbers(*, k: int, tail: int, nprobe: int, tolerance: float | None, seed: int) -> None:
    """Raise SamplerConfigError unless the settings are in range."""
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


def check_index(index: NeighborSearch, *, k: int, parts: int) -> None:
    """Raise SamplerConfigError unless an index has so many patches, and so many parts."""
    geometries = [index_geometry(index, scale) for scale in index.scales]
    per_image = max(s.num_centers for geometry in geometries for s in geometry.signatures)
    num_patches = len(index.images) * per_image
    if k > num_patches:
        raise SamplerConfigError(
            f"k is {k}, but a pixel has {num_patches} patches to retrieve from. "
            f"Give 1 to {num_patches}; to sum them all, use the exact machine."
        )
    most = most_parts(index) if isinstance(index, PatchIndex) else 1
    if not 1 <= parts <= most:
        raise SamplerConfigError(
            f"parts is {parts}, but this index has {most} shards. Give 1 to {most}."
        )
