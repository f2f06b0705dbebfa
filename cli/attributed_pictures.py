"""What two commands do with pictures: read them, attribute them, write the answer."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np

from cli.console import progress_bars
from patchindex import ImageSet, PatchIndex
from sampler.attribution.attributed import PictureAttributions
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
from sampler.errors import OutputError
from sampler.results.json_files import write_json
from sampler.results.output import write_whole
from sampler.results.picture_result import PICTURE_FILE, PictureConfig, PictureReport, PictureResult
from sampler.results.run_result import RUN_FILE
from sampler.results.trace import TRACE

PAGE = "explain.html"
SHARES_TOLD = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AskedPictures:
    """Pictures that were attributed, and the index that they were held against."""

    index: PatchIndex
    files: Sequence[PictureFile]
    found: PictureAttributions


def ask(
    paths: Sequence[Path],
    training_set: ImageSet | PatchIndex,
    config: PictureConfig,
    *,
    resize: bool,
) -> AskedPictures:
    """Attribute the pictures in files, with progress.

    Raises:
        UserError: a file, or a setting that the index does not admit; images without an index.
    """
    files = read_pictures(paths, training_set.images, resize=resize)
    for file in files:
        if file.resized_from is not None:
            click.echo(resized_line(file, training_set.images), err=True)
    with progress_bars() as progress:
        found = attribute(training_set, stacked(files), config, progress)
    assert isinstance(training_set, PatchIndex)  # noqa: S101 - nothing else can name sources
    return AskedPictures(index=training_set, files=files, found=found)


def resized_line(file: PictureFile, images: ImageSet) -> str:
    """How a picture was resized."""
    height, width = file.resized_from or (images.height, images.width)
    cut = " after a cut around its center" if images.crop == "center" else ""
    return f"{file.name}: resized from {height}x{width} to {images.height}x{images.width}{cut}"


def check_no_run(folder: Path) -> None:
    """Raise OutputError if a folder holds a run, whose trace would be lost."""
    if (folder / RUN_FILE).exists():
        raise OutputError(f"{folder} holds a run. Give another --out for the pictures.")


def write_attribution(asked: AskedPictures, folder: Path) -> tuple[PictureResult, Explanation]:
    """Write trace, pictures, page and, last, attribution.json into a folder that is held.

    Raises:
        OutputError: the disk is full or the folder went away.
    """
    result = picture_result(asked.found, asked.files, asked.index)
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
    return build_page(PictureFolder.open(folder), asked.index.images)


def format_pictures(result: PictureResult) -> Iterator[str]:
    """What was found of each picture, in a line."""
    for picture in result.pictures:
        yield f"{picture.name}: {summary_of(picture)}"


def summary_of(picture: PictureReport) -> str:
    """The largest shares, how many images make nine tenths of them, and what is unattributed."""
    if not picture.images:
        return "no training image was named: its weight is spread over very many patches"
    largest = ", ".join(
        f"{part.name or f'image {part.image}'} {part.share:.1%}"
        for part in picture.images[:SHARES_TOLD]
    )
    count = picture.images_to_nine_tenths
    images = "1 training image makes" if count == 1 else f"{count:,} training images make"
    return (
        f"{largest}; {images} nine tenths of what is attributed; "
        f"{picture.unattributed:.1%} unattributed"
    )
