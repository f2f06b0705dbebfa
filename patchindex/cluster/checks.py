"""What keeps a worker from serving, a line for each, with its host and what to do."""

from collections.abc import Iterator

from patchindex.cluster.worker import WorkerReport, cluster_versions


def faults(told: WorkerReport, first: WorkerReport | None, *, mixed: bool) -> Iterator[str]:
    """Why a worker cannot serve.

    Args:
        first: the one that all others must be like; None if it is this one.
        mixed: instruction sets and devices may differ.
    """
    who = f"{told.name} on {told.host}"
    for library, number in cluster_versions().items():
        if told.versions.get(library) != number:
            yield (
                f"{who} has {library} {told.versions.get(library)}, and this process has "
                f"{number}: install the same there."
            )
    if told.limited:
        yield (
            f"{who} was started with a memory limit, for which Dask ends what maps large files: "
            "start it with `patchindex worker`."
        )
    if told.index is not None:
        yield f"{who}: {told.index} Or give --stage DIR, to copy it there."
    if not told.folder:
        yield f"{who} does not see the output folder: give one that all workers share."
    if first is None or mixed:
        return
    for what, its, others in (
        ("kernels", told.kernels, first.kernels),
        ("device", _model(told.device), _model(first.device)),
    ):
        if its != others:
            yield (
                f"{who} computes with {what} {its}, and {first.name} with {others}: leave one kind "
                "out, or give --mixed, for sums that differ in the seventh digit."
            )


def format_failure(address: str, error: Exception) -> str:
    """A worker that cannot even tell what it is."""
    return (
        f"{address} cannot tell what it is ({type(error).__name__}: {error}): install this version "
        "of patchindex there."
    )


def _model(device: str) -> str:
    """The device without its number."""
    kind, _, model = device.partition(" ")
    return model or kind
