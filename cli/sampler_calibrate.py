"""`sampler calibrate`: which patch size serves best at each noise level."""

from pathlib import Path
from typing import Any

import click

from cli.cluster import cluster_options
from cli.console import progress_bars
from cli.options import (
    IMAGE_SETTINGS,
    boundary_option,
    dataset_option,
    device_options,
    exact_option,
    image_options,
    index_option,
    label_option,
    networks_schedule_option,
    out_option,
    retrieval_options,
    seed_option,
    sigmas_option,
    steps_option,
    threads_option,
)
from cli.training_set import open_training_set
from patchindex.crew import Crew
from patchindex.device import Device
from patchindex.environment import set_threads
from sampler.networks import SPECS, open_network
from sampler.results.output import reserve_output
from sampler.results.run_result import SamplerConfig
from sampler.results.study_results import CALIBRATE_FILE
from sampler.scales import parse_scales
from sampler.studies.calibrate import CalibrateConfig
from sampler.studies.calibrate import calibrate as carry_out

DEFAULTS = CalibrateConfig()


@click.command()
@click.option(
    "--network", metavar=SPECS,
    help="Trained network to agree with. [default: none; denoise held-out images]",
)  # fmt: skip
@index_option
@dataset_option
@image_options
@boundary_option
@exact_option
@retrieval_options
@click.option(
    "--candidates", metavar="P,P,...",
    help="Patch sizes to choose from. [default: an index's own, or 3,5,...,17]",
)  # fmt: skip
@steps_option
@networks_schedule_option
@sigmas_option
@click.option(
    "--num", type=int, metavar="SAMPLES", default=DEFAULTS.sampling.num, show_default=True
)
@seed_option
@label_option
@cluster_options
@device_options
@threads_option
@out_option("runs/calibrate-DATASET-SEED")
@click.option("--overwrite", is_flag=True, help="Replace a calibration that is there already.")
def calibrate(
    *,
    network: str | None,
    candidates: str | None,
    schedule: str | None,
    sigmas: tuple[float, ...] | None,
    device: Device,
    crew: Crew,
    threads: int | None,
    out: Path | None,
    overwrite: bool,
    **settings: Any,
) -> None:
    """Find scales; leaves scales.yaml, calibrate.json, scales.png and receptive_field.png."""
    names = ("index_path", "dataset", *IMAGE_SETTINGS)
    which = {name: settings.pop(name) for name in names}
    training_set = open_training_set(**which, device=device, crew=crew)
    config = CalibrateConfig(
        sampling=SamplerConfig(**settings),
        candidates=None if candidates is None else parse_scales(candidates),
        levels=sigmas or schedule,
    )
    if threads is not None:
        set_threads(threads)
    trained = None if network is None else open_network(network).to(device.place)
    images = training_set.images
    name = f"calibrate-{Path(images.name).stem}-{config.sampling.seed}"
    folder = out or Path("runs", name)
    with (
        reserve_output(folder, overwrite=overwrite, kind=CALIBRATE_FILE),
        progress_bars() as progress,
    ):
        finished = carry_out(
            trained,
            training_set,
            config=config,
            on_score=lambda done, total: progress("calibrate", done, total),
            device=device.place,
        )
        finished.write(folder)
    for scale in finished.result.scales:
        click.echo(f"{scale.t:5.2f} {scale.patch_size:4d}")
    click.echo(f"{finished.result.seconds:.0f} s: {folder / 'scales.yaml'}")
