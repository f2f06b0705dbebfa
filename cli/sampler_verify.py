"""`sampler verify`: retrieval beside the exact scan, at every step of an exact trajectory."""

import sys
from pathlib import Path
from typing import Any

import click

from cli.options import (
    device_options,
    index_option,
    label_option,
    out_option,
    process_options,
    retrieval_options,
    seed_option,
    threads_option,
)
from cli.training_set import open_index
from patchindex.device import Device
from patchindex.environment import set_threads
from sampler.results.output import reserve_output, write_verification
from sampler.results.run_result import SamplerConfig
from sampler.results.study_results import VERIFY_FILE, FinalComparison, StepComparison
from sampler.results.tables import VERIFICATION_HEADER, verification_row
from sampler.studies.verify import VerifyConfig, plan_verification
from sampler.studies.verify import verify as carry_out

DEFAULTS = VerifyConfig()


@click.command()
@index_option
@retrieval_options
@process_options
@click.option(
    "--num", type=int, metavar="SAMPLES", default=DEFAULTS.sampling.num, show_default=True
)
@seed_option
@label_option
@click.option(
    "--recall-pixels",
    type=int,
    metavar="PIXELS",
    default=DEFAULTS.recall_pixels,
    show_default=True,
    help="Per step, whose true k nearest patches are found by brute force; 0 leaves recall out.",
)
@click.option(
    "--finals", is_flag=True, help="Compare also the images that retrieval ends in by itself."
)
@device_options
@threads_option
@out_option("runs/verify-DATASET-SEED")
@click.option("--overwrite", is_flag=True, help="Replace a verification that is there already.")
def verify(
    *,
    index_path: Path | None,
    recall_pixels: int,
    finals: bool,
    device: Device,
    threads: int | None,
    out: Path | None,
    overwrite: bool,
    **settings: Any,
) -> None:
    """Say how far retrieval is from exact: a table, verify.png, verify.svg and verify.json."""
    config = VerifyConfig(
        sampling=SamplerConfig(**settings), recall_pixels=recall_pixels, finals=finals
    )
    if threads is not None:
        set_threads(threads)
    index = open_index(index_path, device=device)
    plan = plan_verification(index, config, device.place)
    name = f"verify-{Path(index.images.name).stem}-{config.sampling.seed}"
    folder = out or Path("runs", name)
    with reserve_output(folder, overwrite=overwrite, kind=VERIFY_FILE):
        click.echo(VERIFICATION_HEADER)
        finished = carry_out(plan, on_row=show_row)
        write_verification(finished, folder)
    if finished.finals is not None:
        click.echo(finals_line(finished.finals))
    lowest = min(row.R2 for row in finished.steps)
    click.echo(f"lowest R2 {lowest:.6f} of {len(finished.steps)} steps: {folder / 'verify.png'}")


def show_row(row: StepComparison) -> None:
    """One row of the table as soon as it is known."""
    click.echo(verification_row(row))
    sys.stdout.flush()


def finals_line(finals: FinalComparison) -> str:
    """How alike the final images are, by the three measures."""
    return (
        f"final images: Pearson r median {finals.r_median:.4f}, lowest {finals.r_lowest:.4f}; "
        f"median r2 {finals.r2_median:.4f}, median R2 {finals.R2_median:.4f}"
    )
