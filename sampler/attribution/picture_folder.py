"""Attributed pictures as a folder holds them: `attribution.json`, `trace.zarr`, and the pictures.

The trace is laid out as that of a run, with noise levels in place of steps and pictures in place
of samples, so that whoever reads one reads the other; its states are y = x0 + sigma eps.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from patchindex import ImageSet, PatchIndex
from patchindex.device import describe_device
from patchindex.environment import library_versions
from patchindex.errors import DatasetError
from patchindex.file_names import one_line
from sampler.attribution.attributed import Level, PictureAttribution, PictureAttributions
from sampler.attribution.copy_results import NearCopies
from sampler.attribution.picture import patches_retrieved
from sampler.attribution.picture_files import PictureFile
from sampler.attribution.picture_sources import LevelSources
from sampler.attribution.shown import ShownLevel, class_of
from sampler.errors import SamplerConfigError
from sampler.results.picture_result import (
    MOST_IMAGES_LISTED,
    PICTURE_FILE,
    REGION_SHARE,
    CopiesReport,
    CopyReport,
    PictureLevel,
    PictureReport,
    PictureResult,
    PixelSources,
    Run,
    TrainingImage,
    is_accepted,
    read_pictures,
)
from sampler.results.run_result import Attribution
from sampler.results.source_result import ClusterResult
from sampler.results.trace import Trace, TraceWriter
from sampler.run import describe_source

PICTURES = "pictures.npy"
NAMED_IN_TITLE = 2
_REMEDY = "Attribute the pictures again, `sampler explain --image`."


def picture_result(
    found: PictureAttributions,
    files: Sequence[PictureFile],
    index: PatchIndex,
    *,
    copies: Sequence[NearCopies] | None = None,
    held_out_from: str | None = None,
    with_sources: bool = False,
) -> PictureResult:
    """What `attribution.json` says of pictures.

    Args:
        files: where they came from, in their order.
        copies: near-copies in each; None where none were looked for.
        held_out_from: the images that these were compared with, if not training images.
        with_sources: also say the sources of every pixel, which `trace.zarr` would have.
    """
    near_copies: Sequence[NearCopies | None] = [None] * len(files) if copies is None else copies
    return PictureResult(
        config=found.config,
        k=patches_retrieved(index.images),
        boundary=index.boundary,
        source=describe_source(index),
        device=describe_device(index.images.device.place),
        seconds=found.seconds,
        levels=tuple(_level(level) for level in found.levels),
        pictures=tuple(
            replace(
                _report(one, file, with_sources=with_sources),
                near_copies=None if near is None else _copies(near, index.images, held_out_from),
            )
            for one, file, near in zip(found, files, near_copies, strict=True)
        ),
        cluster=ClusterResult.of(index.images.crew),
        versions=library_versions(),
    )


def _level(level: Level) -> PictureLevel:
    """The summary of a level."""
    posterior = level.posterior
    return PictureLevel(
        sigma=level.sigma,
        patch_size=level.geometry.patch_size,
        effective_sample_size=float(posterior.effective_sample_size.median()),
        head_mass=float(posterior.head_mass.median()),
        standard_error=float(posterior.standard_error.square().mean().sqrt()),
    )


def _report(one: PictureAttribution, file: PictureFile, *, with_sources: bool) -> PictureReport:
    """What is written of one picture."""
    listed = one.shares[:MOST_IMAGES_LISTED]
    regions = _regions(one, {part.image for part in listed})
    return PictureReport(
        name=file.name,
        sha256=hashlib.sha256(one.image.numpy().tobytes()).hexdigest(),
        resized_from=file.resized_from,
        images=tuple(
            TrainingImage(**asdict(part), region=regions.get(part.image, ())) for part in listed
        ),
        others=sum((part.share for part in one.shares[MOST_IMAGES_LISTED:]), 0.0),
        unattributed=one.unattributed,
        by_level=tuple(level.unattributed for level in one.levels),
        images_to_nine_tenths=one.images_to_nine_tenths,
        sources=tuple(_sources(level.sources) for level in one.levels) if with_sources else None,
    )


def _copies(near: NearCopies, images: ImageSet, held_out_from: str | None) -> CopiesReport:
    """What is written of a picture's near-copies."""
    held_out = 0 if near.null is None else len(near.null.scores)
    return CopiesReport(
        copies=tuple(
            CopyReport(
                image=copy.image,
                name=copy.name,
                label=None if images.labels is None else int(images.labels[copy.image]),
                region=_rows(copy.region),
                pixels=int(copy.region.sum()),
                displacement=copy.displacement,
                mirrored=copy.mirrored,
                offset=copy.offset,
                distance=copy.distance,
                matching=copy.matching,
                score=copy.score,
                p_value=copy.p_value,
                accepted=is_accepted(copy.p_value, held_out),
            )
            for copy in near.copies
        ),
        nearest_distance=near.nearest_distance,
        novelty=near.novelty,
        patch_size=near.settings.patch_size,
        mirrored=near.settings.mirrored,
        held_out=held_out,
        held_out_from=held_out_from,
    )


