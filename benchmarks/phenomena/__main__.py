"""Measure the phenomena and draw the figures of docs/phenomena.md.

    python -m benchmarks.phenomena                     # all of them
    python -m benchmarks.phenomena mosaic two_images   # some
    python -m benchmarks.phenomena --quick --out phenomena.jsonl --figures .    # on few images

Appends a JSON line per measured row to benchmarks/results/phenomena.jsonl and writes
docs/phenomena_NAME.png.
"""

import platform
from dataclasses import asdict
from pathlib import Path
from time import perf_counter, process_time

import click
import torch

from benchmarks.phenomena import agreement, limbs, locality, memorization, mosaic, two_images
from benchmarks.record import RESULTS, append_rows, time_and_commit
from patchindex.environment import library_versions

FIGURES = Path(__file__).parents[2] / "docs"
PHENOMENA = {
    module.__name__.rpartition(".")[2]: module
    for module in (mosaic, memorization, limbs, two_images, locality, agreement)
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(PHENOMENA)), metavar="[NAME]...")
@click.option("--quick", is_flag=True, help="Few images of the bundled sample, in seconds.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=RESULTS / "phenomena.jsonl",
    show_default=True,
    help="File that gets the rows.",
)
@click.option(
    "--figures",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=FIGURES,
    show_default=True,
    help="Folder that gets the figures.",
)
def main(*, names: tuple[str, ...], quick: bool, out: Path, figures: Path) -> None:
    """Measure and draw the phenomena with these NAMEs, or all."""
    for name in names or PHENOMENA:
        record(name, quick=quick, out=out, figure=figures / f"phenomena_{name}.png")


def record(name: str, *, quick: bool, out: Path, figure: Path) -> None:
    """Measure one phenomenon, keep its rows, draw its figure."""
    module = PHENOMENA[name]
    config = module.QUICK if quick else module.Config()
    start, cpu_start = perf_counter(), process_time()
    measured = module.measure(config)
    seconds, cpu_seconds = perf_counter() - start, process_time() - cpu_start
    about = time_and_commit() | {
        "versions": library_versions(),
        "machine": {"cpu": platform.machine(), "threads": torch.get_num_threads()},
        "phenomenon": name,
        "config": asdict(config),
        "seconds_of_all_rows": round(seconds, 1),
        "cpu_seconds_of_all_rows": round(cpu_seconds, 1),
    }
    append_rows(out, (about | row for row in measured.rows))
    module.draw(measured, figure)
    click.echo(f"{figure}: {len(measured.rows)} rows, {cpu_seconds:.0f} s of processor time")


if __name__ == "__main__":
    main()
