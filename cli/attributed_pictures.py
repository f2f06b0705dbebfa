"""What two commands do with pictures: read them, attribute them, write the answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np

from cli.console import SteppedProgress, progress_bars, watched_bar
from cli.training_set import load_images, tell_changes
from patchindex import ImageSet, PatchIndex
from patchindex.images import to_unit
from sampler.attribution.attributed import PictureAttributions
from sampler.attribution.copy_null import held_out
from sampler.attribution.copy_results import CopyNull, CopySettings, NearCopies
from sampler.attribution.near_copies import check_picture, resolved, search_pictures
from sampler.attribution.overlap import without_overlap
from sampler.attribution.picture import attribute
from sampler.attribution.picture_files import PictureFile, read_pictures, stacked
from sampler.attribution.picture_folder import (
    PICTURES,
    PictureFolder,
    picture_result,
    write_trace,
)
from sampler.attribution.viewer.page import Explanation
from sampler.attribution.viewer.page import explain as build_page
from sampler.choices import HELD_OUT_IMAGES
from sampler.errors import OutputError, SamplerConfigError
from sampler.results.checkpoint import RUNNING
from sampler.results.json_files import write_json
from sampler.results.output import write_whole
from sampler.results.picture_result import (
    PICTURE_FILE,
    PictureConfig,
    PictureResult,
)
from sampler.results.run_result import RUN_FILE
from sampler.results.trace import TRACE

PAGE = "explain.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class CopySearch:
    """How near-copies are looked for.

    Attributes:
        mirrored: mirrored ones, too.
        held_out: images that say how unlikely they are; 0 for none.
        others: where these are from; None for training images, each without itself.
    """

    mirrored: bool = False
    held_out: int = HELD_OUT_IMAGES
    others: str | None = None

    def __post_init__(self) -> None:
        if self.held_out < 0:
            raise SamplerConfigError(
                f"{self.held_out} held-out images were asked for. Give how many are to say how "
                "unlikely a near-copy is, or 0 to leave that out."
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AskedPictures:
    """Pictures that were attributed, and the index that they were held against.

    Attributes:
        copies: near-copies in each; None where the index has no scale to find any with.
        others: name of the held-out images that these were compared with; None for training images.
    """

    index: PatchIndex
    files: Sequence[PictureFile]
    found: PictureAttributions
    copies: Sequence[NearCopies] | None
    others: str | None

    def result(self, *, with_sources: bool = False) -> PictureResult:
        """What `attribution.json` says."""
        return picture_result(
            self.found, self.files, self.index,
            copies=self.copies, held_out_from=self.others, with_sources=with_sources,
        )  # fmt: skip


def ask(
    paths: Sequence[Path],
    training_set: ImageSet | PatchIndex,
    config: PictureConfig,
    search: CopySearch,
    *,
    resize: bool,
) -> AskedPictures:
    """Attribute the pictures in files, and look for near-copies in them, with progress.

    Raises:
        UserError: a file, or a setting that the index does not admit; images without an index.
    """
    files = read_pictures(paths, training_set.images, resize=resize)
    if isinstance(training_set, PatchIndex):
        tell_changes(training_set)
    for file in files:
        if file.resized_from is not None:
            click.echo(resized_line(file, training_set.images), err=True)
    images = training_set.images
    others = None
    if search.others is not None:
        size = f"{images.height}x{images.width}"
        others = load_images(search.others, resolution=size, crop=images.crop)
        check_picture(to_unit(others.tensor[0]), images)
        held = without_overlap(others, images, stacked(files))
        others = held.images
        for line in held.lines():
            click.echo(line, err=True)
    # first of all, as it may refuse
    settings = copy_settings(training_set, search) if isinstance(training_set, PatchIndex) else None
    with progress_bars() as progress:
        found = attribute(training_set, stacked(files), config, progress)
        assert isinstance(training_set, PatchIndex)  # noqa: S101 - nothing else can name sources
        copies = None
        if settings is not None:
            null = null_of(training_set, settings, search.held_out, others, progress)
            progress("near-copies", 0, 1)
            copies = search_pictures(training_set, stacked(files), settings, null=null)
    name = None if others is None else others.name
    return AskedPictures(index=training_set, files=files, found=found, copies=copies, others=name)


def copy_settings(index: PatchIndex, search: CopySearch) -> CopySettings | None:
    """How near-copies are found; None, with a line that says so, where the index cannot find any.

    Raises:
        SamplerConfigError: it cannot, but mirrored ones were asked for.
    """
    try:
        return resolved(CopySettings(mirrored=search.mirrored), index)
    except SamplerConfigError as error:
        if search.mirrored:
            raise
        click.echo(f"no near-copies are looked for: {error}", err=True)
        return None


def null_of(
    index: PatchIndex,
    settings: CopySettings,
    most: int,
    others: ImageSet | None,
    progress: SteppedProgress,
) -> CopyNull | None:
    """What so many held-out images score, or as many as there are; None for 0."""
    num = min(most, len(index.images if others is None else others))
    if not num:
        return None
    return held_out(index, num=num, others=others, settings=settings, progress=progress)


def resized_line(file: PictureFile, images: ImageSet) -> str:
    """How a picture was resized."""
    height, width = file.resized_from or (images.height, images.width)
    cut = " after a cut around its center" if images.crop == "center" else ""
    return f"{file.name}: resized from {height}x{width} to {images.height}x{images.width}{cut}"


def check_no_run(folder: Path) -> None:
    """Raise OutputError if a folder holds a run, done or begun, whose trace would be lost."""
    if (folder / RUN_FILE).exists() or (folder / RUNNING).exists():
        raise OutputError(f"{folder} holds a run. Give another --out for the pictures.")


def write_attribution(asked: AskedPictures, folder: Path) -> tuple[PictureResult, Explanation]:
    """Write trace, pictures, page and, last, attribution.json into a folder that is held.

    Raises:
        OutputError: the disk is full or the folder went away.
    """
    result = asked.result()
    with TemporaryDirectory(dir=folder, prefix=".tracing-") as scratch:
        staged = Path(scratch)
        page = page_of(asked, result, staged)
        files: dict[str, Callable[[Path], object]] = {
            PICTURES: (staged / PICTURES).rename,
            PAGE: lambda path: path.write_text(page.html, "utf-8", "backslashreplace"),
            TRACE: (staged / TRACE).rename,
            PICTURE_FILE: (staged / PICTURE_FILE).rename,
        }
        write_whole(files, folder, last=PICTURE_FILE)
    return result, page


def page_of(asked: AskedPictures, result: PictureResult, folder: Path) -> Explanation:
    """The page of pictures; leaves what it is made from in the folder."""
    write_trace(asked.found, folder / TRACE)
    np.save(folder / PICTURES, asked.found.pictures.numpy())
    write_json(result, folder / PICTURE_FILE)
    with watched_bar("writing the page"):
        return build_page(PictureFolder.open(folder), asked.index.images)
