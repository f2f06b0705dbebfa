"""What a finished run was made from: where its account says, or where the options say it is now."""

from pathlib import Path

from cli.sources import open_source
from patchindex import ImageSet, PatchIndex
from patchindex.errors import StoreError
from sampler.explain.run_folder import RunFolder


def open_run_source(
    run: RunFolder,
    index_path: Path | None,
    dataset: str | None,
    *,
    resolution: str | None,
    crop: str | None,
    limit: int | None,
) -> ImageSet | PatchIndex:
    """The index of a run, or its dataset; the options win.

    Raises:
        UserError: it is not there any more, or the options do not go together.
    """
    source = run.account["source"]
    if index_path is not None or dataset is not None:
        return open_source(index_path, dataset, resolution=resolution, crop=crop, limit=limit)
    if source["index"] is None:
        # as many as the run's, as large and cut alike, unless the options know better
        _, height, width = source["shape"]
        return ImageSet.load(
            source["dataset"],
            resolution=resolution or f"{height}x{width}",
            crop=crop or source.get("crop"),  # runs of earlier versions say nothing of it
            limit=limit or source["num_images"],
        )
    if (resolution, crop, limit) != (None, None, None):  # which is refused
        return open_source(
            Path(source["index"]), None, resolution=resolution, crop=crop, limit=limit
        )
    try:
        return PatchIndex.open(Path(source["index"]))
    except StoreError as error:
        raise StoreError(
            f"the run's index cannot be opened ({error}) If it has moved, give --index PATH."
        ) from error
