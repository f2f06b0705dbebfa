r"""The three score machines IS, LS and ELS: closed-form denoisers that differ in their dictionary.

All compute the posterior mean of each pixel x from the noisy state y = xt / sqrt(alpha_bar),

    E[x0(x) | y] = \sum_p c(p) w_p / \sum_p w_p,     log w_p = -||y(x) - p||^2 / (2 sigma^2),

over the patches p, with center pixel c(p), that may be compared with the window y(x) around the
pixel: the machine's dictionary (arXiv 2412.20292: IS equations 3-4, LS equations 7-8, ELS
equations 9-10; the border rule is equation 41).
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import sqrt
from operator import itemgetter
from pathlib import Path
from typing import Unpack

import torch
from jaxtyping import Float
from torch import Tensor

from patchindex import Boundary, ImageSet, PatchGeometry
from sampler.denoiser import Labels, Sigma, check_sigma, groups
from sampler.errors import SamplerConfigError
from sampler.estimator import (
    PIXELS_PER_CHUNK,
    CarriedHead,
    NeighborSearch,
    Query,
    Retrieval,
    RetrievalSettings,
    image_sources,
)
from sampler.exact import sum_exactly
from sampler.posterior import Posterior
from sampler.scales import Scales, checked_scales, default_scales, find_scales
from sampler.schedule import noise_level
from sampler.units import StatesUnit, answer, answer_by_parts

logger = logging.getLogger(__name__)


class ScoreMachine(ABC):
    """A denoiser over a dictionary of patches of `images`.

    Attributes:
        compares_whole_images: whether patch sizes are ignored.
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
        known: CarriedHead | None = None,
        keep: Path | None = None,
    ) -> Posterior:
        """The posterior of every pixel of every state, computed where the states lie.

        Args:
            xt: noisy states, sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps.
            alpha_bar: in (0, 1).
            patch_size: odd side of the window that a pixel sees; the IS machine ignores it.
            label: keep only training images of this class.
            num_sources: also return so many of the training patches that weigh most in each pixel,
                its sources. This needs an index, except for the IS machine.
            known: for retrieval, the `head` of the posterior of the states before these on the same
                trajectories: much of what was near is near still, and need not be searched for.
            keep: for retrieval, put the posterior's `head` into files of this folder, which the
                whole crew shares, and not into memory.

        Raises:
            SamplerConfigError: states of another shape than the images, values that are not
                finite, alpha_bar out of range, or sources of a machine that cannot name them.
            GeometryError: a patch size that the images do not admit.
            DatasetError: no image has the label.
        """
        sigma = _level_of(alpha_bar)
        y = xt.float() / sqrt(alpha_bar)
        _check_states(y, sigma, self.images)
        return self._posterior(
            y, sigma, patch_size, label=label, num_sources=num_sources, known=known, keep=keep
        )

    def posterior_of(
        self,
        y: Float[Tensor, "b c h w"],
        sigma: float,
        patch_size: int | None = None,
        *,
        label: int | None = None,
        num_sources: int = 0,
        known: CarriedHead | None = None,
        keep: Path | None = None,
    ) -> Posterior:
        """As `posterior`, of states in data units, y = x0 + sigma eps.

        Args:
            patch_size: None for that of the machine's own `scales` at this noise level.
        """
        _check_states(y, sigma, self.images)
        return self._posterior(
            y.float(), sigma, self.patch_size_at(sigma) if patch_size is None else patch_size,
            label=label, num_sources=num_sources, known=known, keep=keep,
        )  # fmt: skip

    def denoise(
        self,
        y: Float[Tensor, "b c h w"],
        sigma: Sigma,
        patch_size: int | None = None,
        *,
        label: Labels = None,
    ) -> Float[Tensor, "b c h w"]:
        """The posterior mean of states in data units, y = x0 + sigma eps: a `Denoiser`.

        Args:
            sigma: the noise of all states, or of each.
            patch_size: None for that of the machine's own `scales` at each noise level.
            label: keep only training images of this class, or of each state's own.

        Raises:
            UserError: as for `posterior`.

        Example:
            >>> machine = ELSMachine(images, scales="fashion_mnist_resnet_zeros")
            >>> machine.denoise(y, torch.tensor([0.1, 2.0]), label=torch.tensor([3, 5]))
        """
        mean = torch.empty_like(y, dtype=torch.float32)
        for states, level, value in groups(len(y), sigma, label):
            if states is None:
                return self.posterior_of(y, level, patch_size, label=value).mean
            chosen = states.to(y.device)
            mean[chosen] = self.posterior_of(y[chosen], level, patch_size, label=value).mean
        return mean

    def score(
        self,
        xt: Float[Tensor, "b c h w"] | None = None,
        alpha_bar: float | None = None,
        patch_size: int | None = None,
        *,
        y: Float[Tensor, "b c h w"] | None = None,
        sigma: Sigma | None = None,
        label: Labels = None,
    ) -> Float[Tensor, "b c h w"]:
        """The score of the density of xt, or of y = xt / sqrt(alpha_bar).

        (sqrt(alpha_bar) posterior_mean - xt) / (1 - alpha_bar) of `xt` and `alpha_bar`, arguments
        as for `posterior`; (posterior_mean - y) / sigma^2 of `y` and `sigma`, as for `denoise`.
        """
        if xt is not None and alpha_bar is not None and y is None and sigma is None:
            level = _level_of(alpha_bar)
            mean = self.denoise(xt / sqrt(alpha_bar), level, patch_size, label=label)
            return (sqrt(alpha_bar) * mean - xt) / (1 - alpha_bar)
        if y is None or sigma is None or xt is not None or alpha_bar is not None:
            raise SamplerConfigError(
                "a score needs states and their noise. Give xt and alpha_bar, or y and sigma."
            )
        mean = self.denoise(y, sigma, patch_size, label=label)
        return (mean - y) / torch.as_tensor(sigma).to(y).reshape(-1, 1, 1, 1) ** 2

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._described()})"

    def _described(self) -> str:
        """What the machine is made of, for people."""
        return repr(self.images)

    def __call__(
        self, y: Float[Tensor, "b c h w"], sigma: Sigma, *, label: Labels = None
    ) -> Float[Tensor, "b c h w"]:
        """`denoise`, at the machine's own scales: a machine is a denoiser like any other."""
        return self.denoise(y, sigma, label=label)

    @property
    @abstractmethod
    def scales(self) -> Scales | None:
        """Its own patch size at every noise level; None where whole images are compared."""

    def patch_size_at(self, sigma: float) -> int | None:
        """The patch size of the machine's own scales at a noise level."""
        return None if self.scales is None else self.scales.at(sigma)

    @abstractmethod
    def compared_sizes(self, patch_sizes: Sequence[int | None]) -> tuple[int | None, ...]:
        """The patch size that is really used for each of these; None for whole images.

        Raises:
            SamplerConfigError: the machine cannot do without one of them.
            GeometryError: a patch size that the images do not admit.
        """

    @abstractmethod
    def check_sources(self, patch_sizes: Sequence[int | None]) -> None:
        """Raise SamplerConfigError unless sources can be named at all these patch sizes."""

    @abstractmethod
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
        """The posterior of states in data units."""


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

    def check_sources(self, patch_sizes: Sequence[int | None]) -> None:
        """Whole images can always be named."""

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
        self._scales = _own_scales(scales)

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

    def check_sources(self, patch_sizes: Sequence[int | None]) -> None:
        """Raise SamplerConfigError always: an LS machine cannot list sources."""
        _index_with(None, patch_sizes)

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
        geometry = self._geometry(patch_size)
        if num_sources:
            self.check_sources([patch_size])
        return Posterior.from_record(sum_exactly(self.images, y, sigma, geometry, label))

    def _geometry(self, patch_size: int | None) -> PatchGeometry:
        return _geometry_of(self.images, patch_size, self._boundary, equivariant=False)


