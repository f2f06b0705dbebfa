"""Measure what several processes and machines cost, beside one process.

    python -m benchmarks.cluster --index cifar.zarr                  # all parts, minutes
    python -m benchmarks.cluster --index cifar.zarr --only crews     # one part; no root needed

Appends a JSON line per row to benchmarks/results/cluster.jsonl. All workers share this machine's
cores, so that no step becomes faster: what is measured is what a step costs more, and whether its
bits are the same.

    crews    local:1 to local:4 beside this process, on --index and on 64 images
    links    hosts in network namespaces: bytes between them, delay, loss      (Linux, root)
    faults   a worker killed, its link cut                                     (Linux, root)
"""

import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import click

from benchmarks.cluster.crews import crew_rows
from benchmarks.cluster.hosts import fault_rows, link_rows, running
from benchmarks.cluster.network import why_not
from benchmarks.cluster.work import Work
from benchmarks.record import RESULTS, append_rows, time_and_commit
from patchindex import ImageSet, IndexConfig, PatchIndex, build_index
from patchindex.environment import library_versions

PARTS = ("crews", "links", "faults")
FEW = 64  # images over which a unit has next to nothing to do


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is done.

    Attributes:
        retrieved, exact: samples.
        steps: of the retrieved.
        workers: of each crew.
    """

    retrieved: int
    exact: int
    steps: int
    workers: tuple[int, ...]


@click.command()
@click.option("--index", required=True, type=click.Path(exists=True), help="To sample from.")
@click.option("--only", type=click.Choice(PARTS), multiple=True, default=PARTS, help="Parts.")
@click.option("--retrieved", default=4, show_default=True, help="Samples that are retrieved.")
@click.option("--exact", default=1, show_default=True, help="Samples that are summed exactly.")
@click.option("--steps", default=3, show_default=True, help="Of the retrieved.")
@click.option("--workers", default="1,2,3,4", show_default=True, help="Workers of each crew.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "cluster.jsonl")
def main(
    *, index: str, only: Sequence[str], retrieved: int, exact: int, steps: int, workers: str,
    out: Path,
) -> None:  # fmt: skip
    obstacle = why_not() if {"links", "faults"} & set(only) else None
    if obstacle is not None:
        raise click.ClickException(f"{obstacle} --only crews needs neither.")
    # as after Ctrl-C: processes and namespaces are cleared away
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    counts = tuple(int(count) for count in workers.split(","))
    sizes = Sizes(retrieved=retrieved, exact=exact, steps=steps, workers=counts)
    start = perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        rows = measured(str(Path(index).absolute()), only, sizes, Path(scratch))
        append_rows(out, (_shown(row) for row in rows))
    click.echo(f"all in {perf_counter() - start:.0f} s")


def measured(
    index: str, parts: Sequence[str], sizes: Sizes, scratch: Path
) -> Iterator[dict[str, Any]]:
    """The rows of these parts."""
    scales = PatchIndex.open(index).scales
    # exact sums are fastest at the largest scale, and take as long at any noise
    exact = Work(index=index, exact=True, num=sizes.exact, patch_size=scales[-1], steps=20, first=2)
    retrieved = Work(
        index=index, exact=False, num=sizes.retrieved, patch_size=scales[len(scales) // 2],
        steps=sizes.steps, first=sizes.steps,
    )  # fmt: skip
    if "crews" in parts:
        works = [*_tiny(scratch), ("retrieved", retrieved), ("exact", exact)]
        yield from crew_rows(works, sizes.workers, scratch)
    if {"links", "faults"} & set(parts):
        with running(scratch) as cluster:
            if "links" in parts:
                yield from link_rows(cluster, [retrieved, exact])
            if "faults" in parts:
                yield from fault_rows(cluster, exact)


def _tiny(scratch: Path) -> Iterator[tuple[str, Work]]:
    """Works of a few milliseconds: their seconds are those of the crew itself."""
    images = ImageSet.load("sample", limit=FEW)
    index = build_index(images, IndexConfig(scales=(3,)), scratch / "tiny.zarr")
    for exact in (False, True):
        work = Work(index=str(index.path), exact=exact, num=4, patch_size=3, steps=20, first=12)
        yield f"next to nothing, {'exact' if exact else 'retrieved'}", work


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """The row, after a line for people."""
    click.echo(", ".join(f"{name} {value}" for name, value in row.items()))
    return time_and_commit() | {"versions": library_versions()} | row


if __name__ == "__main__":
    main()
