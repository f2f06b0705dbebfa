"""`sampler run`: images from noise, by machines over an index or over a whole dataset."""

import sys
from pathlib import Path
from typing import Any

import click

from cli.sampler_options import (
    boundary_option,
    dataset_option,
    exact_option,
    image_options,
    index_option,
    label_option,
    out_option,
    process_options,
    retrieval_options,
    seed_option,
    threads_option,
    with_default,
)
from cli.sources import open_source
from patchindex import ImageSet
from patchindex.environment import library_versions, set_threads
from sampler.output import reserve_output, write_run
from sampler.reverse import StepReport
from sampler.run import SamplerConfig, carry_out
from sampler.steps_table import HEADER, table_row, told_ways


@click.command()
@index_option
@dataset_option
@image_options
@click.option("--machine", metavar="els|ls|is", **with_default("machine"))
@boundary_option
@exact_option
@retrieval_options
@click.option("--strict-scales", is_flag=True, help="Refuse a scale that the index lacks.")
@process_options
@click.option(
    "--reference-steps", is_flag=True, help="Repeat the reference code's 19 steps from t = 0.95."
)
@click.option("--num", type=int, metavar="SAMPLES", **with_default("num"))
@seed_option
@click.option("--noise", metavar="FILE.npy", help="Start from this noise; overrides --num.")
@label_option
@threads_option
@out_option("runs/DATASET-MACHINE-SEED")
@click.option("--overwrite", is_flag=True, help="Replace a run that is there already.")
def run(
    *,
    index_path: Path | None,
    dataset: str | None,
    resolution: str | None,
    limit: int | None,
    threads: int | None,
    out: Path | None,
    overwrite: bool,
    **settings: Any,
) -> None:
    """Write samples.npy, samples.png and run.json into a folder."""
    config = SamplerConfig(**settings)
    if threads is not None:
        set_threads(threads)
    source = open_source(index_path, dataset, resolution, limit)
    images = source if isinstance(source, ImageSet) else source.images
    folder = out or Path("runs", f"{Path(images.name).stem}-{config.machine}-{config.seed}")
    reserve_output(folder, overwrite=overwrite)
    click.echo(HEADER)
    finished = carry_out(source, config, on_step=show_step)
    finished.account["versions"] = library_versions()
    write_run(finished, folder)
    if config.tolerance is not None:
        click.echo(told_ways(finished.result.steps, config.tolerance))
    seconds = finished.account["seconds"]
    click.echo(f"{len(finished.noise)} samples in {seconds:.1f} s: {folder / 'samples.png'}")


def show_step(report: StepReport) -> None:
    """One row of the table as soon as it is known."""
    click.echo(table_row(report))
    sys.stdout.flush()
