"""Held-out images that are none: those that the index holds, and those that are asked about.

A picture is compared with held-out ones to say how unlikely a near-copy is. If they hold the very
images that it was copied from, they have the copy, too, and the copy is taken for chance.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from patchindex import ImageSet
from patchindex.images import to_uint8
from sampler.errors import SamplerConfigError

BLOCK_IMAGES = 1024  # read at once


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Distinct:
    """Held-out images without those that are no such thing.

    Attributes:
        images: the others.
        indexed, asked: what was left out for being a training image, or an asked picture, by name.
    """

    images: ImageSet
    indexed: tuple[str, ...]
    asked: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """What was left out, for people."""
        for names, what in ((self.indexed, "training images"), (self.asked, "asked pictures")):
            if names:
                count = "1 image is" if len(names) == 1 else f"{len(names):,} images are"
                more = ", ..." if len(names) > 1 else ""
                yield (
                    f"{self.images.name}: {count} not held out but {what}, pixel by pixel, "
                    f"and left out: {names[0]}{more}"
                )


def without_overlap(
    others: ImageSet, training: ImageSet, pictures: Float[Tensor, "b c h w"]
) -> Distinct:
    """The held-out images that equal no training image and no asked picture, pixel by pixel.

    All are of one size already. What was stored anew in between, as another JPEG, is not equal.

    Args:
        pictures: that are asked about, in [-1, 1].

    Raises:
        SamplerConfigError: none is left.
    """
    places: dict[bytes, list[int]] = {}
    for place, digest in enumerate(digests(others.pixels)):
        places.setdefault(digest, []).append(place)
    indexed = {place for digest in digests(training.pixels) for place in places.get(digest, ())}
    asked = {place for digest in digests(to_uint8(pictures)) for place in places.get(digest, ())}
    kept = [place for place in range(len(others)) if place not in indexed | asked]
    if not kept:
        raise SamplerConfigError(
            f"no image of {others.name} is held out: all {len(others):,} are training images or "
            "pictures that are asked about. Give --held-out pictures that the index does not hold, "
            "or leave it out."
        )
    return Distinct(
        images=others if len(kept) == len(others) else _some(others, kept),
        indexed=tuple(others.file_name(place) or f"image {place}" for place in sorted(indexed)),
        asked=tuple(
            others.file_name(place) or f"image {place}" for place in sorted(asked - indexed)
        ),
    )


def digests(pixels: UInt8[ndarray, "n c h w"]) -> Iterator[bytes]:
    """A hash of each image's pixels."""
    for start in range(0, len(pixels), BLOCK_IMAGES):
        for image in np.ascontiguousarray(pixels[start : start + BLOCK_IMAGES]):
            yield sha256(image.data).digest()


def _some(images: ImageSet, places: list[int]) -> ImageSet:
    """These images of a set, in its order."""
    chosen: dict[str, Any] = {"pixels": images.pixels[places]}
    if images.labels is not None:
        chosen["labels"] = images.labels[places]
    if images.names is not None:
        chosen["names"] = tuple(images.names[place] for place in places)
    return replace(images, **chosen)
