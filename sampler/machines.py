"""The three score machines IS, LS and ELS: closed-form denoisers that differ in their dictionary.

All compute the posterior mean of each pixel, sum_p c(p) w_p / sum_p w_p with
log w_p = -||y - p||^2 / (2 sigma^2), over the patches p that may stand for the pixel's window
(arXiv 2412.20292: IS equations 3-4, LS equations 7-8, ELS equations 9-10, border rule 41).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Unpack

from jaxtyping import Float
from torch import Tensor

from patchindex import Boundary, ImageSet, PatchGeometry, PosteriorRecord
from patchindex.kernels import exact_scan, scan_whole
from sampler.errors import SamplerConfigError
from sampler.estimator.estimate import Retrieval, RetrievalSettings
from sampler.estimator.query import PIXELS_PER_CHUNK, NeighborSearch, Query
from sampler.estimator.source_search import settle_images, settle_sources
from sampler.estimator.sources import SourceCollector
from sampler.posterior import Posterior
from sampler.schedule import noise_level


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
        pixels = self.images.pixels_on(y.device, label)
        devices = self.images.device.at(y.device).scanning
        if sources is None:
            return exact_scan(pixels, y, sigma, geometry, devices=devices)
        query = Query(
            index=checked_finder(self.finder, [patch_size]),
            y=y, sigma=sigma, geometry=geometry, label=label, sources=sources,
        )  # fmt: skip
        records = []
        for part in query.split(PIXELS_PER_CHUNK):
            records.append(exact_scan(pixels, part.y, sigma, geometry, devices=devices))
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


class ScoreMachine(ABC):
    """A denoiser over a dictionary of patches of `images`.

    Attributes:
        compares_whole_images: so that no patch size matters.
    """

    images: ImageSet
    compares_whole_images: bool = False

    def posterior(
        self,
        xt: Float[Tensor, "b c h w"],
        alpha_bar: float,
        patch_size: int | None = None,
        *,
        label: int | None = None,
        num_sources: int = 0,
    ) -> Posterior:
        """The posterior of every pixel of every state, computed where the states lie.

        Args:
            xt: noisy states, sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps.
            alpha_bar: in (0, 1).
            patch_size: odd side of the window that a pixel sees; the IS machine ignores it.
            label: keep only training images of this class.
            num_sources: name so many of the heaviest patches of each pixel. An index must find
                them, except for the IS machine.

        Raises:
            SamplerConfigError: states of another shape than the images, values that are not
                finite, alpha_bar out of range, or sources of a machine that cannot name them.
            GeometryError: a patch size that the images do not admit.
            DatasetError: no image has the label.
        """
        alpha_bar = float(alpha_bar)
        check_state(xt, alpha_bar, self.images)
        y, sources = xt.float() / sqrt(alpha_bar), None
        if num_sources:
            sources = SourceCollector.empty(
                len(xt), *self.images.pixels.shape[2:],
                num_sources=num_sources, num_images=len(self.images), device=xt.device,
            )  # fmt: skip
        record = self._record(y, noise_level(alpha_bar), patch_size, label, sources)
        return Posterior.from_record(record, None if sources is None else sources.found)

    def score(
        self,
        xt: Float[Tensor, "b c h w"],
        alpha_bar: float,
        patch_size: int | None = None,
        *,
        label: int | None = None,
    ) -> Float[Tensor, "b c h w"]:
        """(sqrt(alpha_bar) posterior_mean - xt) / (1 - alpha_bar); arguments as for `posterior`."""
        mean = self.posterior(xt, alpha_bar, patch_size, label=label).mean
        return (sqrt(alpha_bar) * mean - xt) / (1 - alpha_bar)

    @abstractmethod
    def compared_sizes(self, patch_sizes: Sequence[int | None]) -> tuple[int | None, ...]:
        """What is compared where windows of these sizes are asked for; None for whole images.

        Raises:
            SamplerConfigError: the machine cannot do without one of them.
            GeometryError: a patch size that the images do not admit.
        """

    @abstractmethod
    def _record(
        self,
        y: Float[Tensor, "b c h w"],
        sigma: float,
        patch_size: int | None,
        label: int | None,
        sources: SourceCollector | None,
    ) -> PosteriorRecord:
        """The sums over the dictionary; fields are [b, h, w]. Heavy patches go to `sources`."""


class ISMachine(ScoreMachine):
    """Ideal score: the dictionary is the training images themselves; it memorises."""

    compares_whole_images = True

    def __init__(self, images: ImageSet) -> None:
        self.images = images

    def compared_sizes(self, patch_sizes: Sequence[int | None]) -> tuple[int | None, ...]:
        """Whole images, whatever is asked for."""
        return (None,) * len(patch_sizes)

    def _record(
        self,
        y: Float[Tensor, "b c h w"],
        sigma: float,
        patch_size: int | None,  # noqa: ARG002 - the window is the image
        label: int | None,
        sources: SourceCollector | None,
    ) -> PosteriorRecord:
        pixels = self.images.pixels_on(y.device, label)
        if sources is not None:
            settle_images(sources, pixels, y, sigma, members=self.images.members(label))
        return scan_whole(pixels, y, sigma)


class PatchMachine(ScoreMachine):
    """A machine whose dictionary is of patches, which are summed or retrieved."""

    _source: ExactScan | Retrieval

    def compared_sizes(self, patch_sizes: Sequence[int | None]) -> tuple[int, ...]:
        """Themselves; of an index those that it has, the nearest in place of others."""
        return self._source.served_scales([checked_patch_size(size) for size in patch_sizes])

    def _record(
        self,
        y: Float[Tensor, "b c h w"],
        sigma: float,
        patch_size: int | None,
        label: int | None,
        sources: SourceCollector | None,
    ) -> PosteriorRecord:
        return self._source.record(y, sigma, checked_patch_size(patch_size), label, sources)


class LSMachine(PatchMachine):
    """Local score: a pixel's window meets only windows at its own place.

    Args:
        boundary: `zeros` or `circular`.
    """

    def __init__(self, images: ImageSet, boundary: Boundary = "zeros") -> None:
        if boundary == "circular_interior":
            raise SamplerConfigError(
                "the LS machine compares windows at one place, so circular_interior has no meaning "
                "for it. Give boundary zeros or circular."
            )
        self.images = images
        self._source = ExactScan(images, boundary, equivariant=False)


class ELSMachine(PatchMachine):
    """Equivariant local score: a pixel's window meets all translated windows of all images.

    Args:
        source: an ImageSet, for the exact sum over every patch; or an index, for retrieval.
        boundary: for an ImageSet, `zeros` if None; an index has its own.
        finder: for an ImageSet, an index of it that can name sources.
        settings: of retrieval; an ImageSet needs none.
    """

    def __init__(
        self,
        source: ImageSet | NeighborSearch,
        boundary: Boundary | None = None,
        *,
        finder: NeighborSearch | None = None,
        **settings: Unpack[RetrievalSettings],
    ) -> None:
        if isinstance(source, ImageSet):
            self.images = source
            self._source = ExactScan(source, boundary or "zeros", equivariant=True, finder=finder)
            return
        if boundary not in (None, source.boundary):
            raise SamplerConfigError(
                f"boundary {boundary} was asked for, but the index was built for "
                f"{source.boundary}. Leave the boundary out, or build an index with it."
            )
        self.images = source.images
        self._source = Retrieval(source, **settings)


def checked_patch_size(patch_size: int | None) -> int:
    """The patch size, which only the IS machine can do without."""
    if patch_size is None:
        raise SamplerConfigError(
            "no patch size was given. Give the odd side of the window in pixels; "
            "only the IS machine needs none."
        )
    return patch_size


def check_state(xt: Float[Tensor, "b c h w"], alpha_bar: float, images: ImageSet) -> None:
    """Raise SamplerConfigError unless these can be states of these images."""
    expected = (images.channels, images.height, images.width)
    if xt.ndim != 4 or tuple(xt.shape[1:]) != expected or not len(xt):
        raise SamplerConfigError(
            f"states have shape {tuple(xt.shape)}, but the images of {images.name} are "
            f"{'x'.join(map(str, expected))}. Give shape [b, {', '.join(map(str, expected))}]."
        )
    if not xt.isfinite().all():
        raise SamplerConfigError(
            "the states hold values that are not finite (nan or inf). Give finite numbers; "
            "noise is standard normal."
        )
    if not 0 < alpha_bar < 1:
        raise SamplerConfigError(
            f"alpha_bar is {alpha_bar}. Give a value between 0 and 1, both excluded."
        )
