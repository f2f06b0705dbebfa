"""Near-copies: regions of any picture that are copied from training images, and how surely.

Candidates are the displacements of training images that the nearest patches of many windows agree
on (`copy_candidates`). The picture is compared with each, pixel by pixel, and the connected region
with the most evidence of a copy is taken (`copy_regions`); what it explains is closed, and the
search goes on in the rest. Evidence is how much better the image explains the pixels than patches
of other images do, so background that any image has counts nothing. Held-out images of the same
set, treated alike, say how unlikely such a score is (`copy_null`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from patchindex import ImageSet, PatchIndex
from sampler.attribution.copy_candidates import (
    Candidates,
    Neighbors,
    expected_error,
    find_neighbors,
    vote,
)
from sampler.attribution.copy_regions import Regions, displaced, find_regions
from sampler.attribution.copy_results import CopyNull, CopySettings, NearCopies, NearCopy
from sampler.errors import SamplerConfigError

SLACK = 0.01  # a value this far outside [-1, 1] is rounding
RANGE = 10.0  # values of samples may lie outside [-1, 1], but not so far
BATCH = 8  # pictures whose windows are searched at once, which bounds their memory
REFERENCES = 8  # patches of the farther half that tell what is expected of no copy
# the best of all displacements of all images leaves less than those patches; measured
BEST_SHARE = 0.5
REFINED = 4  # candidates whose region is found again at every tolerance


def near_copies(
    index: PatchIndex,
    image: Float[Tensor, "c h w"],
    *,
    mirrored: bool = False,
    null: CopyNull | None = None,
    settings: CopySettings | None = None,
) -> NearCopies:
    """Find the regions of a picture that are copied from training images.

    Shifted, cropped, brightened a little, compressed, slightly noisy and mosaic copies are found;
    scaled and rotated ones are not.

    Args:
        image: in [-1, 1], of the index's shape.
        mirrored: look for mirrored copies, too.
        null: from `copy_null.held_out`, for p-values and novelty; of this index and the same
            settings.

    Raises:
        SamplerConfigError: another shape, values that are not finite or far outside [-1, 1], or a
            null of another index or other settings.

    Example:
        null = held_out(index, num=200)
        found = near_copies(index, to_unit(picture), null=null)
        [(copy.name, copy.p_value, copy.region.sum()) for copy in found.copies]
    """
    settings, image = resolved(settings or CopySettings(), index, mirrored=mirrored), image.detach()
    check_picture(image, index.images)
    if null is not None:
        check_null(null, index, settings)
    return search_pictures(index, image[None], settings, null=null)[0]


def search_pictures(
    index: PatchIndex,
    pictures: Float[Tensor, "b c h w"],
    settings: CopySettings,
    *,
    without: Sequence[int | None] | None = None,
    null: CopyNull | None = None,
) -> list[NearCopies]:
    """Near-copies in each of these pictures; the lists are read once for several of them.

    Args:
        settings: with a scale of the index.
        without: for each picture an image that is left out of the search.
    """
    left_out = without or [None] * len(pictures)
    groups = [slice(first, first + BATCH) for first in range(0, len(pictures), BATCH)]
    return [
        _answer(views, settings, null)
        for some in groups
        for views in _views_of(index, pictures[some].float().cpu(), settings, left_out[some])
    ]


def _views_of(
    index: PatchIndex,
    pictures: Float[Tensor, "b c h w"],
    settings: CopySettings,
    left_out: Sequence[int | None],
) -> Iterator[Sequence["View"]]:
    """Of each picture itself and, on request, its mirror image."""
    flips = (False, True) if settings.mirrored else (False,)
    views = [
        [
            View(index=index, picture=picture, near=near, mirrored=flip, settings=settings)
            for picture, near in zip(
                flipped,
                find_neighbors(
                    index, flipped, settings.patch_size,
                    k=settings.k, nprobe=settings.nprobe, without=left_out,
                ),
                strict=True,
            )
        ]
        for flip in flips
        for flipped in [pictures.flip(-1) if flip else pictures]
    ]  # fmt: skip
    return zip(*views, strict=True)


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """A picture, or one flipped, and its nearest patches."""

    index: PatchIndex
    picture: Float[Tensor, "c h w"]
    near: Neighbors
    mirrored: bool
    settings: CopySettings
    expected: Float[Tensor, "h w"] = field(init=False)

    def __post_init__(self) -> None:
        found = expected_error(self.index, self.picture, self.near, REFERENCES)
        object.__setattr__(self, "expected", torch.from_numpy(found))

    def best(self, open_pixels: Bool[ndarray, "h w"]) -> NearCopy | None:
        """The region among these pixels with the most evidence."""
        images, near = self.index.images, self.near
        if self.mirrored:
            open_pixels = np.ascontiguousarray(open_pixels[:, ::-1])
        first_tolerance = self.settings.tolerances[len(self.settings.tolerances) // 2]
        candidates = vote(
            near, open_pixels,
            tolerance=first_tolerance, most=self.settings.candidates,
            values=images.channels * near.geometry.patch_size**2,
        )  # fmt: skip
        if not len(candidates):
            return None
        moved, covered = displaced(images, candidates, wraps=near.geometry.training_wraps)
        valid = covered & torch.from_numpy(open_pixels)
        find = partial(
            find_regions, self.picture,
            expected=BEST_SHARE * self.expected, most_offset=self.settings.most_offset,
        )  # fmt: skip
        seen = torch.from_numpy(candidates.seen)
        coarse = find(moved, valid, seen, tolerance=first_tolerance)
        top = coarse.score.argsort(descending=True, stable=True)[:REFINED]
        scored = [
            find(moved[top], valid[top], coarse.mask[top], tolerance=tolerance)
            for tolerance in self.settings.tolerances
        ]
        scores = torch.stack([regions.score for regions in scored])
        which, number = divmod(int(scores.argmax()), len(top))
        place = top[number : number + 1]
        drawn = find_regions(
            self.picture, moved[place], valid[place], scored[which].mask[number : number + 1],
            self.expected,
            tolerance=self.settings.region_tolerance, most_offset=self.settings.most_offset,
        )  # fmt: skip
        if not drawn.mask.any():
            return None
        matching = covered[place] & (drawn.squared <= (3 * self.settings.region_tolerance) ** 2)
        return self._copy(
            candidates, int(place), drawn,
            score=float(scores.max()), matching=float(matching.float().mean()),
        )  # fmt: skip

    def _copy(
        self, candidates: Candidates, place: int, drawn: Regions, *, score: float, matching: float
    ) -> NearCopy:
        """The region of one candidate."""
        image = int(candidates.image[place])
        region, squared = drawn.mask[0], drawn.squared[0]
        return NearCopy(
            image=image,
            name=self.index.images.file_name(image),
            region=(region.flip(-1) if self.mirrored else region).numpy(),
            displacement=(int(candidates.dy[place]), int(candidates.dx[place])),
            mirrored=self.mirrored,
            offset=float(drawn.offset),
            distance=float(squared[region].mean().sqrt()),
            matching=matching,
            score=score,
        )


def _answer(views: Sequence[View], settings: CopySettings, null: CopyNull | None) -> NearCopies:
    """The copies in all views of one picture, best first."""
    open_pixels = np.ones(views[0].expected.shape, dtype=np.bool_)
    copies: list[NearCopy] = []
    while len(copies) < settings.most:
        found = [copy for view in views if (copy := view.best(open_pixels)) is not None]
        best = max(found, key=lambda copy: copy.score, default=None)
        if best is None or best.score < settings.least_score:
            break
        open_pixels &= ~best.region
        copies.append(best if null is None else replace(best, p_value=null.p_value(best.score)))
    distance = nearest_distance(views[0])
    return NearCopies(
        copies=tuple(copies),
        score=copies[0].score if copies else 0.0,
        nearest_distance=distance,
        novelty=None if null is None else null.novelty(distance),
        null=null,
        settings=settings,
    )


def nearest_distance(view: View) -> float:
    """Root mean square difference from the nearest patch, averaged over windows with detail."""
    nearest = view.near.dist_sq[:, 0]
    nearest = nearest[np.isfinite(nearest)]
    values = view.picture.shape[0] * view.settings.patch_size**2
    return float(np.sqrt(nearest / values).mean()) if len(nearest) else 0.0


def resolved(settings: CopySettings, index: PatchIndex, *, mirrored: bool = False) -> CopySettings:
    """The settings with a scale of the index whose windows fit into its images.

    Raises:
        SamplerConfigError: no scale of the index is so small.
    """
    side = min(index.images.height, index.images.width)
    fitting = [scale for scale in index.scales if 1 < scale <= side // 2]
    if not fitting:
        raise SamplerConfigError(
            f"the index has scales {', '.join(map(str, index.scales))}, of which none is between 3 "
            f"and half a side of its images ({side // 2}). Build one with scale 9 to find copies."
        )
    scale = min(fitting, key=lambda each: (abs(each - settings.patch_size), -each))
    return replace(settings, patch_size=scale, mirrored=settings.mirrored or mirrored)


def check_picture(image: Float[Tensor, "..."], images: ImageSet) -> None:
    """Raise SamplerConfigError unless this is a picture of the images' shape, about in [-1, 1]."""
    shape = (images.channels, images.height, images.width)
    if tuple(image.shape) != shape:
        raise SamplerConfigError(
            f"the picture has shape {list(image.shape)}, but the images of {images.name} are "
            f"{list(shape)}. Resize it to these channels, rows and columns."
        )
    if not bool(torch.isfinite(image).all()):
        raise SamplerConfigError(
            "the picture holds values that are not finite (nan or inf). Give numbers in [-1, 1]."
        )
    if float(image.abs().max()) > RANGE:
        raise SamplerConfigError(
            f"the picture has values from {float(image.min()):g} to {float(image.max()):g}. "
            "Give values in [-1, 1]: uint8 pixels / 127.5 - 1."
        )


def check_null(null: CopyNull, index: PatchIndex, settings: CopySettings) -> None:
    """Raise SamplerConfigError unless the null is of this index and these settings."""
    if null.index != index.digest:
        raise SamplerConfigError(
            "the null was made with another index. Make it anew with `held_out(index)`."
        )
    if null.settings != settings:
        raise SamplerConfigError(
            f"the null was made with {null.settings}, but {settings} are asked for. "
            "Make it anew with `held_out(index, settings=...)`."
        )
