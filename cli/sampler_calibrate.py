"""`sampler calibrate`: which patch size serves best at each noise level."""

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
from sampler.networks import open_network
from sampler.results.output import reserve_output
from sampler.results.run_result import SamplerConfig
from sampler.results.study_results import CALIBRATE_FILE, CalibrateResult
from sampler.scales import SCALES_FILE, parse_scales
from sampler.studies.calibrate import CalibrateConfig
from sampler.studies.calibrate import calibrate as carry_out


@with_crew
@with_device
def calibrate(
    *,
    network: str | None,
    candidates: str | None,
    schedule: str | None,
    sigmas: str | None,
    device: Device,
    crew: Crew,
    threads: int | None,
    out: Path | None,
    overwrite: bool,
    **settings: Any,
) -> CalibrateResult:
    """Find scales; leaves scales.yaml, calibrate.json, scales.png and receptive_field.png."""
    names = ("index_path", "dataset", *IMAGE_SETTINGS)
    which = {name: settings.pop(name) for name in names}
    check_whose(network, which["index_path"], which["dataset"])
    training_set = open_training_set(**which, device=device, crew=crew)
    config = CalibrateConfig(
        sampling=SamplerConfig(**settings),
        candidates=None if candidates is None else parse_scales(candidates),
        levels=sigmas_given(sigmas) or schedule,
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
        result = finished.result
        options = resolved_config(
            index_path=index_given(result.source.index), parts=result.config.parts,
            device=device_given(device.place),
        )  # fmt: skip
        finished.write(folder, options=options)
    click.echo(finished)
    click.echo(f"{seconds_so_far():.0f} s: {folder / SCALES_FILE}")
    return result
