"""Posterior records summed over whole dictionaries: every legal patch of every image."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from patchindex import Boundary, ImageSet, PatchGeometry, PosteriorRecord
from patchindex.kernels import scan


@dataclass(frozen=True, slots=True)
class ExactScan:
    """Every legal patch of every image, found by the scan kernel."""

    images: ImageSet
    boundary: Boundary
    equivariant: bool

    def record(
        self, y: Float[Tensor, "b c h w"], sigma: float, patch_size: int, label: int | None
    ) -> PosteriorRecord:
        """The sums over the dictionary of each pixel; fields are [b, h, w]."""
        geometry = PatchGeometry(
            height=self.images.height,
            width=self.images.width,
            patch_size=patch_size,
            boundary=self.boundary,
            equivariant=self.equivariant,
        )
        pixels = self.images.with_label(label).tensor
        return scan(pixels, y, sigma, geometry)
