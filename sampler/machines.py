r"""The three score machines IS, LS and ELS: closed-form denoisers that differ in their dictionary.

All compute the posterior mean of each pixel x from the noisy state y = xt / sqrt(alpha_bar),

    E[x0(x) | y] = \sum_p c(p) w_p / \sum_p w_p,     log w_p = -||y(x) - p||^2 / (2 sigma^2),

over the patches p, with center pixel c(p), that may be compared with the window y(x) around the
pixel: the machine's dictionary (arXiv 2412.20292: IS equations 3-4, LS equations 7-8, ELS
equations 9-10; the border rule is equation 41).
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from jaxtyping import Float
from torch import Tensor

from patchindex import Boundary, ImageSet, PatchGeometry
from patchindex.crew import portion
from sampler.errors import SamplerConfigError
from sampler.estimator import (
    PIXELS_PER_CHUNK,
    CarriedHead,
    NeighborSearch,
    Query,
    Retrieval,
    RetrievalSettings,
    exact_sources,
    image_sources,
)
from sampler.exact import sum_exactly
from sampler.posterior import Posterior
from sampler.scales import Scales, default_scales
from sampler.score_machine import ScoreMachine, own_scales
from sampler.units import StatesUnit, answer, answer_by_parts

logger = logging.getLogger(__name__)


class ISMachine(ScoreMachine):
    """Ideal score: the dictionary is the training images themselves; it memorises."""

    compares_whole_images = True

    def __init__(self, images: ImageSet) -> None:
        self.images = images

    @property
    def scales(self) -> None:
        """Whole images at every noise level."""
        return None

    def compared_sizes(self, patch_sizes: Sequence[int | None]) -> tuple[int | None, ...]:
        """Whole images, whatever is asked for."""
        return (None,) * len(patch_sizes)

    def _posterior(
        self,
        y: Float[Tensor, "b c h w"],
        sigma: float,
        patch_size: int | None,  # noqa: ARG002 - the window is the image
        *,
        label: int | None,
        num_sources: int,
        known: CarriedHead | None,  # noqa: ARG002 - nothing is searched
        keep: Path | None,  # noqa: ARG002
    ) -> Posterior:
        r"""\sum_n x_n w_n / \sum_n w_n over the images x_n (arXiv 2412.20292, equations 3-4)."""
        sources = None
        if num_sources:
            pixels = self.images.pixels_on(y.device, label)
            sources = image_sources(
                pixels, y, sigma, label_indices=self.images.label_indices(label),
                num_sources=num_sources,
            )  # fmt: skip
        return Posterior.from_record(sum_exactly(self.images, y, sigma, None, label), sources)


class LSMachine(ScoreMachine):
    """Local score: a pixel's window is compared only with windows at its own place.

    Args:
        boundary: `zeros` or `circular`.
        scales: its own, see `ELSMachine`.
    """

    def __init__(
        self,
        images: ImageSet,
        boundary: Boundary = "zeros",
        *,
        scales: str | Scales | Sequence[int] | None = None,
    ) -> None:
        if boundary == "circular_interior":
            raise SamplerConfigError(
                "the LS machine compares windows at one place, so circular_interior has no meaning "
                "for it. Give boundary zeros or circular."
            )
        self.images = images
        self._boundary = boundary
        self._scales = own_scales(scales)

    def _described(self) -> str:
        return f"{self.images!r}, {self._boundary}"

    @property
    def scales(self) -> Scales:
        """See `ScoreMachine`."""
        if self._scales is None:
            _, self._scales = default_scales(self.images, self._boundary)
        return self._scales

    def compared_sizes(self, patch_sizes: Sequence[int | None]) -> tuple[int, ...]:
        """The patch sizes, unchanged."""
        return tuple(self._geometry(size).patch_size for size in patch_sizes)

    def _posterior(
        self,
        y: Float[Tensor, "b c h w"],
        sigma: float,
        patch_size: int | None,
        *,
        label: int | None,
        num_sources: int,
        known: CarriedHead | None,  # noqa: ARG002 - nothing is searched
        keep: Path | None,  # noqa: ARG002
    ) -> Posterior:
        r"""\sum_n x_n(x) w_n / \sum_n w_n over all images' windows around the same pixel x
        (arXiv 2412.20292, equations 7-8).
        """
        return _exact_posterior(
            self.images, y, sigma, self._geometry(patch_size), label=label, num_sources=num_sources
        )

    def _geometry(self, patch_size: int | None) -> PatchGeometry:
        return _geometry_of(self.images, patch_size, self._boundary, equivariant=False)


class ELSMachine(ScoreMachine):
    """Equivariant local score: a pixel's window is compared with all windows of all images.

    Args:
        training_set: an ImageSet, for the exact sum over every patch; or an index, for retrieval.
        boundary: for an ImageSet, `zeros` if None; an index has its own.
        exact: sum over every patch although there is an index.
        scales: its own, for those who ask without a patch size: a name, a file, `Scales`, or patch
            sizes from the lowest noise level to the highest, evenly spaced in the time of the
            cosine schedule. None for those of the dataset, as runs have them.
        settings: of retrieval, see `sampler.estimator.estimate.Retrieval`; exact sums need none.
    """

    def __init__(
        self,
        training_set: ImageSet | NeighborSearch,
        boundary: Boundary | None = None,
        *,
        exact: bool = False,
        scales: str | Scales | Sequence[int] | None = None,
        **settings: Unpack[RetrievalSettings],
    ) -> None:
        self.images = training_set.images
        self._scales = own_scales(scales)
        self._warned_sizes: set[int] = set()
        self._index: NeighborSearch | None = None
        self._retrieval: Retrieval | None = None
        if isinstance(training_set, ImageSet):
            self._boundary = boundary or "zeros"
            return
        if boundary not in (None, training_set.boundary):
            raise SamplerConfigError(
                f"boundary {boundary} was asked for, but the index was built for "
                f"{training_set.boundary}. Leave the boundary out, or build an index with it."
            )
        self._index, self._boundary = training_set, training_set.boundary
        if not exact:
            self._retrieval = Retrieval(training_set, **settings)

    @property
    def scales(self) -> Scales:
        """See `ScoreMachine`."""
        if self._scales is None:
            _, self._scales = default_scales(self._index or self.images, self._boundary)
        return self._scales

    def _described(self) -> str:
        found = self._retrieval
        if found is None:
            return f"{self.images!r}, {self._boundary}, exact"
        return f"{self._index!r}, k={found.k}, tail={found.tail}"

    @property
    def parts(self) -> int | None:
        """Parts of the index that heads are found in; None if nothing is retrieved."""
        return None if self._retrieval is None else self._retrieval.parts

    def compared_sizes(self, patch_sizes: Sequence[int | None]) -> tuple[int, ...]:
        """The patch sizes, unchanged; with an index, the nearest that it holds."""
        sizes = [checked_patch_size(size) for size in patch_sizes]
        if self._retrieval is None:
            return tuple(self._geometry(size).patch_size for size in sizes)
        nearest = self._retrieval.nearest_scales(sizes)
        self._announce(nearest)
        return tuple(nearest[size] for size in sizes)

    def exact_is_no_slower(
        self, patch_sizes: Sequence[int | None], label: int | None = None
    ) -> bool:
        """Whether retrieval at all these patch sizes takes as long as summing every patch."""
        if self._retrieval is None:
            return True
        sizes = [checked_patch_size(size) for size in patch_sizes]
        return self._retrieval.exact_is_no_slower(sizes, label)

    def _posterior(
        self,
        y: Float[Tensor, "b c h w"],
        sigma: float,
        patch_size: int | None,
        *,
        label: int | None,
        num_sources: int,
        known: CarriedHead | None,
        keep: Path | None,
    ) -> Posterior:
        r"""\sum_p c(p) w_p / \sum_p w_p over the windows p of all images around all pixels
        (arXiv 2412.20292, equations 9-10), at the borders those that equation 41 admits.
        """
        geometry = self._geometry(self.compared_sizes([patch_size])[0])
        if self._retrieval is None or self._index is None:
            return _exact_posterior(
                self.images, y, sigma, geometry, label=label, num_sources=num_sources
            )
        query = Query(index=self._index, y=y, sigma=sigma, geometry=geometry, label=label)
        crew = self.images.crew
        units = [
            StatesUnit(
                query=query[states],
                known=None if known is None else known[states],
                first=states.start,
            )
            for states in query.cuts(PIXELS_PER_CHUNK, crew.size)
        ]
        if self._retrieval.parts == 1:
            answers = crew.run(answer, units, self._retrieval, num_sources, keep)
        else:
            answers = answer_by_parts(crew, units, self._retrieval, num_sources, keep)
        return Posterior.joined(answers)

    def _geometry(self, patch_size: int | None) -> PatchGeometry:
        return _geometry_of(self.images, patch_size, self._boundary, equivariant=True)

    def _announce(self, nearest: dict[int, int]) -> None:
        """Log once which scales serve in place of those that the index lacks."""
        lacking = {size for size, scale in nearest.items() if size != scale}
        new = sorted(lacking - self._warned_sizes)
        self._warned_sizes |= lacking
        if new:
            told = [f"scale {size} (scale {nearest[size]} serves in its place)" for size in new]
            logger.warning("the index lacks %s", ", ".join(told))


def checked_patch_size(patch_size: int | None) -> int:
    """The patch size, which only the IS machine can do without."""
    if patch_size is None:
        raise SamplerConfigError(
            "no patch size was given. Give the odd side of the window in pixels; "
            "only the IS machine needs none."
        )
    return patch_size


def _geometry_of(
    images: ImageSet, patch_size: int | None, boundary: Boundary, *, equivariant: bool
) -> PatchGeometry:
    """The rule of which windows are compared with which: equation 41, or another boundary."""
    return PatchGeometry(
        height=images.height,
        width=images.width,
        patch_size=checked_patch_size(patch_size),
        boundary=boundary,
        equivariant=equivariant,
    )


def _exact_posterior(
    images: ImageSet,
    y: Float[Tensor, "b c h w"],
    sigma: float,
    geometry: PatchGeometry,
    *,
    label: int | None,
    num_sources: int,
) -> Posterior:
    """The sums over every patch of the dictionary, and every image's share in them."""
    passes, sources = 2 if num_sources else 1, None
    with portion(0, passes):
        record = sum_exactly(images, y, sigma, geometry, label)
    if num_sources:
        with portion(1, passes):
            sources = exact_sources(
                images, y, sigma, geometry, record, label=label, num_sources=num_sources
            )
    return Posterior.from_record(record, sources)