def _regions(one: PictureAttribution, wanted: set[int]) -> dict[int, tuple[Run, ...]]:
    """The rows of pixels that training images explain, of those that explain any."""
    per_image = one.image[0].numel()
    named = torch.cat([level.sources.ids.flatten() for level in one.levels])
    numbers = (named[named >= 0] // per_image).unique().tolist()
    regions = {number: one.region(number) >= REGION_SHARE for number in numbers if number in wanted}
    return {number: _rows(region.numpy()) for number, region in regions.items() if region.any()}


def _rows(region: ndarray) -> tuple[Run, ...]:
    """Rows of neighbors, as (y, first x, last x)."""
    rows: list[Run] = []
    for y, x in zip(*(part.tolist() for part in region.nonzero()), strict=True):
        if rows and rows[-1][0] == y and rows[-1][2] == x - 1:
            rows[-1] = (y, rows[-1][1], x)
        else:
            rows.append((y, x, x))
    return tuple(rows)


def _sources(sources: LevelSources) -> PixelSources:
    """The listed sources of each pixel."""
    width, per_image = sources.training.width, sources.training.width * sources.training.height
    columns: dict[str, list[tuple[Any, ...]]] = {"image": [], "y": [], "x": [], "weight": []}
    ids, weights = sources.ids.flatten(0, 1), sources.weights.flatten(0, 1)
    for patches, shares in zip(ids.tolist(), weights.tolist(), strict=True):
        listed = [patch for patch in patches if patch >= 0]
        columns["image"].append(tuple(patch // per_image for patch in listed))
        columns["y"].append(tuple(patch % per_image // width for patch in listed))
        columns["x"].append(tuple(patch % width for patch in listed))
        columns["weight"].append(tuple(shares[: len(listed)]))
    return PixelSources(**{name: tuple(rows) for name, rows in columns.items()})


def write_trace(found: PictureAttributions, path: Path) -> None:
    """Write a trace of the pictures.

    Raises:
        StoreError: there is something already, or the disk is full.
    """
    trace = TraceWriter(path, found.training, len(found.levels))
    for level in found.levels:
        trace.write(level.state, level.posterior)


@dataclass(frozen=True, slots=True)
class PictureFolder:
    """Attributed pictures with their trace, as `sampler.attribution.shown.Shown` has them.

    Attributes:
        result: what `attribution.json` holds.
    """

    path: Path
    result: PictureResult
    trace: Trace

    @classmethod
    def open(cls, path: Path) -> "PictureFolder":
        """Read the result and open the trace.

        Raises:
            ResultsError: what the result says cannot be.
            SamplerConfigError: the folder holds no attributed pictures.
            StoreError: the trace cannot be read.
        """
        try:
            result = read_pictures(path / PICTURE_FILE)
        except FileNotFoundError:
            raise SamplerConfigError(
                f"{path} holds no attributed pictures: there is no {PICTURE_FILE}. {_REMEDY}"
            ) from None
        trace = Trace.open(path)
        told = (len(result.levels), len(result.pictures))
        if trace.shape[:2] != told:
            raise SamplerConfigError(
                f"the trace in {path} has {trace.shape[0]} levels of {trace.shape[1]} pictures, "
                f"but {PICTURE_FILE} tells of {told[0]} and {told[1]}. {_REMEDY}"
            )
        return cls(path, result, trace)

    @property
    def kind(self) -> Literal["run", "picture"]:
        """See `Shown`, as for all that follows."""
        return "picture"

    @property
    def attribution(self) -> tuple[Attribution, ...]:
        """Of each picture."""
        return tuple(picture.attribution for picture in self.result.pictures)

    @property
    def label(self) -> int | None:
        """The class of the training images; None for all."""
        return self.result.config.label

    @property
    def boundary(self) -> str:
        """The index's."""
        return self.result.boundary

    @property
    def compares_whole_images(self) -> bool:
        """Patches are compared."""
        return False

    def title(self, num: int) -> str:
        """Which pictures are held against which images."""
        names = [picture.name for picture in self.result.pictures]
        told = f"{num} pictures" if num > NAMED_IN_TITLE else " and ".join(names)
        return f"{told} beside the training images: {self.result.source.title}"

    def levels(self, images: ImageSet) -> tuple[ShownLevel, ...]:  # noqa: ARG002 - patches alone
        """The noise levels."""
        return tuple(
            ShownLevel(t=None, sigma=level.sigma, patch_size=level.patch_size)
            for level in self.result.levels
        )

    def facts(self, images: ImageSet) -> list[list[str]]:
        """What determines the answer."""
        result, config, source = self.result, self.result.config, self.result.source
        shape = " x ".join(map(str, source.shape))
        facts = {
            "Pictures": ", ".join(_file_words(picture) for picture in result.pictures),
            "Sums": "exact" if config.exact else f"retrieved: k {result.k}, tail {result.tail}",
            "Training images": f"{source.num_images:,} of {one_line(source.dataset)}, {shape}",
            "Checksum of the images": source.sha256,
            "Border rule": result.boundary,
            "Class": class_of(config.label, images),
            "Patch sizes": ", ".join(
                map(str, sorted({level.patch_size for level in result.levels}))
            ),
            "Noise levels": ", ".join(f"{sigma:g}" for sigma in config.sigmas),
            "Noise": f"seed {config.seed}, {config.draws} draws at each level, averaged",
            "Seconds": str(timedelta(seconds=round(result.seconds))),
            "Versions": ", ".join(f"{name} {number}" for name, number in result.versions.items()),
        }
        return [[name, value] for name, value in facts.items() if value]

    def words_of(self, number: int) -> dict[str, Any]:
        """Name and summary of a picture."""
        picture = self.result.pictures[number]
        near = picture.near_copies
        return {
            "name": picture.name,
            "resized_from": picture.resized_from,
            "images_to_nine_tenths": picture.images_to_nine_tenths,
            "complete": bool(self.result.config.exact),
            "sentence": picture.attribution.sentence(complete=bool(self.result.config.exact)),
            "near_copies": None
            if near is None
            else asdict(near) | {"possible": [near.copies.index(copy) for copy in near.possible]},
        }

    def pictures(self) -> Float[ndarray, "b c h w"]:
        """The pictures themselves.

        Raises:
            SamplerConfigError: they cannot be read.
        """
        file = self.path / PICTURES
        try:
            pictures = np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise SamplerConfigError(f"{file} cannot be read ({error}). {_REMEDY}") from error
        wanted = self.trace.shape[1:]
        if pictures.dtype != np.float32 or pictures.shape != wanted:
            raise SamplerConfigError(
                f"{file} does not hold the pictures of the trace, float32 of {wanted}. {_REMEDY}"
            )
        found: Float[ndarray, "b c h w"] = pictures
        return found

    def check_images(self, images: ImageSet) -> None:
        """Raise DatasetError unless the pictures were held against these images."""
        source = self.result.source
        if images.sha256 != source.sha256:
            raise DatasetError(
                f"the pictures in {self.path} were held against {source.num_images} images of "
                f"{source.dataset}, but these are {len(images)} of {images.name}, and not the "
                "same ones. Give the --index that was used."
            )


def _file_words(picture: PictureReport) -> str:
    """Name of a picture, and how it was resized."""
    if picture.resized_from is None:
        return picture.name
    height, width = picture.resized_from
    return f"{picture.name} (resized from {height}x{width})"
