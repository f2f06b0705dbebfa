"""`patchindex query`: the training patches that a pixel of any image comes from."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from cli.options import device_options, index_option, schedule_option, threads_option
from cli.training_set import open_index
from patchindex.device import Device
from patchindex.environment import set_threads
from sampler.attribution.nearest_patches import LookupConfig
from sampler.attribution.pixel_query import Answer, PixelQuery, answer
from sampler.errors import OutputError, SamplerConfigError
from sampler.results.output import check_writable, write_file

DEFAULTS = LookupConfig()
LOOKUP = ("k", "label", "nprobe", "exact")
PICTURES = (".png", ".svg")


@click.command()
@index_option
@click.option(
    "--image", required=True, type=click.Path(path_type=Path), metavar="FILE",
    help="PNG, JPEG or .npy of one image, of the size of the index's images.",
)  # fmt: skip
@click.option("--pixel", required=True, metavar="Y,X", help="Row and column, from 0.")
@click.option("--scale", required=True, type=int, metavar="P", help="Patch size in the index.")
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
    help="Draw the window, and each source in its training image.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def query(
    *,
    index_path: Path | None,
    image: Path,
    pixel: str,
    scale: int,
    device: Device,
    threads: int | None,
    out: Path | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Show the nearest source patches of a pixel, and the posterior weight of each."""
    lookup = LookupConfig(**{name: settings.pop(name) for name in LOOKUP})
    asked = PixelQuery(
        image=image, pixel=parse_pixel(pixel), patch_size=scale, lookup=lookup, **settings
    )
    if threads is not None:
        set_threads(threads)
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


def check_picture(out: Path, image: Path) -> None:
    """Raise OutputError unless a picture can be written there."""
    if out.suffix.lower() not in PICTURES:
        raise OutputError(
            f"--out {out} is no picture file. Give a name that ends in {' or '.join(PICTURES)}."
        )
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
