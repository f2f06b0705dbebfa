"""`sampler explain`: one HTML file in which people find where each pixel comes from."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from cli.attributed_pictures import (
    PAGE,
    CopySearch,
    ask,
    check_no_run,
    write_attribution,
)
from cli.cluster import with_crew
from cli.console import seconds_so_far, watched_bar
from cli.devices import with_device
from cli.given import flag_of
from cli.options import IMAGE_SETTINGS, OF_COPIES
from cli.told_pictures import format_pictures
from cli.training_set import open_run_training_set, open_training_set
from patchindex.crew import Crew
from patchindex.device import Device
from patchindex.loaded import set_threads
from sampler.attribution.leave_out import REMEDY
from sampler.attribution.run_folder import held_run
from sampler.attribution.viewer.page import Explanation
from sampler.attribution.viewer.page import explain as build_page
from sampler.choices import THEORY
from sampler.errors import SamplerConfigError
from sampler.results.output import reserve_output, write_whole
from sampler.results.picture_result import PICTURE_FILE, PictureConfig, PictureResult
from sampler.schedule import parse_sigmas

OF_A_RUN = ("sample", "samples")
OF_PICTURES = (
    "resize", "sigmas", "scales", "theory_scales", "draws", "seed", "label", "exact", "retrieve",
    "out", "overwrite", *OF_COPIES,
)  # fmt: skip

WHERE = (
    "device",
    "device_memory",
    "precision",
    "cluster",
    "mixed",
)  # a page of a run computes nothing


@with_crew
@with_device
def explain(
    *,
    run_dir: Path | None,
    run_option: Path | None,
    pictures: tuple[Path, ...],
    threads: int | None,
    **settings: Any,
) -> PictureResult | dict[str, object]:
    """Write explain.html: where each pixel of a traced run comes from, or of a picture."""
    folders = [folder for folder in (run_dir, run_option) if folder is not None]
    if len(folders) + bool(pictures) != 1:
        raise SamplerConfigError(
            "give either the folder of a traced run, as RUN_DIR or with --run, or pictures with "
            f"--image: {'both' if pictures else 'two folders'} were given."
            if folders
            else "nothing was given to explain. Give the folder of a traced run, or --image FILE."
        )
    _refuse(OF_A_RUN if pictures else OF_PICTURES + WHERE, "a run" if pictures else "--image")
    if threads is not None:
        set_threads(threads)
    for name in OF_A_RUN if pictures else OF_PICTURES:
        settings.pop(name)
    if pictures:
        return explain_pictures(pictures, **settings)
    settings = {name: settings[name] for name in settings if name not in ("device", "crew")}
    return explain_run(folders[0], **settings)


def _refuse(names: tuple[str, ...], owner: str) -> None:
    """Raise SamplerConfigError if any of these options was given."""
    given = [flag for name in names if (flag := flag_of(click.get_current_context(), name))]
    if given:
        raise SamplerConfigError(f"{given[0]} belongs to {owner}. Leave it out.")


def explain_run(
    run_dir: Path,
    *,
    sample: int | None,
    samples: str | None,
    index_path: Path | None,
    dataset: str | None,
    **which: Any,
) -> dict[str, object]:
    """Write the page of a run into its folder."""
    if sample is not None and samples is not None:
        raise SamplerConfigError("both --sample and --samples were given. Give one of them.")
    wanted = [sample] if sample is not None else None
    if samples is not None:
        wanted = parse_samples(samples)
    with held_run(run_dir) as run:
        training_set = open_run_training_set(run, index_path, dataset, **which)
        images = training_set.images
        with watched_bar("writing the page"):
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
    return {
        "page": str(run_dir / PAGE),
        "bytes": len(page.html.encode("utf-8", "backslashreplace")),
        "samples": list(page.samples),
        "training_images_named": page.num_named,
        "training_images_shown": page.num_pictures,
    }


def explain_pictures(
    pictures: tuple[Path, ...],
    *,
    index_path: Path | None,
    dataset: str | None,
    device: Device,
    crew: Crew,
    out: Path | None,
    overwrite: bool,
    resize: bool,
    **settings: Any,
) -> PictureResult:
    """Attribute pictures, and write the answer and its page into a folder."""
    which = {name: settings.pop(name) for name in IMAGE_SETTINGS}
    copies = {name: settings.pop(name) for name in OF_COPIES}
    config = picture_config(**settings)
    search = CopySearch(**copies)
    training_set = open_training_set(index_path, dataset, **which, device=device, crew=crew)
    folder = out or Path("explained", pictures[0].stem)
    with reserve_output(folder, overwrite=overwrite, kind=PICTURE_FILE):
        check_no_run(folder)
        asked = ask(pictures, training_set, config, search, resize=resize)
        result, page = write_attribution(asked, folder)
    for line in format_pictures(result):
        click.echo(line)
    click.echo(page_line(result, page, folder))
    return result


def page_line(result: PictureResult, page: Explanation, folder: Path) -> str:
    """Where the page is, and what it could not hold."""
    told, shown = len(result.pictures), len(page.samples)
    pictures = "1 picture" if told == 1 else f"{told} pictures"
    missing = "" if shown == told else f", of which the page shows {shown}"
    if page.num_pictures < page.num_named:
        missing += f", with {page.num_pictures:,} of {page.num_named:,} training images"
    return (
        f"{pictures} in {seconds_so_far():.0f} s{missing}: {folder / PAGE}, "
        f"{len(page.html) / 1e6:.1f} MB"
    )


def picture_config(
    *,
    sigmas: str,
    scales: tuple[int, ...],
    theory_scales: bool,
    exact: bool,
    retrieve: bool,
    **settings: Any,
) -> PictureConfig:
    """The settings of an attribution from a command's options.

    Raises:
        SamplerConfigError: one is out of range, or two do not go together.
    """
    if exact and retrieve:
        raise SamplerConfigError("both --exact and --retrieve were given. Give one of them.")
    if scales and theory_scales:
        raise SamplerConfigError("both --scale and --theory-scales were given. Give one of them.")
    known = {field.name for field in fields(PictureConfig)}
    return PictureConfig(
        sigmas=parse_sigmas(sigmas),
        scales=THEORY if theory_scales else scales or None,
        exact=exact or (False if retrieve else None),
        **{name: value for name, value in settings.items() if name in known},
    )


def parse_samples(text: str) -> list[int]:
    """Numbers from "0,3,5"."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise SamplerConfigError(
            f"--samples {text!r} are no numbers. Give whole numbers, such as 0,3,5."
        ) from None
