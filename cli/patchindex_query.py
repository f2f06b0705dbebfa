"""`patchindex query`: the training patches that a pixel of any image comes from."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from cli.attributed_pictures import (
    CopySearch,
    ask,
    page_of,
)
from cli.devices import with_device
from cli.given import flag_of, parse_pixel
from cli.options import OF_COPIES
from cli.told_pictures import format_pictures
from cli.training_set import open_index, tell_changes
from patchindex.device import Device
from patchindex.index import PatchIndex
from patchindex.loaded import set_threads
from sampler.attribution.nearest_patches import LookupConfig
from sampler.attribution.pixel_query import Answer, PixelQuery, QueryResult, answer
from sampler.errors import OutputError, SamplerConfigError
from sampler.results.json_files import write_json
from sampler.results.output import check_writable, write_file
from sampler.results.picture_result import PictureConfig, PictureResult

LOOKUP = ("k", "label", "nprobe", "exact")
PICTURES = (".png", ".svg")
REPORTS = (".json", ".html")
# what asks for one pixel, and what for all
OF_A_PIXEL = ("pixel", "t", "noise_seed", "schedule", "k", "nprobe")
OF_ALL = OF_COPIES


@with_device
def query(
    *,
    index_path: Path | None,
    image: Path,
    whole: bool,
    device: Device,
    threads: int | None,
    out: Path | None,
    **settings: Any,
) -> QueryResult | PictureResult:
    """Show the nearest source patches of a pixel, and the posterior weight of each."""
    _refuse(whole=whole)
    if whole and not (out is None and click.get_current_context().params["as_json"]):
        check_report(out, image)
    if threads is not None:
        set_threads(threads)
    if not whole:
        return query_pixel(index_path, image, device=device, out=out, **settings)
    index = open_index(index_path, device=device)
    scale = settings["scale"]
    config = PictureConfig(
        scales=None if scale is None else (scale,),
        label=settings["label"],
        exact=settings["exact"] or None,
    )
    search = CopySearch(**{name: settings[name] for name in OF_COPIES})
    return report(index, image, config, search, out, resize=settings["resize"])


def _refuse(*, whole: bool) -> None:
    """Raise SamplerConfigError unless the options ask for one pixel, or for all."""
    context = click.get_current_context()
    for name in OF_A_PIXEL if whole else OF_ALL:
        if option := flag_of(context, name):
            raise SamplerConfigError(
                f"{option} asks for one pixel, but --all for all of them at several noise levels. "
                f"Leave out {option} or --all."
                if whole
                else f"{option} belongs to --all. Leave it out, or ask for all pixels."
            )
    if not whole and None in (context.params["pixel"], context.params["scale"]):
        raise SamplerConfigError(
            "give --pixel Y,X and --scale P to ask for one pixel, or --all --out report.json for "
            "all of them."
        )


def report(
    index: PatchIndex,
    image: Path,
    config: PictureConfig,
    search: CopySearch,
    out: Path | None,
    *,
    resize: bool,
) -> PictureResult:
    """Attribute all pixels, and write the answer, if it has a place, for machines or people."""
    asked = ask([image], index, config, search, resize=resize)
    for_people = out is not None and out.suffix.lower() == ".html"
    result = asked.result(with_sources=not for_people)
    if out is None:
        return result
    if not for_people:
        write_file(out, lambda path: write_json(result, path))
    else:
        with TemporaryDirectory(dir=out.parent, prefix=".drawing-") as scratch:
            page = page_of(asked, result, Path(scratch))
        write_file(out, lambda path: path.write_text(page.html, "utf-8", "backslashreplace"))
    for line in format_pictures(result):
        click.echo(line)
    click.echo(f"report: {out}")
    return result


def query_pixel(
    index_path: Path | None,
    image: Path,
    *,
    pixel: str,
    scale: int,
    device: Device,
    out: Path | None,
    **settings: Any,
) -> QueryResult:
    """Answer for one pixel."""
    for name in OF_ALL:
        del settings[name]
    lookup = LookupConfig(**{name: settings.pop(name) for name in LOOKUP})
    asked = PixelQuery(
        image=image, pixel=parse_pixel(pixel), patch_size=scale, lookup=lookup, **settings
    )
    if out is not None:
        check_picture(out, image)
    index = open_index(index_path, device=device)
    tell_changes(index)
    found = answer(index, asked, device.place)
    if out is not None:
        write_picture(found, out)
    # matplotlib takes most of a second to import, which no other command should wait for
    from sampler.attribution.query_figure import provenance_lines  # noqa: PLC0415

    for line in provenance_lines(found.provenance, found.training):
        click.echo(line)
    if out is not None:
        click.echo(f"picture: {out}")
    return found.result


def check_report(out: Path | None, image: Path) -> None:
    """Raise OutputError unless a report can be written there."""
    if out is None or out.suffix.lower() not in REPORTS:
        told = "there is no --out" if out is None else f"--out {out} is no report"
        raise OutputError(f"{told}. With --all, give a name that ends in {' or '.join(REPORTS)}.")
    _check_file(out, image)


def check_picture(out: Path, image: Path) -> None:
    """Raise OutputError unless a picture can be written there."""
    if out.suffix.lower() not in PICTURES:
        raise OutputError(
            f"--out {out} is no picture file. Give a name that ends in {' or '.join(PICTURES)}."
        )
    _check_file(out, image)


def _check_file(out: Path, image: Path) -> None:
    """Raise OutputError unless a file can be written there."""
    if out.is_dir():
        raise OutputError(f"--out {out} is a folder. Give the name of a file.")
    if out.exists() and image.exists() and out.samefile(image):
        raise OutputError(f"--out {out} is the image itself. Give another name.")
    check_writable(out.parent)


def write_picture(found: Answer, out: Path) -> None:
    """Draw the answer; the file appears whole or not at all."""
    # matplotlib takes most of a second to import, which no other answer should wait for
    from sampler.attribution.query_figure import provenance_figure  # noqa: PLC0415
    from sampler.results.style import save_figure  # noqa: PLC0415

    figure = provenance_figure(found)
    write_file(out, lambda path: save_figure(figure, path))
