"""`patchindex`: build an index of every patch of an image set, and look at what is in it."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import click

from cli.cluster import sharing_options
from cli.console import Commands, progress_bars, resumable
from cli.options import crop_option, device_option, open_device
from cli.patchindex_query import query
from cli.patchindex_worker import worker
from patchindex import Boundary, ImageSet
from patchindex.crew import Crew
from patchindex.datasets import card_names, load_card
from patchindex.environment import describe_environment
from patchindex.errors import IndexConfigError
from patchindex.index import IndexConfig, PatchIndex, build_index
from patchindex.paths import index_path

DEFAULTS = IndexConfig()
RESUME_HINT = "Interrupted. What is finished is kept; the same command resumes."


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Find the training patches that matter, out of all there are."""


@main.command()
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


@main.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(path: Path | None, *, as_json: bool) -> None:
    """Show what is in an index; without PATH, versions, and what computes where."""
    found = PatchIndex.open(path).info() if path else describe_environment()
    if as_json:
        click.echo(json.dumps(asdict(found), indent=2))
    else:
        echo_lines(found.lines())


@main.command()
@click.argument("path", type=click.Path(path_type=Path))
@sharing_options
def verify(path: Path, crew: Crew) -> None:
    """Read a whole index again: checksums, and that each patch is in it exactly once."""
    index = PatchIndex.open(path, crew=crew)
    crew.admit(index)
    with progress_bars() as progress:
        index.verify(progress)
    patches = sum(scale.patches for scale in index.info().scales)
    click.echo(f"{path} is whole: {patches:,} patches in {len(index.scales)} scales.")


@main.command()
def datasets() -> None:
    """List the named datasets."""
    for name in card_names():
        card = load_card(name)
        shape = f"{card.num_images:,} x {card.channels} x {card.height} x {card.width}"
        click.echo(f"{name:<22} {shape:<22} {card.title} ({card.licence})")


main.add_command(query)
main.add_command(worker)


def parse_scales(text: str) -> tuple[int, ...]:
    """Patch sizes from "3,5,9"."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise IndexConfigError(
            f"scales {text!r} are no list of whole numbers. Give for instance 3,5,9."
        ) from None


def echo_lines(lines: Iterable[str]) -> None:
    """Print results."""
    for line in lines:
        click.echo(line)


if __name__ == "__main__":
    main()
