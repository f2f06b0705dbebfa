"""`sampler leave-out`: a sample again, without the training images that made it."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from cli.cluster import with_crew
from cli.console import watched_bar
from cli.devices import with_device
from cli.given import parse_pixel
from cli.options import IMAGE_SETTINGS
from cli.training_set import open_run_training_set
from patchindex import ImageSet
from patchindex.crew import Crew
from patchindex.device import Device
from patchindex.file_names import image_title
from patchindex.loaded import set_threads
from sampler.attribution.leave_out import REMEDY, LeaveOutConfig, keep_check, leave_out
from sampler.attribution.run_folder import held_run
from sampler.results.output import write_whole
from sampler.results.study_results import LeaveOut, LeaveOutResult, LeaveOutResults


@with_crew
@with_device
def leave_out_command(
    *,
    run_dir: Path,
    pixel: str | None,
    index_path: Path | None,
    dataset: str | None,
    device: Device,
    crew: Crew,
    threads: int | None,
    **settings: Any,
) -> LeaveOutResults:
    """Remove training images from the dictionary and make a sample of a run again."""
    which = {name: settings.pop(name) for name in IMAGE_SETTINGS}
    config = LeaveOutConfig(pixel=None if pixel is None else parse_pixel(pixel), **settings)
    if threads is not None:
        set_threads(threads)
    with held_run(run_dir) as run:
        training_set = open_run_training_set(
            run, index_path, dataset, **which, device=device, crew=crew
        )
        with watched_bar("sampling without images", crew=crew):
            found = leave_out(run, training_set, config, device.place)
        images = training_set.images
        keep_check(run_dir, found, images)
        picture = write_picture(found, images, run_dir)
    for line in format_check(found.result):
        click.echo(line)
    click.echo(f"picture: {picture}")
    return LeaveOutResults(checks=(found.result,))


def write_picture(found: LeaveOut, images: ImageSet, folder: Path) -> Path:
    """Draw the check into the run's folder."""
    # matplotlib takes most of a second to import, which no mistake should wait for
    from sampler.results.attribution_figures import leave_out_figure  # noqa: PLC0415
    from sampler.results.style import save_figure  # noqa: PLC0415

    pixel = found.result.pixel
    place = "" if pixel is None else f"-{pixel[0]}-{pixel[1]}"
    name = f"leave_out-{found.result.sample}{place}.png"
    figure = leave_out_figure(found, images)
    write_whole({name: lambda path: save_figure(figure, path)}, folder, REMEDY)
    return folder / name


def listed(words: str, numbers: Sequence[int], names: Sequence[str] | None) -> list[str]:
    """The images by number in a line; each in its own with the name of its file if it has one."""
    if names is None:
        return [f"{words}: images {', '.join(map(str, numbers))}"]
    return [
        f"{words}:",
        *(f"  {image_title(*image)}" for image in zip(numbers, names, strict=True)),
    ]


def format_check(result: LeaveOutResult) -> list[str]:
    """The check in words."""
    names = result.compared_names
    lines = [
        *listed("left out", result.removed, result.removed_names),
        *(listed("for comparison", result.compared, names) if names else ()),
        f"the sample moved by {result.distance:.4f} (root mean square, from -1 to 1); "
        f"leaving out as many others moved it by {result.control_distance:.4f}",
    ]
    if result.at_pixel is not None:
        values = {
            name: ", ".join(f"{value:.3f}" for value in channels)
            for name, channels in asdict(result.at_pixel).items()
        }
        lines.append(
            f"the pixel was {values['sample']}, is {values['without']} without them and "
            f"{values['control']} without the others"
        )
    return lines
