"""The sources of one picture's pixels, as records with names and as maps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchindex import ImageSet, PatchGeometry, windows_at
from patchindex.geometry import locate
from patchindex.images import to_unit
from sampler.errors import SamplerConfigError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SourcePatch:
    """One training patch that a pixel comes from.

    Attributes:
        image, name, label: number, file and class of its training image; None where there is none.
        y, x: its center in that image.
        weight: its share of the pixel.
        patch: its window, in [-1, 1]; beyond the border 0, or the other side where windows wrap.
    """

    image: int
    name: str | None
    label: int | None
    y: int
    x: int
    weight: float
    patch: Float[Tensor, "c s s"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LevelSources:
    """The heaviest training patches of each pixel of a picture at one noise level.

    Attributes:
        ids: heaviest first; -1 where there are no more.
        weights: their shares of the pixel's posterior; 0 where there are no more.
        geometry: of the windows that were compared.
        training: the images that the patches are in.
    """

    ids: Int[Tensor, "h w m"]
    weights: Float[Tensor, "h w m"]
    geometry: PatchGeometry
    training: ImageSet

    @property
    def unattributed(self) -> Float[Tensor, "h w"]:
        """Share of the posterior outside the list; with the weights it sums to 1."""
        return 1 - self.weights.sum(-1)

    def weights_at(self, y: int, x: int) -> dict[int, float]:
        """The weight of each listed patch of a pixel by its id, heaviest first.

        Raises:
            SamplerConfigError: the pixel lies outside.
        """
        height, width = self.ids.shape[:2]
        if not (0 <= y < height and 0 <= x < width):
            raise SamplerConfigError(
                f"pixel {y},{x} lies outside the picture. Give a row below {height} and a column "
                f"below {width}, from 0."
            )
        ids, weights = self.ids[y, x].tolist(), self.weights[y, x].tolist()
        return {patch: weight for patch, weight in zip(ids, weights, strict=True) if patch >= 0}

    def at(self, y: int, x: int) -> tuple[SourcePatch, ...]:
        """The listed patches of a pixel, heaviest first.

        Raises:
            SamplerConfigError: the pixel lies outside.

        Example:
            >>> found.levels[-1].sources.at(12, 7)[0].name
            'coats/0113.png'
        """
        weights = self.weights_at(y, x)
        return tuple(self.record(patch, weight) for patch, weight in weights.items())

    def record(self, patch: int, weight: float) -> SourcePatch:
        """A patch by its id, with its window at this level."""
        images = self.training
        places = locate(np.array([patch]), images.height, images.width)
        number, y, x = (int(part[0]) for part in places)
        whole = to_unit(images.pixels[number : number + 1])
        window = windows_at(whole, range(y, y + 1), range(x, x + 1), self.geometry)[0, 0, 0]
        return SourcePatch(
            image=number,
            name=images.file_name(number),
            label=images.label_of(number),
            y=y,
            x=x,
            weight=weight,
            patch=window.clone(),
        )

    def region(self, image: int) -> Float[Tensor, "h w"]:
        """The share of a training image in each pixel, over its listed patches."""
        per_image = self.training.height * self.training.width
        of_image = (self.ids >= 0) & (self.ids // per_image == image)
        return (self.weights * of_image).sum(-1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeanSources:
    """The sources of each pixel over several noise levels: the means of their weights."""

    levels: Sequence[LevelSources]

    @property
    def unattributed(self) -> Float[Tensor, "h w"]:
        """Share that is on no listed patch, mean over the levels."""
        return torch.stack([level.unattributed for level in self.levels]).mean(0)

    def at(self, y: int, x: int) -> tuple[SourcePatch, ...]:
        """The patches that are listed for a pixel at any level, heaviest first.

        Each has the window of the level at which it weighs most.

        Raises:
            SamplerConfigError: the pixel lies outside.

        Example:
            >>> [(source.image, source.y, source.x) for source in found.sources.at(12, 7)]
        """
        by_level = [level.weights_at(y, x) for level in self.levels]
        found = []
        for patch in sorted(set().union(*by_level)):
            weights = [weights.get(patch, 0.0) for weights in by_level]
            heaviest = self.levels[weights.index(max(weights))]
            found.append(heaviest.record(patch, sum(weights) / len(weights)))
        return tuple(sorted(found, key=lambda source: -source.weight))

    def region(self, image: int) -> Float[Tensor, "h w"]:
        """The share of a training image in each pixel, mean over the levels."""
        return torch.stack([level.region(image) for level in self.levels]).mean(0)
