"""What a finished run was made from: where its account says, or where the options say it is now."""

from pathlib import Path

from patchindex import ImageSet, PatchIndex
from sampler.explain.run_folder import RunFolder


def open_run_source(
    run: RunFolder,
    index_path: Path | None,
    dataset: str | None,
    resolution: str | None,
    limit: int | None,
) -> ImageSet | PatchIndex:
    """The index of a run, or its dataset; the options win."""
    source = run.account["source"]
    if index_path is None and dataset is None and source["index"] is not None:
        index_path = Path(source["index"])
    if index_path is not None:
        return PatchIndex.open(index_path)
    return ImageSet.load(dataset or source["dataset"], resolution=resolution, limit=limit)
