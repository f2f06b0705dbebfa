"""Retrieval against the exact scan on real images: R2 at every on-policy step, r of final images.

    python -m benchmarks.accuracy --dataset fashion_mnist --limit 6000

Appends JSON lines to benchmarks/results/accuracy.jsonl as soon as each part is measured.
States are those of the exact machine's own trajectory; both machines use the index's scale that is
nearest to the published one.
"""

import platform
import resource
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

import click
import torch

from benchmarks.record import RESULTS, append_rows, time_and_commit
from patchindex import ImageSet, IndexConfig, PatchIndex, build_index
from patchindex.environment import library_versions
from sampler import ELSMachine, sample, sample_steps
from sampler.estimator import CarriedHead, Retrieval
from sampler.noise import initial_noise
from sampler.results.json_files import as_json
from sampler.results.study_results import StepComparison
from sampler.scales import default_scales
from sampler.studies.verify import ask_beside, compare_finals
from sampler.trajectory import StepReport, report_step


@click.command()
@click.option("--dataset", default="fashion_mnist", show_default=True)
@click.option("--limit", default=6000, show_default=True)
@click.option("--scales", default="3,5,9,15", show_default=True)
@click.option("--seeds", default=8, show_default=True, help="Samples, each from its own noise.")
@click.option("--tails", default="0,1024,4096", show_default=True)
@click.option("--k", default=256, show_default=True)
@click.option("--nprobe", default=Retrieval.nprobe, show_default=True)
@click.option(
    "--out", type=click.Path(path_type=Path), default=RESULTS / "accuracy.jsonl", show_default=True
)
def main(
    *, dataset: str, limit: int, scales: str, seeds: int, tails: str, k: int, nprobe: int, out: Path
) -> None:
    images = ImageSet.load(dataset, limit=limit)
    config = IndexConfig(scales=tuple(int(scale) for scale in scales.split(",")))
    about = time_and_commit() | {
        "versions": library_versions(),
        "machine": {"cpu": platform.machine(), "threads": torch.get_num_threads()},
        "config": {"dataset": dataset, "num_images": len(images), "k": k, "nprobe": nprobe,
                   "seeds": seeds, "index": asdict(config)},
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        start = perf_counter()
        index = build_index(images, config, Path(scratch, "index.zarr"))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        built = {"seconds": perf_counter() - start, "peak_bytes": peak,
                 "disk_bytes": index.info().disk_bytes}  # fmt: skip
        append_rows(out, [about | {"part": "build"} | built])
        click.echo("built in {seconds:.0f} s, {disk_bytes:,} bytes on disk".format(**built))
        rows = compare(index, seeds, [int(tail) for tail in tails.split(",")], k, nprobe)
        append_rows(out, (about | row for row in rows))


def compare(
    index: PatchIndex, seeds: int, tails: list[int], k: int, nprobe: int
) -> Iterator[dict[str, Any]]:
    """A row for the exact trajectory, every machine asked along it, and one for each's own."""
    scales = default_scales(index, index.boundary)[1].patch_sizes
    noise = initial_noise(seeds, index.images, seed=0)
    machines = {tail: ELSMachine(index, k=k, tail=tail, nprobe=nprobe) for tail in tails}
    steps: list[dict[str, Any]] = []
    known: dict[int, CarriedHead | None] = {}

    exact = noise
    for done in sample_steps(ELSMachine(index.images, index.boundary), noise, scales=scales):
        report = report_step(done)
        rows = {}
        for tail, machine in machines.items():
            rows[tail], known[tail] = ask_beside(machine, done, known=known.get(tail))
        steps.append(asdict(report) | {f"tail_{tail}": as_json(row) for tail, row in rows.items()})
        click.echo(step_line(report, rows))
        exact = done.reached
    yield {"part": "steps", "steps": steps}
    for tail, machine in machines.items():
        own = sample(machine, noise, scales=scales)
        final = compare_finals(own.images, exact)
        click.echo(f"tail {tail}: final images, median r {final.r_median:.4f}, "
                   f"lowest {final.r_lowest:.4f}, median R2 {final.R2_median:.4f}")  # fmt: skip
        yield {"part": "finals", "tail": tail} | as_json(final)


def step_line(report: StepReport, rows: dict[int, StepComparison]) -> str:
    """A step's noise, and R2 and seconds of each tail."""
    found = [
        f"tail_{tail} R2 {row.R2:8.4f} {row.retrieval_seconds:6.1f} s" for tail, row in rows.items()
    ]
    return f"t {report.t:.2f}  P {report.patch_size:2d}  exact {report.seconds:6.1f} s  " + (
        "  ".join(found)
    )


if __name__ == "__main__":
    main()
