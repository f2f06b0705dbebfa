"""What a command reads from: the index or the images that its options name."""

from pathlib import Path

import click

from patchindex import ImageSet, PatchIndex
from patchindex.errors import StoreError
from patchindex.home import newest_index
from sampler.errors import SamplerConfigError


def open_source(
    index_path: Path | None,
    dataset: str | None,
    *,
    resolution: str | None,
    crop: str | None,
    limit: int | None,
) -> ImageSet | PatchIndex:
    """The index or the images that the options name; the newest index if they name none."""
    if index_path is not None and dataset is not None:
        raise SamplerConfigError(
            "both --index and --dataset were given. Give --index to retrieve, "
            "or --dataset to sum over its images exactly."
        )
    if dataset is not None:
        return ImageSet.load(dataset, resolution=resolution, crop=crop, limit=limit)
    if resolution is not None or crop is not None or limit is not None:
        raise SamplerConfigError(
            "--resolution, --crop and --limit belong to --dataset; an index has its own images. "
            "Leave them out, or give --dataset."
        )
    return open_index(index_path, otherwise="give --index PATH or --dataset NAME")


def open_index(path: Path | None, otherwise: str = "give --index PATH") -> PatchIndex:
    """The index at `path`; without one the newest in the user's home, which is then named.

    Args:
        otherwise: what else a user without any index can do.
    """
    if path is None:
        path = newest_index()
        if path is None:
            raise StoreError(
                "there is no index yet. Build one with `patchindex build --dataset sample`, "
                f"or {otherwise}."
            )
        click.echo(f"index: {path}", err=True)
    return PatchIndex.open(path)
