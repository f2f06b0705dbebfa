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
    resolution: str | None,
    limit: int | None,
) -> ImageSet | PatchIndex:
    """The index of a run, or its dataset; the options win.

    Raises:
        UserError: it is not there any more, or the options do not go together.
    """
    source = run.account["source"]
    if index_path is not None or dataset is not None:
        return open_source(index_path, dataset, resolution, limit)
    if source["index"] is None:
        # as many and as large as the run's, unless the options know better
        _, height, width = source["shape"]
        side = str(height) if height == width else "native"
        return ImageSet.load(
            source["dataset"], resolution=resolution or side, limit=limit or source["num_images"]
        )
    if resolution is not None or limit is not None:
        return open_source(Path(source["index"]), None, resolution, limit)  # which refuses them
    try:
        return PatchIndex.open(Path(source["index"]))
    except StoreError as error:
        raise StoreError(
            f"the run's index cannot be opened ({error}) If it has moved, give --index PATH."
        ) from error
