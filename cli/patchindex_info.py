"""`patchindex info`, `verify` and `datasets`: what there is, and whether an index is sound."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from cli.cluster import sharing_options
from cli.console import echo_lines, progress_bars
from patchindex.crew import Crew
from patchindex.datasets import card_names, load_card
from patchindex.environment import describe_environment
from patchindex.index import PatchIndex


@click.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(path: Path | None, *, as_json: bool) -> None:
    """Show what is in an index; without PATH, versions, and what computes where."""
    found = PatchIndex.open(path).info() if path else describe_environment()
    if as_json:
        click.echo(json.dumps(asdict(found), indent=2))
    else:
        echo_lines(found.lines())


@click.command()
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


@click.command()
def datasets() -> None:
    """List the named datasets."""
    for name in card_names():
        card = load_card(name)
        shape = f"{card.num_images:,} x {card.channels} x {card.height} x {card.width}"
        click.echo(f"{name:<22} {shape:<22} {card.title} ({card.licence})")
