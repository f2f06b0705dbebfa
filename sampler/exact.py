"""Posterior records summed over whole dictionaries: every legal patch of every image."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from patchindex import Boundary, ImageSet, PatchGeometry, PosteriorRecord
from patchindex.device_memory import images_on
from patchindex.kernels import scan
from sampler.errors import SamplerConfigError
from sampler.estimator.query import PIXELS_PER_CHUNK, NeighborSearch, Query
from sampler.estimator.source_search import settle_sources
from sampler.estimator.sources import SourceCollector


@dataclass(frozen=True, slots=True)
class ExactScan:
    """Every legal patch of every image, found by the scan kernel.

    Attributes:
        finder: an index of the same images, which names sources; the sums do without it.
    """

    images: ImageSet
    boundary: Boundary
    equivariant: bool
    finder: NeighborSearch | None = None

    def record(
        self,
        y: Float[Tensor, "b c h w"],
        sigma: float,
        patch_size: int,
        label: int | None,
        sources: SourceCollector | None = None,
    ) -> PosteriorRecord:
        """The sums over the dictionary of each pixel; fields are [b, h, w].

        Raises:
            SamplerConfigError: sources are asked for, and no index can find them.
        """
        geometry = self._geometry(patch_size)
        pixels = images_on(self.images, y.device, label)
        if sources is None:
            return scan(pixels, y, sigma, geometry)
        query = Query(
            index=checked_finder(self.finder, [patch_size]),
            y=y, sigma=sigma, geometry=geometry, label=label, sources=sources,
        )  # fmt: skip
        records = []
        for part in query.split(PIXELS_PER_CHUNK):
            records.append(scan(pixels, part.y, sigma, geometry))
            settle_sources(part, records[-1])
        return PosteriorRecord.joined(records)

    def served_scales(self, patch_sizes: Sequence[int]) -> tuple[int, ...]:
        """The patch sizes themselves.

        Raises:
            GeometryError: one that the images do not admit.
        """
        return tuple(self._geometry(patch_size).patch_size for patch_size in patch_sizes)

    def _geometry(self, patch_size: int) -> PatchGeometry:
        return PatchGeometry(
            height=self.images.height,
            width=self.images.width,
            patch_size=patch_size,
            boundary=self.boundary,
            equivariant=self.equivariant,
        )


def checked_finder(finder: NeighborSearch | None, patch_sizes: Sequence[int]) -> NeighborSearch:
    """The index; raise SamplerConfigError unless it can find patches of all these sizes."""
    if finder is None:
        raise SamplerConfigError(
            "sources can only be named with an index of all translated patches, which this machine "
            "has not. Build one with `patchindex build` and give it with --index, for an els "
            "machine."
        )
    missing = sorted(set(patch_sizes) - set(finder.scales))
    if missing:
        raise SamplerConfigError(
            f"sources at scale {', '.join(map(str, missing))} cannot be named: the index has "
            f"{list(finder.scales)}. Build an index with it, or give --scales of the index."
        )
    return finder
