"""Posterior records summed over whole dictionaries: every legal patch of every image."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from patchindex import Boundary, ImageSet, PatchGeometry, PosteriorRecord
from patchindex.kernels import scan
from sampler.errors import SamplerConfigError
from sampler.estimator.query import NeighborSearch, Query
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
        geometry = PatchGeometry(
            height=self.images.height,
            width=self.images.width,
            patch_size=patch_size,
            boundary=self.boundary,
            equivariant=self.equivariant,
        )
        if sources is not None:
            check_finder(self.finder, patch_size)
        pixels = self.images.with_label(label).tensor
        record = scan(pixels, y, sigma, geometry)
        if self.finder is not None and sources is not None:
            query = Query(
                index=self.finder, y=y, sigma=sigma, geometry=geometry, label=label, sources=sources
            )
            settle_sources(query, record)
        return record


def check_finder(finder: NeighborSearch | None, patch_size: int) -> None:
    """Raise SamplerConfigError unless it can find patches of this size."""
    if finder is None:
        raise SamplerConfigError(
            "sources can only be named with an index of all translated patches, which this machine "
            "has not. Build one with `patchindex build` and give it with --index, for an els "
            "machine."
        )
    if patch_size not in finder.scales:
        raise SamplerConfigError(
            f"sources at scale {patch_size} cannot be named: the index has "
            f"{list(finder.scales)}. Build an index with it, or give --scales of the index."
        )
