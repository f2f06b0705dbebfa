"""`sampler explain`: one HTML file in which people find where each pixel comes from."""

from pathlib import Path

import click

from cli.options import dataset_option, image_options, index_option
from cli.training_set import open_run_training_set
from sampler.attribution.leave_out import REMEDY
from sampler.attribution.run_folder import held_run
from sampler.attribution.viewer.page import explain as build_page
from sampler.errors import SamplerConfigError
from sampler.results.output import write_whole

PAGE = "explain.html"


@click.command()
@click.argument("run_dir", metavar="RUN_DIR", type=click.Path(path_type=Path))
@click.option(
    "--samples", metavar="I,I,...", help="Samples to show. [default: as many as 15 MB hold]"
)
@index_option
@dataset_option
@image_options
def explain(
    *,
    run_dir: Path,
    samples: str | None,
    index_path: Path | None,
    dataset: str | None,
    resolution: str | None,
    crop: str | None,
    limit: int | None,
) -> None:
    """Write explain.html into the folder of a run that was made with --trace.

    The training images are those of the index or dataset that the run used; say where they are
    now if they have moved.
    """
    wanted = None if samples is None else parse_samples(samples)
    with held_run(run_dir) as run:
        training_set = open_run_training_set(
            run, index_path, dataset, resolution=resolution, crop=crop, limit=limit
        )
        images = training_set.images
        page = build_page(run, images, wanted)
        write_whole(
            {PAGE: lambda path: path.write_text(page.html, "utf-8", "backslashreplace")},
            run_dir,
            REMEDY,
        )
    shown = f"{len(page.samples)} of {run.result.config.num} samples"
    click.echo(
        f"{shown}, {page.num_pictures:,} of {page.num_named:,} training images, "
        f"{len(page.html) / 1e6:.1f} MB: {run_dir / PAGE}"
    )


def parse_samples(text: str) -> list[int]:
    """Numbers from "0,3,5"."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise SamplerConfigError(
            f"--samples {text!r} are no numbers. Give whole numbers, such as 0,3,5."
        ) from None
