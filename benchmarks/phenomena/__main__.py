"""Measure the phenomena and draw the figures of docs/phenomena.md.

    python -m benchmarks.phenomena                     # all of them
    python -m benchmarks.phenomena mosaic two_images   # some

Appends a JSON line per measured row to benchmarks/results/phenomena.jsonl and writes
docs/phenomena_NAME.png.
"""

import json
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter, process_time

import click
import torch

from benchmarks.accuracy import commit
from benchmarks.phenomena import limbs, locality, memorization, mosaic, two_images
from patchindex.environment import library_versions

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "phenomena.jsonl"
PHENOMENA = {
    module.__name__.rpartition(".")[2]: module
    for module in (mosaic, memorization, limbs, two_images, locality)
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(PHENOMENA)), metavar="[NAME]...")
def main(*, names: tuple[str, ...]) -> None:
    """Measure and draw the phenomena with these NAMEs, or all."""
    for name in names or PHENOMENA:
        record(name)


def record(name: str) -> None:
    """Measure one phenomenon, keep its rows, draw its figure."""
    module = PHENOMENA[name]
    config = module.Config()
    start, cpu_start = perf_counter(), process_time()
    measured = module.measure(config)
    seconds, cpu_seconds = perf_counter() - start, process_time() - cpu_start
    about = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "versions": library_versions(),
        "machine": {"cpu": platform.machine(), "threads": torch.get_num_threads()},
        "phenomenon": name,
        "config": asdict(config),
        "seconds_of_all_rows": round(seconds, 1),
        "cpu_seconds_of_all_rows": round(cpu_seconds, 1),
    }
    with RESULTS.open("a") as lines:
        lines.writelines(json.dumps(about | row) + "\n" for row in measured.rows)
    path = ROOT / "docs" / f"phenomena_{name}.png"
    module.draw(measured, path)
    click.echo(f"{path}: {len(measured.rows)} rows, {cpu_seconds:.0f} s of processor time")


if __name__ == "__main__":
    main()
