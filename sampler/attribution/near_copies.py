"""Near-copies: regions of any picture that are copied from training images, and how unlikely that is.

Candidates are the displacements of training images that the nearest patches of many windows agree
on (`copy_candidates`). The picture is compared with each, pixel by pixel, and the connected region
with the most evidence of a copy is taken (`copy_regions`); what it explains is closed, and the
search goes on in the rest. Evidence is how much better the image explains the pixels than patches
of other images do, so background that any image has counts nothing. Held-out images of the same
set, treated alike, say how unlikely such a score is (`copy_null`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from patchindex import ImageSet, PatchIndex
from patchindex.images import printable
from sampler.attribution.copy_candidates import (
    Candidates,
    Neighbors,
    expected_error,
    find_neighbors,
    vote,
)
from sampler.attribution.copy_regions import Regions, displaced, find_regions
from sampler.errors import SamplerConfigError

SLACK = 0.01  # a value this far outside [-1, 1] is rounding
RANGE = 10.0  # values of samples may lie outside [-1, 1], but not so far
LARGEST_TOLERANCE = 0.5
REFERENCES = 8  # patches of the farther half that tell what is expected of no copy
REFINED = 4  # candidates whose region is found again at every tolerance


@dataclass(frozen=True, slots=True, kw_only=True)
class CopySettings:
    """How near-copies are looked for.

    Attributes:
        patch_size: of the windows that are looked up: the index's nearest scale.
        k: nearest patches of each window.
        nprobe: inverted lists visited for each.
        candidates: displacements of images that are compared densely, in each search.
        tolerances: root mean square differences of a copy, in [-1, 1] units; for each region that
            which gives the most evidence.
        most_offset: largest difference in brightness, in [-1, 1] units.
        most: copies that are reported at most.
        least_score: evidence in nats that a region must have to be reported.
        mirrored: look for mirrored copies, too.

    Raises:
        SamplerConfigError: a number is out of range.
    """

    patch_size: int = 9
    k: int = 32
    nprobe: int = 16
    candidates: int = 64
    tolerances: tuple[float, ...] = (0.03, 0.06, 0.12)
    most_offset: float = 0.2
    most: int = 8
    least_score: float = 5.0
    mirrored: bool = False

    def __post_init__(self) -> None:
        for name in ("nprobe", "candidates", "most"):
            if getattr(self, name) < 1:
                raise SamplerConfigError(f"{name} is {getattr(self, name)}. Give at least 1.")
        if self.k < 2:
            raise SamplerConfigError(
                f"k is {self.k}. Give at least 2 patches: the farther are compared with the nearer."
            )
        if not self.tolerances or not all(0 < t <= LARGEST_TOLERANCE for t in self.tolerances):
            raise SamplerConfigError(
                f"tolerances are {self.tolerances}. Give numbers above 0, at most "
                f"{LARGEST_TOLERANCE}, in [-1, 1] units."
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NearCopy:
    """A region of a picture that is copied from a training image.

    Attributes:
        image: number of the training image.
        name: its file, if the images have names, or None.
        region: the copied pixels. Plain pixels at its outside, which any image has, are not in it.
        displacement: (dy, dx); pixel (y, x) of the region is pixel (y + dy, x + dx) of the image,
            or, mirrored, the pixel (y, width - 1 - x) of the picture flipped left to right is.
        mirrored: the picture flipped left to right holds the copy.
        offset: brightness added to the image, in [-1, 1] units.
        distance: root mean square difference in the region from the image so brightened, in
            [-1, 1] units.
        matching: share of all pixels of the picture that the image explains as well, plain ones
            included: 1 for a training image itself.
        score: evidence of the region, in nats; see `copy_regions`.
        p_value: how often a held-out image has a region with such a score, at least 1 / (1 + N);
            None if no null was given.
    """

    image: int
    name: str | None
    region: Bool[ndarray, "h w"]
    displacement: tuple[int, int]
    mirrored: bool
    offset: float
    distance: float
    matching: float
    score: float
    p_value: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CopyNull:
    """What held-out images score: see `copy_null.held_out`.

    Attributes:
        scores: evidence of the best region of each, 0 where it has none.
        distances: `NearCopies.nearest_distance` of each.
        origin: "left out" for training images asked without themselves, "held out" for others.
        settings: they were asked with.
        index: digest of the index.
    """

    scores: tuple[float, ...]
    distances: tuple[float, ...]
    origin: str
    settings: CopySettings
    index: str

    def p_value(self, score: float) -> float:
        """(1 + scores as large or larger) / (1 + N): never below 1 / (1 + N)."""
        return (1 + sum(each >= score for each in self.scores)) / (1 + len(self.scores))

    def novelty(self, distance: float) -> float:
        """Share of the held-out images that are nearer to their nearest patches, ties half."""
        nearer = sum((each < distance) + 0.5 * (each == distance) for each in self.distances)
        return nearer / len(self.distances)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NearCopies:
    """The near-copies in a picture, most evidence first.

    Attributes:
        copies: their regions do not overlap.
        score: of the first, 0 where there is none.
        nearest_distance: root mean square difference of windows from their nearest training
            patches, averaged over all windows that are not plain; 0 where all are.
        novelty: share of the null's images whose `nearest_distance` is smaller; None without null.
        null: that was compared with, or None.
        settings: the scale that was searched among them.
    """

    copies: tuple[NearCopy, ...]
    score: float
    nearest_distance: float
    novelty: float | None
    null: CopyNull | None
    settings: CopySettings


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
    settings = resolved(settings or CopySettings(), index, mirrored=mirrored)
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
    """Near-copies in each of these pictures; the lists are read once for all of them.

    Args:
        settings: with a scale of the index.
        without: for each picture an image that is left out of the search.
    """
    pictures = pictures.float().cpu()
    flips = (False, True) if settings.mirrored else (False,)
    left_out = without or [None] * len(pictures)
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
    return [_answer(each, settings, null) for each in zip(*views, strict=True)]


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
            find_regions,
            self.picture, expected=self.expected, most_offset=self.settings.most_offset,
        )  # fmt: skip
        seen = torch.from_numpy(candidates.seen)
        coarse = find(moved, valid, seen, tolerance=first_tolerance)
        top = coarse.score.argsort(descending=True, stable=True)[:REFINED]
        found: NearCopy | None = None
        for tolerance in self.settings.tolerances:
            regions = find(moved[top], valid[top], coarse.mask[top], tolerance=tolerance)
            best = int(regions.score.argmax())
            if found is None or regions.score[best] > found.score:
                place = int(top[best])
                matching = covered[place] & (regions.squared[best] <= (3 * tolerance) ** 2)
                found = self._copy(candidates, place, regions, best)
                found = replace(found, matching=float(matching.float().mean()))
        return found

    def _copy(self, candidates: Candidates, place: int, regions: Regions, number: int) -> NearCopy:
        """The region of one candidate."""
        names, image = self.index.images.names, int(candidates.image[place])
        region, squared = regions.mask[number], regions.squared[number]
        return NearCopy(
            image=image,
            name=None if names is None else printable(names[image]),
            region=(region.flip(-1) if self.mirrored else region).numpy(),
            displacement=(int(candidates.dy[place]), int(candidates.dx[place])),
            mirrored=self.mirrored,
            offset=float(regions.offset[number]),
            distance=float(squared[region].mean().sqrt()) if region.any() else 0.0,
            matching=0.0,
            score=float(regions.score[number]),
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
    scale = min(fitting, key=lambda each: (abs(each - settings.patch_size), each))
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
