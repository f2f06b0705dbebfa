"""`sampler compare`: a trained network beside the theory, from the same noise."""

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from cli.cluster import cluster_options
from cli.console import progress_bars
from cli.options import (
    IMAGE_SETTINGS,
    dataset_option,
    device_options,
    exact_option,
    image_options,
    index_option,
    label_option,
    networks_schedule_option,
    out_option,
    retrieval_options,
    sampler_option,
    scales_option,
    seed_option,
    sigmas_option,
    steps_option,
    threads_option,
)
from cli.training_set import open_training_set
from patchindex.crew import Crew
from patchindex.device import Device
from patchindex.environment import set_threads
from sampler.errors import SamplerConfigError
from sampler.networks import DEFAULT_NETWORK, SPECS, open_network
from sampler.results.output import reserve_output
from sampler.results.run_result import SamplerConfig
from sampler.results.study_results import COMPARE_FILE
from sampler.results.tables import table_lines
from sampler.studies.compare import CompareConfig
from sampler.studies.compare import compare as carry_out
from sampler.studies.locality_baselines import BASELINES, BaselineName

DEFAULTS = CompareConfig()


@click.command()
@click.option(
    "--network", metavar=SPECS, default=DEFAULT_NETWORK, show_default=True,
    help="A bundled network, what `sampler train` wrote, or a network of others.",
)  # fmt: skip
@index_option
@dataset_option
@image_options
@exact_option
@retrieval_options
@scales_option
@steps_option
@networks_schedule_option
@sigmas_option
@sampler_option
@click.option(
    "--network-steps", metavar="N", type=int, multiple=True,
    default=DEFAULTS.network_steps, show_default=True, help="Of the network; may be repeated.",
)  # fmt: skip
@click.option(
    "--baseline", "baselines", metavar="|".join(BASELINES), multiple=True,
    default=DEFAULTS.baselines, show_default=True, help="Beside the theory; may be repeated.",
)  # fmt: skip
@click.option(
    "--num", type=int, metavar="SAMPLES", default=DEFAULTS.sampling.num, show_default=True
)
@seed_option
@label_option
@cluster_options
@device_options
@threads_option
@out_option("runs/compare-DATASET-SEED")
@click.option("--overwrite", is_flag=True, help="Replace a comparison that is there already.")
def compare(
    *,
    network: str,
    network_steps: tuple[int, ...],
    baselines: tuple[BaselineName, ...],
    device: Device,
    crew: Crew,
    threads: int | None,
    out: Path | None,
    overwrite: bool,
    **settings: Any,
) -> None:
    """Print a table like the paper's; leaves compare.json, images.npz and two pictures."""
    names = ("index_path", "dataset", *IMAGE_SETTINGS)
    opened = open_network(network).to(device.place)
    which = {name: settings.pop(name) for name in names}
    sigmas, schedule = settings.pop("sigmas"), settings.pop("schedule")
    given = click.get_current_context().get_parameter_source("network_steps")
    if sigmas is not None and given is ParameterSource.COMMANDLINE:
        raise SamplerConfigError(
            "both --sigmas and --network-steps were given. The network samples at the noise levels "
            "of --sigmas, too; leave --network-steps out."
        )
    training_set = open_training_set(**which, device=device, crew=crew)
    config = CompareConfig(
        sampling=SamplerConfig(**settings),
        network_steps=network_steps,
        levels=sigmas or schedule,
        baselines=baselines,
    )
    if threads is not None:
        set_threads(threads)
    images = training_set.images
    folder = out or Path("runs", f"compare-{Path(images.name).stem}-{config.sampling.seed}")
    with (
        reserve_output(folder, overwrite=overwrite, kind=COMPARE_FILE),
        progress_bars() as progress,
    ):
        finished = carry_out(
            opened, training_set, config=config, on_step=progress, device=device.place
        )
        finished.write(folder)
    for line in table_lines(finished.result):
        click.echo(line)
    seconds = sum(finished.result.seconds.values())
    click.echo(f"{finished.result.config.num} samples in {seconds:.0f} s: {folder / 'samples.png'}")
