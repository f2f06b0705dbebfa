"""`sampler compare`: a trained network beside the theory, from the same noise."""

from pathlib import Path
from typing import Any

import click

from cli.cluster import with_crew
from cli.config_file import resolved_config
from cli.console import progress_bars, seconds_so_far
from cli.devices import with_device
from cli.given import device_given, index_given, sigmas_given
from cli.options import IMAGE_SETTINGS
from cli.training_set import check_whose, open_training_set
from patchindex.crew import Crew
from patchindex.device import Device
from patchindex.loaded import set_threads
from sampler.choices import BaselineName
from sampler.networks import open_network
from sampler.results.output import reserve_output
from sampler.results.run_result import SamplerConfig
from sampler.results.study_results import COMPARE_FILE, CompareResult
from sampler.studies.compare import CompareConfig
from sampler.studies.compare import compare as carry_out


@with_crew
@with_device
def compare(
    *,
    network: str,
    network_steps: tuple[int, ...],
    baselines: tuple[BaselineName, ...],
    sigmas: str | None,
    device: Device,
    crew: Crew,
    threads: int | None,
    out: Path | None,
    overwrite: bool,
    **settings: Any,
) -> CompareResult:
    """Print a table like the paper's; leaves compare.json, images.npz and two pictures."""
    names = ("index_path", "dataset", *IMAGE_SETTINGS)
    which = {name: settings.pop(name) for name in names}
    check_whose(network, which["index_path"], which["dataset"])
    opened = open_network(network).to(device.place)
    schedule = settings.pop("schedule")
    levels = sigmas_given(sigmas)
    training_set = open_training_set(**which, device=device, crew=crew)
    config = CompareConfig(
        sampling=SamplerConfig(**settings),
        network_steps=network_steps,
        levels=levels or schedule,
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
        result = finished.result
        options = resolved_config(
            index_path=index_given(result.source.index), parts=result.config.parts,
            device=device_given(device.place),
        )  # fmt: skip
        finished.write(folder, options=options)
    click.echo(finished)
    click.echo(f"{seconds_so_far():.0f} s: {folder / 'samples.png'}")
    return result
