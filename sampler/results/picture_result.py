"""What `attribution.json` holds: which training images pictures come from, by noise level."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from sampler.choices import PICTURE_DRAWS, PICTURE_SIGMAS, THEORY
from sampler.errors import SamplerConfigError
from sampler.estimator import Retrieval
from sampler.noise import check_seed
from sampler.results.json_files import (
    LARGEST,
    MANY,
    Amount,
    Between,
    Count,
    Flag,
    Label,
    Measure,
    Natural,
    Share,
    Size,
    Text,
    TextOrNull,
    Versions,
    read_json,
    wrong,
)
from sampler.results.run_result import Attribution, ImageShare
from sampler.results.source_result import ClusterResult, SourceResult
from sampler.schedule import LARGEST_SIGMA, checked_sigmas

PICTURE_FILE = "attribution.json"
MOST_IMAGES_LISTED = 1000  # of each picture; the weight of all others is told in one number
NINE_TENTHS = 0.9
# An image is said to explain a pixel from this share of it on, averaged over the noise levels.
REGION_SHARE = 0.05
ROUNDING = 1e-9
# how often a held-out image may have a region like a near-copy: at 0.05 a garment that looks like
# a training image all over was one
UNLIKELY, POSSIBLE = 0.01, 0.05
_SHOWN_IMAGES = 10  # of a page's list, as of a run's samples

Run = tuple[Count, Count, Count]
Whole = Annotated[int, Between(-MANY, MANY)]


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureConfig:
    """Everything that determines what pictures are attributed to, besides them and the index.

    Attributes:
        sigmas: noise levels in data units, falling.
        scales: patch sizes that are compared at each of them; `THEORY` for the one at which the
            machine itself denoises there; None for the largest of the index that is at most half
            of an image's side, or its smallest.
        draws: of noise at each level; results are averages over them.
        seed: of the noise, and of the tail that retrieval draws.
        label: class of the training images; None for all.
        num_sources: training patches that are listed for each pixel and level.
        exact: sum over every patch instead of retrieving; None where that is no slower.
    """

    sigmas: Annotated[
        tuple[Annotated[float, Between(0, LARGEST_SIGMA)], ...], Field(min_length=1)
    ] = PICTURE_SIGMAS
    scales: Annotated[tuple[Size, ...], Field(min_length=1)] | Literal["theory"] | None = None
    draws: Natural = PICTURE_DRAWS
    seed: Annotated[int, Between(0, 2**64 - 1)] = 0
    label: Label = None
    num_sources: Natural = 8
    exact: Flag | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "sigmas", checked_sigmas(self.sigmas))
        scales: object = self.scales
        if isinstance(scales, tuple) and scales:
            object.__setattr__(self, "scales", tuple(sorted(set(scales))))
        elif scales not in (None, THEORY):
            raise SamplerConfigError(
                f"scales are {scales!r}. Give at least one patch size of the index, or {THEORY!r}."
            )
        if self.draws < 1:
            raise SamplerConfigError(f"draws is {self.draws}. Give at least 1 draw of noise.")
        if self.num_sources < 1:
            raise SamplerConfigError(
                f"num_sources is {self.num_sources}. Give at least 1 source for each pixel."
            )
        check_seed(self.seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureLevel:
    """A noise level, over all pixels of all pictures.

    Attributes:
        patch_size: of the windows that were compared.
        effective_sample_size, head_mass: medians.
        standard_error: root mean square over pixels.
    """

    sigma: Amount
    patch_size: Size
    effective_sample_size: Measure
    head_mass: Measure
    standard_error: Measure


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingImage:
    """A training image that a picture comes from.

    Attributes:
        image, name, label: its number, file and class; None where images have none.
        share: of the picture, mean over pixels and levels.
        by_level: the same at each level.
        region: rows of pixels that it explains, as (y, first x, last x): its share of them, by the
            listed patches and averaged over the levels, is at least `PictureResult.region_share`.
    """

    image: Count
    name: TextOrNull
    label: Label
    share: Share
    by_level: tuple[Share, ...]
    region: tuple[Run, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelSources:
    """The listed training patches of all pixels at one level, row by row, heaviest first.

    Attributes:
        image, y, x: [pixel][source] training image and center of each patch; pixel is
            row * width + column.
        weight: [pixel][source] share of the pixel's posterior.
    """

    image: tuple[tuple[Count, ...], ...]
    y: tuple[tuple[Count, ...], ...]
    x: tuple[tuple[Count, ...], ...]
    weight: tuple[tuple[Share, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyReport:
    """A region of a picture that is copied from a training image; see `NearCopy`.

    Attributes:
        region: rows of its pixels, as (y, first x, last x).
        pixels: how many they are.
        p_value: how often held-out images have a region with such a score; None if unknown. It is
            held against the best region of each, so that looking at many regions costs nothing.
        accepted: whether this is shown as a near-copy: `p_value` is at most 0.01, or, with fewer
            than 99 held-out images, the smallest that there can be, of a region that none of them
            has. Without held-out images nothing is. Regions that are not accepted are like those
            of pictures that copy nothing. `read_pictures` fills it in for files without.
    """

    image: Count
    name: TextOrNull
    label: Label
    region: tuple[Run, ...]
    pixels: Natural
    displacement: tuple[Whole, Whole]
    mirrored: Flag
    offset: Measure
    distance: Measure
    matching: Share
    score: Measure
    p_value: Share | None
    accepted: Flag | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiesReport:
    """The near-copies of a picture; see `sampler.attribution.copy_results.NearCopies`.

    Attributes:
        copies: most evidence first.
        patch_size: of the windows that were looked up.
        held_out: how many images say how unlikely copies are; 0 for none.
        held_out_from: the images that they are of; None for training images, each without itself.
    """

    copies: tuple[CopyReport, ...]
    nearest_distance: Measure
    novelty: Share | None
    patch_size: Size
    mirrored: Flag
    held_out: Count
    held_out_from: TextOrNull

    @property
    def accepted(self) -> tuple[CopyReport, ...]:
        """What is shown as near-copies; see `CopyReport.accepted`."""
        return tuple(copy for copy in self.copies if copy.accepted)

    @property
    def possible(self) -> tuple[CopyReport, ...]:
        """The weaker ones: one in 20 held-out images has the like, or nothing says how many."""
        return tuple(
            copy
            for copy in self.copies
            if not copy.accepted and (copy.p_value is None or copy.p_value <= POSSIBLE)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureReport:
    """One picture.

    Attributes:
        name: its file, and which one of several in it.
        sha256: of its values as float32 in [-1, 1].
        resized_from: height and width that it had; None if it was not resized.
        images: training images with the largest shares.
        others: share of all other images that were named.
        unattributed: share for which no image was named.
        by_level: the unattributed share at each level.
        images_to_nine_tenths: how many images make nine tenths of the attributed share.
        sources: of every pixel at each level; None where `trace.zarr` has them.
        near_copies: None where none were looked for.
    """

    name: Text
    sha256: Text
    resized_from: tuple[Size, Size] | None
    images: tuple[TrainingImage, ...]
    others: Share
    unattributed: Share
    by_level: tuple[Share, ...]
    images_to_nine_tenths: Count
    sources: tuple[PixelSources, ...] | None
    near_copies: CopiesReport | None = None

    @property
    def attribution(self) -> Attribution:
        """The heaviest images, as of a run's samples."""
        shown = self.images[:_SHOWN_IMAGES]
        rest = sum((image.share for image in self.images[_SHOWN_IMAGES:]), 0.0)
        return Attribution(
            images=tuple(
                ImageShare(image=image.image, share=image.share, label=image.label, name=image.name)
                for image in shown
            ),
            others=self.others + rest,
            unattributed=self.unattributed,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureResult:
    """What `attribution.json` holds.

    Attributes:
        config: with `exact` as it was in the end.
        k, tail: settings of retrieval.
        region_share: see `TrainingImage.region`.
        source: the index, and the training images in it.
        seconds: of all levels.
        levels: the highest noise first.
        cluster: None for a process alone.
    """

    schema_version: Natural = 1
    config: PictureConfig
    k: Count
    tail: Count = Retrieval.tail
    region_share: Annotated[float, Between(0, LARGEST)] = REGION_SHARE
    boundary: Text
    source: SourceResult
    device: Text
    seconds: Amount
    levels: Annotated[tuple[PictureLevel, ...], Field(min_length=1)]
    pictures: Annotated[tuple[PictureReport, ...], Field(min_length=1)]
    cluster: ClusterResult | None = None
    versions: Versions


def is_accepted(p_value: float | None, held_out: int) -> bool:
    """The rule of `CopyReport.accepted`."""
    return p_value is not None and p_value <= max(UNLIKELY, 1 / (1 + held_out) + ROUNDING)


def read_pictures(path: Path | str) -> PictureResult:
    """What an `attribution.json` says.

    Example:
        >>> read_pictures("explained/one/attribution.json").pictures[0].near_copies.accepted

    Raises:
        FileNotFoundError: there is none.
        ResultsError: it cannot be read, or what it says cannot be.
        SamplerConfigError: a version of the future wrote it.
    """
    path = Path(path)
    result = read_json(path, PictureResult)
    count, last = len(result.levels), result.source.num_images - 1
    for number, picture in enumerate(result.pictures):
        for place, part in enumerate(picture.images):
            where = f"pictures[{number}].images[{place}]"
            if part.image > last:
                words = f"a whole number from 0 to {last}"
                raise wrong(part.image, words, f"{where}.image", path)
            if len(part.by_level) != count:
                words = f"a list of {count} shares"
                raise wrong(list(part.by_level), words, f"{where}.by_level", path)
    return replace(result, pictures=tuple(map(_with_rule, result.pictures)))


def _with_rule(picture: PictureReport) -> PictureReport:
    """A picture of which each region says whether it is accepted, as older files do not."""
    near = picture.near_copies
    if near is None or all(copy.accepted is not None for copy in near.copies):
        return picture
    copies = tuple(
        replace(copy, accepted=is_accepted(copy.p_value, near.held_out))
        if copy.accepted is None
        else copy
        for copy in near.copies
    )
    return replace(picture, near_copies=replace(near, copies=copies))


def images_to(part: float, shares: Sequence[float]) -> int:
    """How many of these shares, the largest first, make a part of their sum.

    Example:
        >>> images_to(0.9, [0.5, 0.3, 0.1, 0.02])
        3
    """
    wanted, total = part * sum(shares), 0.0
    for number, share in enumerate(sorted(shares, reverse=True)):
        if total >= wanted * (1 - 1e-12):
            return number
        total += share
    return len(shares)
