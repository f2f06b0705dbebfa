"""`patchindex build`: an index of every patch of an image set."""

from pathlib import Path
from typing import Any, get_args

import click

from cli.cluster import sharing_options
from cli.console import echo_lines, progress_bars, resumable
from cli.options import crop_option, device_option, open_device
from patchindex import Boundary, ImageSet
from patchindex.crew import Crew
from patchindex.errors import IndexConfigError
from patchindex.index import IndexConfig, build_index
from patchindex.paths import index_path

DEFAULTS = IndexConfig()
RESUME_HINT = "Interrupted. What is finished is kept; the same command resumes."


@click.command()
@click.option(
    "--dataset", required=True, metavar="NAME|folder:PATH|npz:PATH",
    help="Training images; `patchindex datasets` lists the names.",
)  # fmt: skip
@click.option(
    "--scales", default=",".join(map(str, DEFAULTS.scales)), show_default=True,
    metavar="PIXELS,...", help="Odd patch sides.",
)  # fmt: skip
@click.option(
    "--resolution", metavar="PIXELS|HxW|native",
    help="Size of the images: a side, or height x width, such as 48x32. "
    "[default: the dataset's own]",
)  # fmt: skip
@crop_option
@click.option("--limit", type=click.IntRange(min=1), metavar="IMAGES", help="Take the first only.")
@click.option(
    "--boundary", default=DEFAULTS.boundary, show_default=True,
    metavar="|".join(get_args(Boundary)), help="What windows meet beyond the border.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=DEFAULTS.seed, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="[default: in the user's home]")
@click.option("--overwrite", is_flag=True, help="Replace an index that is there already.")
@sharing_options
@device_option
def build(
    *,
    dataset: str,
    scales: str,
    boundary: Boundary,
    seed: int,
    out: Path | None,
    overwrite: bool,
    device: str,
    crew: Crew,
    **which: Any,
) -> None:
    """Build an index; after an interruption the same command resumes."""
    config = IndexConfig(scales=parse_scales(scales), boundary=boundary, seed=seed)
    where = open_device(device).place
    with resumable(RESUME_HINT):
        images = ImageSet.load(dataset, **which)  # resolution, crop, limit
        target = out or index_path(
            dataset, height=images.height, width=images.width, boundary=boundary,
            cropped=images.crop == "center",
            first=len(images) if which["limit"] == len(images) else None,
        )  # fmt: skip
        with progress_bars() as progress:
            index = build_index(
                images,
                config,
                target,
                progress=progress,
                overwrite=overwrite,
                device=where,
                crew=crew,
            )
    echo_lines(index.info().lines())


def parse_scales(text: str) -> tuple[int, ...]:
    """Patch sizes from "3,5,9"."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise IndexConfigError(
            f"scales {text!r} are no list of whole numbers. Give for instance 3,5,9."
        ) from None