class ELSMachine(ScoreMachine):
    """Equivariant local score: a pixel's window is compared with all windows of all images.

    Args:
        training_set: an ImageSet, for the exact sum over every patch; or an index, for retrieval.
        boundary: for an ImageSet, `zeros` if None; an index has its own.
        exact: sum over every patch although there is an index, which then only lists sources.
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
        self._scales = _own_scales(scales)
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

    def check_sources(self, patch_sizes: Sequence[int | None]) -> None:
        """Raise SamplerConfigError unless sources can be named at all these patch sizes."""
        if self._retrieval is None:
            _index_with(self._index, patch_sizes)

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
        exact = None
        if self._retrieval is None:
            exact = sum_exactly(self.images, y, sigma, geometry, label)
            if not num_sources:
                return Posterior.from_record(exact)
        index = _index_with(self._index, [geometry.patch_size])
        query = Query(index=index, y=y, sigma=sigma, geometry=geometry, label=label)
        crew = self.images.crew
        units = [
            StatesUnit(
                query=query[states],
                exact=None if exact is None else exact.map(itemgetter(states)),
                known=None if known is None else known[states],
                first=states.start,
            )
            for states in query.cuts(PIXELS_PER_CHUNK, crew.size)
        ]
        if self._retrieval is None or self._retrieval.parts == 1:
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


def _own_scales(scales: str | Scales | Sequence[int] | None) -> Scales | None:
    """The scales that a machine was given."""
    if scales is None or isinstance(scales, Scales):
        return scales
    if isinstance(scales, str):
        return find_scales(scales)
    return Scales.spaced(checked_scales(scales, "given"))


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


def _index_with(index: NeighborSearch | None, patch_sizes: Sequence[int | None]) -> NeighborSearch:
    """The index; raise SamplerConfigError unless it can find patches of all these sizes."""
    if index is None:
        raise SamplerConfigError(
            "sources can only be named with an index of all translated patches, which this machine "
            "has not. Build one with `patchindex build` and give it with --index, for an els "
            "machine."
        )
    missing = sorted({checked_patch_size(size) for size in patch_sizes} - set(index.scales))
    if missing:
        raise SamplerConfigError(
            f"sources at scale {', '.join(map(str, missing))} cannot be named: the index has "
            f"{list(index.scales)}. Build an index with it, or give --scales of the index."
        )
    return index


def _level_of(alpha_bar: float) -> float:
    """Sigma of a signal share; raise SamplerConfigError where there is none."""
    if not 0 < alpha_bar < 1:
        raise SamplerConfigError(
            f"alpha_bar is {alpha_bar}. Give a value between 0 and 1, both excluded."
        )
    return noise_level(float(alpha_bar))


def _check_states(y: Float[Tensor, "b c h w"], sigma: float, images: ImageSet) -> None:
    """Raise SamplerConfigError unless these can be noisy states of these images."""
    expected = (images.channels, images.height, images.width)
    if y.ndim != 4 or tuple(y.shape[1:]) != expected or not len(y):
        raise SamplerConfigError(
            f"states have shape {tuple(y.shape)}, but the images of {images.name} are "
            f"{'x'.join(map(str, expected))}. Give shape [b, {', '.join(map(str, expected))}]."
        )
    if not y.isfinite().all():
        raise SamplerConfigError(
            "the states hold values that are not finite (nan or inf). Give finite numbers; "
            "noise is standard normal."
        )
    check_sigma(sigma)
