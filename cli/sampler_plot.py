"""`sampler plot`: pictures of results that are there already."""

from pathlib import Path

import click

from sampler.results.plot_folder import plot_folder


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="[default: the same folder]"
)
def plot(*, folder: Path, out: Path | None) -> None:
    """Draw the steps of a run, a verification or an audit, that DIR holds, as PNG and SVG.

    Of a run: steps.png and, if it has a trace, attribution.png. Of a verification: verify.png. Of
    an audit: audit.png.
    """
    for path in plot_folder(folder, out or folder):
        click.echo(path)
