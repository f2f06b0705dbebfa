"""`sampler denoise`: how well theories and a network denoise images that they do not hold."""

from pathlib import Path
from typing import Any

import click

from cli.cluster import with_crew
from cli.console import progress_bars, seconds_so_far
from cli.devices import with_device
from cli.options import IMAGE_SETTINGS
from cli.training_set import check_whose, load_images, open_training_set
from patchindex.crew import Crew
from patchindex.device import Device
from patchindex.loaded import set_threads
from sampler.choices import DENOISERS
from sampler.networks import open_network
from sampler.results.denoise_result import DENOISE_FILE, DenoiseResult
from sampler.results.output import reserve_output
from sampler.results.run_result import SamplerConfig
from sampler.schedule import parse_sigmas
from sampler.studies.denoise import DenoiseConfig, denoise_held_out
from sampler.studies.held_out import draw_from, hold_out_of


@with_crew
@with_device
def denoise(
    *,
    network: str | None,
    others: str | None,
    sigmas: str,
    denoisers: tuple[str, ...],
    device: Device,
    crew: Crew,
    threads: int | None,
    out: Path | None,
    overwrite: bool,
    **settings: Any,
) -> DenoiseResult:
    """Print errors on held-out images by noise level; leaves denoise.json and denoise.png."""
    which = {name: settings.pop(name) for name in ("index_path", "dataset", *IMAGE_SETTINGS)}
    check_whose(network, which["index_path"], which["dataset"])
    training_set = open_training_set(**which, device=device, crew=crew)
    config = DenoiseConfig(
        sampling=SamplerConfig(**settings, sigmas=parse_sigmas(sigmas)),
        denoisers=denoisers or DENOISERS,
    )
    if threads is not None:
        set_threads(threads)
    trained = None if network is None else open_network(network).to(device.place)
    images = training_set.images
    if others is None:
        held = hold_out_of(training_set, config.sampling)
    else:
        size = f"{images.height}x{images.width}"
        drawn = load_images(others, resolution=size, crop=images.crop)
        held = draw_from(drawn, training_set, config.sampling)
    folder = out or Path("runs", f"denoise-{Path(images.name).stem}-{config.sampling.seed}")
    with (
        reserve_output(folder, overwrite=overwrite, kind=DENOISE_FILE),
        progress_bars() as progress,
    ):
        finished = denoise_held_out(
            held.rest, held.images, network=trained, config=config, label=held.label,
            origin=held.origin, on_step=progress, device=device.place,
        )  # fmt: skip
        finished.write(folder)
    click.echo(finished)
    if finished.result.network_labels:
        click.echo("the network was told the class of each image; nothing else was")
    click.echo(
        f"{finished.result.config.num} images in {seconds_so_far():.0f} s: {folder / 'denoise.png'}"
    )
    return finished.result
