"""The index or the images that a command's options, or a run's result, name."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from cli.console import watched_bar
from cli.given import list_search_given
from cli.options import network_names
from patchindex import ImageSet, PatchIndex
from patchindex.crew import LOCAL, Crew
from patchindex.device import Device
from patchindex.errors import StoreError
from patchindex.file_names import one_line
from patchindex.index import folder_changes
from patchindex.paths import finished_indices
from sampler.attribution.run_folder import RunFolder
from sampler.errors import SamplerConfigError

MOST_LISTED = 3  # indices, where one was not found


def load_images(source: str, **settings: Any) -> ImageSet:
    """The images that a text names; a bar shows how many are decoded.

    Args:
        settings: of `ImageSet.load`.
    """
    with watched_bar("reading images"):
        return ImageSet.load(source, **settings)


def open_training_set(
    index_path: Path | None,
    dataset: str | None,
    *,
    resolution: str | None,
    crop: str | None,
    limit: int | None,
    device: Device | None = None,
    crew: Crew = LOCAL,
) -> ImageSet | PatchIndex:
    """The index or the images that the options name; the newest index if they name none."""
    if index_path is not None and dataset is not None:
        raise SamplerConfigError(
            "both --index and --dataset were given. Give --index to retrieve, "
            "or --dataset to sum over its images exactly."
        )
    if dataset is not None:
        if crew is not LOCAL:
            raise SamplerConfigError(
                "--dataset was given with --cluster, whose workers read images from an index. "
                "Build one with `patchindex build`, and give --index, and --exact for exact sums."
            )
        images = load_images(dataset, resolution=resolution, crop=crop, limit=limit)
        return images.with_device(device or images.device)
    if resolution is not None or crop is not None or limit is not None:
        raise SamplerConfigError(
            "--resolution, --crop and --limit belong to --dataset; an index has its own images. "
            "Leave them out, or give --dataset."
        )
    return open_index(
        index_path, otherwise="give --index PATH or --dataset NAME", device=device, crew=crew
    )


def check_whose(network: str | None, index_path: Path | None, dataset: str | None) -> None:
    """Refuse the newest index for a network of the user's own, which was trained on its own images.

    Raises:
        SamplerConfigError: the network is not a bundled one, and nothing names its images.
    """
    if network is None or network in network_names():
        return
    if index_path is None and dataset is None:
        raise SamplerConfigError(
            f"the images that {one_line(network)} was trained on are not known. Give --index PATH "
            f"or --dataset NAME.{_some_indices()}"
        )


def _some_indices() -> str:
    """The newest indices of this user, in a sentence, or nothing."""
    finished = finished_indices()
    if not finished:
        return ""
    named = ", ".join(one_line(str(path)) for path in finished[:MOST_LISTED])
    more = f" and {len(finished) - MOST_LISTED} more" if len(finished) > MOST_LISTED else ""
    return f" Indices there are: {named}{more}."


def open_index(
    path: Path | None,
    otherwise: str = "give --index PATH",
    device: Device | None = None,
    crew: Crew = LOCAL,
) -> PatchIndex:
    """The index at `path`; without one the newest in the user's home, which is then described.

    Args:
        otherwise: what else a user without any index can do.
    """
    if path is not None:
        return _shared(path, device, crew)
    finished = finished_indices()
    if not finished:
        raise StoreError(
            "there is no index yet. Build one with `patchindex build --dataset "
            "folder:YOUR_PICTURES`, or to try it out `patchindex build --dataset sample`; "
            f"or {otherwise}."
        )
    index = _shared(finished[0], device, crew)
    click.echo(chosen_line(index, len(finished)), err=True)
    return index


def _shared(path: Path, device: Device | None, crew: Crew) -> PatchIndex:
    """The index at a path, which all of the crew find."""
    try:
        index = PatchIndex.open(path, list_search=list_search_given(), device=device, crew=crew)
    except StoreError as error:
        if path.exists():
            raise
        raise StoreError(f"{error}{_some_indices()}") from error
    crew.admit(index)
    return index


def tell_changes(index: PatchIndex) -> None:
    """Warn where the folder that an index was built of is no longer as it was."""
    if changes := folder_changes(index):
        click.echo(
            f"{one_line(index.info().dataset)} is not as {one_line(str(index.path))} holds it: "
            f"{changes}. The answer is of the index; build it again with --overwrite to have them.",
            err=True,
        )


def chosen_line(index: PatchIndex, count: int) -> str:
    """Which index was chosen of so many, what is in it, and how to choose another."""
    info = index.info()
    which = "the only one" if count == 1 else f"the newest of {count}"
    n, c, h, w = info.images
    return (
        f"index: {one_line(str(index.path))}, {which}: {one_line(info.dataset)}, "
        f"{n:,} images of {c} x {h} x {w}, scales "
        f"{', '.join(map(str, index.scales))}, built {info.created}; --index PATH chooses another"
    )


def open_run_training_set(
    run: RunFolder,
    index_path: Path | None,
    dataset: str | None,
    *,
    resolution: str | None,
    crop: str | None,
    limit: int | None,
    device: Device | None = None,
    crew: Crew = LOCAL,
) -> ImageSet | PatchIndex:
    """The index of a run, or its dataset; the options win.

    Raises:
        UserError: it is not there any more, or the options do not go together.
    """
    source = run.result.source
    named = partial(
        open_training_set, resolution=resolution, crop=crop, limit=limit, device=device, crew=crew
    )
    if index_path is not None or dataset is not None:
        return named(index_path, dataset)
    if source.index is None:
        if crew is not LOCAL:
            return named(None, source.dataset)  # which is refused
        # as many as the run's, as large and cut alike, unless the options know better
        _, height, width = source.shape
        images = load_images(
            source.dataset,
            resolution=resolution or f"{height}x{width}",
            crop=crop or source.crop,  # runs of earlier versions say nothing of it
            limit=limit or source.num_images,
        )
        return images.with_device(device or images.device)
    if (resolution, crop, limit) != (None, None, None):  # which is refused
        return named(Path(source.index), None)
    try:
        return _shared(Path(source.index), device, crew)
    except StoreError as error:
        raise StoreError(
            f"the run's index cannot be opened ({error}) If it has moved, give --index PATH."
        ) from error
