"""What is known of pictures that were attributed: each at every noise level, and over all."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import overload

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from patchindex import ImageSet, PatchGeometry
from patchindex.file_names import image_title
from patchindex.images import to_uint8
from patchindex.png import first_of, html_block
from sampler.attribution.picture_sources import LevelSources, MeanSources
from sampler.posterior import Posterior
from sampler.results.picture_result import NINE_TENTHS, PictureConfig, images_to

MOST_NAMED, LONGEST = 5, 40  # images, pictures and characters of a name in a notebook


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Level:
    """All pictures at one noise level, averaged over the draws of noise.

    Attributes:
        geometry: of the windows that were compared.
        state: the first draw, in data units.
        posterior: see `sampler.attribution.draws.average_draws`.
    """

    sigma: float
    geometry: PatchGeometry
    state: Float[Tensor, "b c h w"]
    posterior: Posterior

    @classmethod
    def joined(cls, parts: Sequence["Level"]) -> "Level":
        """Those of several groups of pictures as one."""
        return replace(
            parts[0],
            state=torch.cat([part.state for part in parts]),
            posterior=Posterior.joined([part.posterior for part in parts]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingShare:
    """How much of a picture comes from one training image.

    Attributes:
        image, name, label: its number, file and class; None where images have none.
        share: mean over the pixels and the noise levels.
        by_level: the same at each level.
    """

    image: int
    name: str | None
    label: int | None
    share: float
    by_level: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LevelAttribution:
    """A picture at one noise level; all but the state is averaged over the draws of noise.

    Attributes:
        state: of the first draw, in data units.
        mean: of the posterior.
        effective_sample_size: 1 / the draws' mean of sum of squared weights.
        head_mass: share of the mass that was summed patch by patch; 1 where all was.
        standard_error: of `mean`, by sampling the tail; an upper bound, and 0 where exact.
        sources: of each pixel.
        shares: of training images by number, mean over the pixels; all named patches count.
    """

    sigma: float
    patch_size: int
    state: Float[Tensor, "c h w"]
    mean: Float[Tensor, "c h w"]
    effective_sample_size: Float[Tensor, "h w"]
    head_mass: Float[Tensor, "h w"]
    standard_error: Float[Tensor, "c h w"]
    sources: LevelSources
    shares: dict[int, float]

    def __repr__(self) -> str:
        return (
            f"LevelAttribution(sigma={self.sigma:.3g}, patch size {self.patch_size}: "
            f"{len(self.shares)} images named, {self.unattributed:.1%} unattributed)"
        )

    @property
    def unattributed(self) -> float:
        """Share of the picture for which no image was named."""
        return max(0.0, 1 - sum(self.shares.values()))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PictureAttribution:
    """Where a picture comes from.

    Attributes:
        image: itself, in [-1, 1].
        levels: of noise, the highest first.
        sources: of each pixel, mean over the levels.
        shares: of all training images that were named, the largest first.
    """

    image: Float[Tensor, "c h w"]
    levels: tuple[LevelAttribution, ...]
    sources: MeanSources
    shares: tuple[TrainingShare, ...]

    def __repr__(self) -> str:
        first = "no image was named"
        if self.shares:
            part = self.shares[0]
            first = f"{image_title(part.image, part.name, LONGEST)} {part.share:.1%}"
        return f"PictureAttribution({first}; {self.unattributed:.1%} unattributed)"

    def _repr_html_(self) -> str:
        """The picture, and the training images with the largest shares."""
        training = self.levels[0].sources.training
        pictures = {"the picture": first_of(to_uint8(self.image[None]))}
        for part in self.shares[:MOST_NAMED]:
            caption = f"{image_title(part.image, part.name, LONGEST)}: {part.share:.1%}"
            pictures[caption] = first_of(np.asarray(training.pixels[part.image][None]))
        return html_block(repr(self), pictures)

    @property
    def unattributed(self) -> float:
        """Share for which no image was named, mean over pixels and levels."""
        return sum(level.unattributed for level in self.levels) / len(self.levels)

    @property
    def images_to_nine_tenths(self) -> int:
        """How many training images, the largest shares first, make nine tenths of all shares."""
        return images_to(NINE_TENTHS, [part.share for part in self.shares])

    def region(self, image: int) -> Float[Tensor, "h w"]:
        """The share of a training image in each pixel, by listed patches, mean over the levels."""
        return self.sources.region(image)


@dataclass(frozen=True, kw_only=True, eq=False)
class PictureAttributions(Sequence[PictureAttribution]):
    """Several pictures that were asked about together, one after the other.

    Attributes:
        pictures: in [-1, 1].
        levels: of noise, the highest first.
        config: with `exact` as it was.
        training: the images that they may come from.
        seconds: that it took.
    """

    pictures: Float[Tensor, "b c h w"]
    levels: tuple[Level, ...]
    config: PictureConfig
    training: ImageSet
    seconds: float

    def __len__(self) -> int:
        return len(self.pictures)

    def __repr__(self) -> str:
        return (
            f"PictureAttributions({len(self)} held against {self.training.name} at "
            f"{len(self.levels)} noise levels, {self.seconds:.0f} s)"
        )

    def _repr_html_(self) -> str:
        """What is known of each of the first pictures."""
        shown = "".join(found._repr_html_() for found in self[:MOST_NAMED])
        return f"<div>{escape(repr(self))}</div>{shown}"

    @overload
    def __getitem__(self, number: int) -> PictureAttribution: ...

    @overload
    def __getitem__(self, number: slice) -> tuple[PictureAttribution, ...]: ...

    def __getitem__(
        self, number: int | slice
    ) -> PictureAttribution | tuple[PictureAttribution, ...]:
        if isinstance(number, slice):
            return tuple(self[at] for at in range(*number.indices(len(self))))
        at = range(len(self))[number]  # raises IndexError, and counts from behind
        levels = tuple(self._level(level, at) for level in self.levels)
        return PictureAttribution(
            image=self.pictures[at],
            levels=levels,
            sources=MeanSources(levels=tuple(level.sources for level in levels)),
            shares=_shares(levels, self.training),
        )

    def _level(self, level: Level, at: int) -> LevelAttribution:
        """One picture's part of a level."""
        posterior = level.posterior
        sources = posterior.sources
        assert sources is not None  # noqa: S101 - they were asked for
        images, shares = sources.image_shares.of(at)
        return LevelAttribution(
            sigma=level.sigma,
            patch_size=level.geometry.patch_size,
            state=level.state[at],
            mean=posterior.mean[at],
            effective_sample_size=posterior.effective_sample_size[at],
            head_mass=posterior.head_mass[at],
            standard_error=posterior.standard_error[at],
            sources=LevelSources(
                ids=sources.ids[at],
                weights=sources.weights[at],
                geometry=level.geometry,
                training=self.training,
            ),
            shares=dict(zip(images.tolist(), shares.tolist(), strict=True)),
        )


def _shares(levels: Sequence[LevelAttribution], training: ImageSet) -> tuple[TrainingShare, ...]:
    """The shares of all named images over the levels, the largest first, then by number."""
    named = sorted(set().union(*(level.shares for level in levels)))
    found = []
    for image in named:
        by_level = tuple(level.shares.get(image, 0.0) for level in levels)
        found.append(
            TrainingShare(
                image=image,
                name=training.file_name(image),
                label=training.label_of(image),
                share=sum(by_level) / len(levels),
                by_level=by_level,
            )
        )
    return tuple(sorted(found, key=lambda part: -part.share))
