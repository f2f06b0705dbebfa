"""`sampler`: images from noise, by machines over an index or over a whole dataset."""

import sys
from pathlib import Path
from typing import Any

import click

from cli.messages import Commands
from patchindex import ImageSet, PatchIndex
from patchindex.environment import library_versions, set_threads
from patchindex.errors import StoreError
from patchindex.home import newest_index
from sampler.errors import SamplerConfigError
from sampler.output import reserve_output, write_run
from sampler.reverse import StepReport
from sampler.run import SamplerConfig, carry_out
from sampler.steps_table import HEADER, table_row

DEFAULTS = SamplerConfig()


def with_default(name: str) -> dict[str, Any]:
    """Default and its display, from the one place that holds it."""
    return {"default": getattr(DEFAULTS, name), "show_default": True}


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Sample images with score machines, and learn how far from exact they are."""


@main.command()
@click.option(
    "--index",
    "index_path",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Index to retrieve from. [default: the newest in the user's home]",
)
@click.option(
    "--dataset",
    metavar="NAME|folder:PATH|npz:PATH",
    help="Sum over these images exactly, without an index.",
)
@click.option("--resolution", metavar="PIXELS|native", help="Side of a --dataset's images.")
@click.option("--limit", type=int, metavar="IMAGES", help="Take the first of a --dataset only.")
@click.option("--machine", metavar="els|ls|is", **with_default("machine"))
@click.option(
    "--boundary",
    metavar="zeros|circular|circular_interior",
    help="Border rule with --dataset; an index has its own. [default: zeros]",
)
@click.option("--exact", is_flag=True, help="Sum over every patch of the index's images.")
@click.option("--k", type=int, metavar="PATCHES", help="Retrieved per pixel.", **with_default("k"))
@click.option(
    "--tail",
    type=int,
    metavar="PATCHES",
    **with_default("tail"),
    help="Drawn at random besides; 0 gives the biased naive average.",
)
@click.option(
    "--nprobe",
    type=int,
    metavar="LISTS",
    **with_default("nprobe"),
    help="Inverted lists visited per pixel.",
)
@click.option(
    "--scales",
    metavar="NAME|FILE|P,P,...",
    help="Patch size per noise level, lowest noise first. [default: as published]",
)
@click.option("--strict-scales", is_flag=True, help="Refuse a scale that the index lacks.")
@click.option("--steps", type=int, **with_default("steps"))
@click.option(
    "--schedule", metavar="cosine|cosine_offset|linear|exponential", **with_default("schedule")
)
@click.option(
    "--reference-steps", is_flag=True, help="Repeat the reference code's 19 steps from t = 0.95."
)
@click.option("--num", type=int, metavar="SAMPLES", **with_default("num"))
@click.option("--seed", type=int, **with_default("seed"))
@click.option("--noise", metavar="FILE.npy", help="Start from this noise; overrides --num.")
@click.option("--label", type=int, help="Class number to sample; others are left out.")
@click.option("--threads", type=int, metavar="N", help="Processor threads. [default: all cores]")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="[default: runs/DATASET-MACHINE-SEED]",
)
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
    seconds = finished.account["seconds"]
    click.echo(f"{len(finished.noise)} samples in {seconds:.1f} s: {folder / 'samples.png'}")


def open_source(
    index_path: Path | None, dataset: str | None, resolution: str | None, limit: int | None
) -> ImageSet | PatchIndex:
    """The index or the images that the options name; the newest index if they name none."""
    if index_path is not None and dataset is not None:
        raise SamplerConfigError(
            "both --index and --dataset were given. Give --index to retrieve, "
            "or --dataset to sum over its images exactly."
        )
    if dataset is not None:
        return ImageSet.load(dataset, resolution=resolution, limit=limit)
    if resolution is not None or limit is not None:
        raise SamplerConfigError(
            "--resolution and --limit belong to --dataset; an index has its own images. "
            "Leave them out, or give --dataset."
        )
    if index_path is None:
        index_path = newest_index()
        if index_path is None:
            raise StoreError(
                "there is no index yet. Build one with `patchindex build --dataset sample`, "
                "or give --index PATH or --dataset NAME."
            )
        click.echo(f"index: {index_path}", err=True)
    return PatchIndex.open(index_path)


def show_step(report: StepReport) -> None:
    """One row of the table as soon as it is known."""
    click.echo(table_row(report))
    sys.stdout.flush()
