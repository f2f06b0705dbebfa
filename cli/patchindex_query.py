"""`patchindex query`: the training patches that a pixel of any image comes from."""

import json
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from cli.attributed_pictures import (
    OF_COPIES,
    CopySearch,
    ask,
    copy_options,
    format_pictures,
    page_of,
)
from cli.options import device_options, flag_of, index_option, schedule_option, threads_option
from cli.training_set import open_index
from patchindex.device import Device
from patchindex.environment import set_threads
from patchindex.index import PatchIndex
from sampler.attribution.nearest_patches import LookupConfig
from sampler.attribution.pixel_query import Answer, PixelQuery, answer
from sampler.errors import OutputError, SamplerConfigError
from sampler.results.json_files import write_json
from sampler.results.output import check_writable, write_file
from sampler.results.picture_result import PictureConfig

DEFAULTS = LookupConfig()
LOOKUP = ("k", "label", "nprobe", "exact")
PICTURES = (".png", ".svg")
REPORTS = (".json", ".html")
# what asks for one pixel, and what for all
OF_A_PIXEL = ("pixel", "t", "noise_seed", "schedule", "k", "nprobe", "as_json")
OF_ALL = ("resize", *OF_COPIES)


@click.command()
@index_option
@click.option(
    "--image", required=True, type=click.Path(path_type=Path), metavar="FILE",
    help="PNG, JPEG or .npy of one image, of the size of the index's images.",
)  # fmt: skip
@click.option("--pixel", metavar="Y,X", help="Row and column, from 0.")
@click.option(
    "--scale", type=int, metavar="P",
    help="Patch size in the index. [with --all, by default the one that belongs to each level]",
)  # fmt: skip
@click.option(
    "--all", "whole", is_flag=True,
    help="In place of --pixel: all pixels at several noise levels, as `sampler explain "
    "--image`, into --out FILE.json or FILE.html.",
)  # fmt: skip
@click.option("--resize", is_flag=True, help="With --all, resize the image to the index's size.")
@copy_options
@click.option(
    "--t", type=float, metavar="TIME",
    help="Noise level, 0 to 1; the image is the noisy state. [default: no noise]",
)  # fmt: skip
@click.option(
    "--noise-seed", type=int, metavar="SEED", help="At --t, add noise of this seed to the image."
)
@schedule_option
@click.option(
    "--k", type=int, metavar="PATCHES", default=DEFAULTS.k, show_default=True,
    help="Source patches to list.",
)  # fmt: skip
@click.option("--label", type=int, help="Class number of the images; others are left out.")
@click.option(
    "--nprobe", type=int, metavar="LISTS", default=DEFAULTS.nprobe, show_default=True,
    help="Inverted lists visited.",
)  # fmt: skip
@click.option("--exact", is_flag=True, help="Compare every legal patch; takes seconds.")
@device_options
@threads_option
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE.png",
    help="Draw the window, and each source in its training image; with --all the report.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def query(
    *,
    index_path: Path | None,
    image: Path,
    whole: bool,
    device: Device,
    threads: int | None,
    out: Path | None,
    **settings: Any,
) -> None:
    """Show the nearest source patches of a pixel, and the posterior weight of each."""
    _refuse(whole=whole)
    if whole:
        check_report(out, image)
    if threads is not None:
        set_threads(threads)
    if not whole:
        query_pixel(index_path, image, device=device, out=out, **settings)
        return
    assert out is not None  # noqa: S101 - which was checked
    index = open_index(index_path, device=device)
    scale = settings["scale"]
    config = PictureConfig(
        scales=None if scale is None else (scale,),
        label=settings["label"],
        exact=settings["exact"] or None,
    )
    search = CopySearch(**{name: settings[name] for name in OF_COPIES})
    report(index, image, config, search, out, resize=settings["resize"])


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
    out: Path,
    *,
    resize: bool,
) -> None:
    """Attribute all pixels, and write the answer for machines or for people."""
    asked = ask([image], index, config, search, resize=resize)
    if out.suffix.lower() == ".json":
        result = asked.result(with_sources=True)
        write_file(out, lambda path: write_json(result, path))
    else:
        result = asked.result()
        with TemporaryDirectory(dir=out.parent, prefix=".drawing-") as scratch:
            page = page_of(asked, result, Path(scratch))
        write_file(out, lambda path: path.write_text(page.html, "utf-8", "backslashreplace"))
    for line in format_pictures(result):
        click.echo(line)
    click.echo(f"report: {out}")


def query_pixel(
    index_path: Path | None,
    image: Path,
    *,
    pixel: str,
    scale: int,
    device: Device,
    out: Path | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Answer for one pixel."""
    for name in OF_ALL:
        del settings[name]
    lookup = LookupConfig(**{name: settings.pop(name) for name in LOOKUP})
    asked = PixelQuery(
        image=image, pixel=parse_pixel(pixel), patch_size=scale, lookup=lookup, **settings
    )
    if out is not None:
        check_picture(out, image)
    found = answer(open_index(index_path, device=device), asked, device.place)
    if out is not None:
        write_picture(found, out)
    if as_json:
        click.echo(json.dumps(asdict(found.result), indent=2))
        return
    # matplotlib takes most of a second to import, which no other command should wait for
    from sampler.attribution.query_figure import provenance_lines  # noqa: PLC0415

    for line in provenance_lines(found.provenance, found.training):
        click.echo(line)
    if out is not None:
        click.echo(f"picture: {out}")


def parse_pixel(text: str) -> tuple[int, int]:
    """Row and column from "12,7"."""
    try:
        y, x = (int(part) for part in text.split(","))
    except ValueError:
        raise SamplerConfigError(
            f"pixel {text!r} is no row and column. Give two whole numbers, such as 12,7."
        ) from None
    return y, x


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
