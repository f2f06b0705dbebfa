"""`patchindex build`: an index of every patch of an image set."""

from functools import partial
from pathlib import Path
from typing import Any

from cli.cluster import with_crew
from cli.console import echo_lines, progress_bars, resumable
from cli.devices import open_device
from cli.training_set import load_images
from patchindex import Boundary
from patchindex.crew import Crew
from patchindex.errors import IndexConfigError
from patchindex.index import IndexConfig, IndexInfo, build_index
from patchindex.paths import index_path

RESUME_HINT = "Interrupted. What is finished is kept; the same command resumes."


@partial(with_crew, by_units=True)
def build(
    *,
    dataset: str,
    scales: str,
    boundary: Boundary,
    seed: int,
    out: Path | None,
    overwrite: bool,
    device: str,
    crew: Crew,
    **which: Any,
) -> IndexInfo:
    """Build an index; after an interruption the same command resumes."""
    config = IndexConfig(scales=parse_scales(scales), boundary=boundary, seed=seed)
    where = open_device(device).place
    with resumable(RESUME_HINT):
        images = load_images(dataset, **which)  # resolution, crop, limit
        target = out or index_path(
            dataset, height=images.height, width=images.width, boundary=boundary,
            cropped=images.crop == "center",
            first=len(images) if which["limit"] == len(images) else None,
        )  # fmt: skip
        with progress_bars() as progress:
            index = build_index(
                images,
                config,
                target,
                progress=progress,
                overwrite=overwrite,
                device=where,
                crew=crew,
            )
    info = index.info()
    echo_lines(info.lines())
    return info


def parse_scales(text: str) -> tuple[int, ...]:
    """Patch sizes from "3,5,9"."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise IndexConfigError(
            f"scales {text!r} are no list of whole numbers. Give for instance 3,5,9."
        ) from None
