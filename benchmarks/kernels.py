"""Speed of the native kernels, and their share of what the machine can do in the same minute.

    python -m benchmarks.kernels --dataset fashion_mnist --threads 2

Appends one JSON line to benchmarks/results/kernels.jsonl and prints the table. States are training
images with noise. On a machine that others use as well, CPU seconds say more than the wall clock:
shares of the machine's limit are those of the fastest run in CPU seconds, against the multiply-adds
(scan) or random cache lines (rescoring) per core and second measured in the same minute.
"""

import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import click
import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.peak import Peak
from benchmarks.record import RESULTS, append_rows, time_and_commit
from patchindex import ImageSet
from patchindex.environment import library_versions
from patchindex.geometry import PatchGeometry
from patchindex.images import to_unit
from patchindex.kernels import native_backend

# patch size @ sigma, as the published scales pair them, and small patches at high noise
CASES = "3@0.0781,3@0.6,3@11,5@0.6,5@2.35,9@0.6,9@1.16,13@1.16,13@2.35,17@2.35,17@11"
EXP_OPERATIONS = 7  # of one weight: a reduction, five multiply-adds, a scaling


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What all measurements share."""

    pixels: Tensor
    threads: int
    repeats: int
    peak: Peak


@click.command()
@click.option("--dataset", default="fashion_mnist", show_default=True)
@click.option("--limit", type=int, help="Images; seconds are given for all of them.")
@click.option("--cases", default=CASES, show_default=True)
@click.option("--batch", default=1, show_default=True, help="Query images in one pass.")
@click.option("--threads", default=torch.get_num_threads(), show_default=True)
@click.option("--repeats", default=5, show_default=True)
@click.option("--rescore-sizes", default="9,15", show_default=True)
@click.option(
    "--out", type=click.Path(path_type=Path), default=RESULTS / "kernels.jsonl", show_default=True
)
def main(
    *,
    dataset: str,
    limit: int | None,
    cases: str,
    batch: int,
    threads: int,
    repeats: int,
    rescore_sizes: str,
    out: Path,
) -> None:
    images = ImageSet.load(dataset, limit=limit)
    pixels = torch.from_numpy(images.pixels)
    peak = Peak.compiled(native_backend.instruction_set())
    setup = Setup(pixels=pixels, threads=threads, repeats=repeats, peak=peak)
    rows = [scan_row(setup, case, batch) for case in cases.split(",") if case]
    rows += [rescore_row(setup, int(size)) for size in rescore_sizes.split(",") if size]
    result = time_and_commit() | {
        "versions": library_versions(),
        "machine": {"cpu": platform.machine(), "isa": native_backend.instruction_set()},
        "config": {"dataset": dataset, "shape": list(pixels.shape), "batch": batch,
                   "threads": threads, "repeats": repeats},
        "rows": rows,
    }  # fmt: skip
    append_rows(out, [result])
    print_table(rows)


def print_table(rows: list[dict[str, Any]]) -> None:
    heads = ("case", "seconds", "fastest", "CPU s", "least", "1e6/s", "share")
    print(f"{heads[0]:>20}" + "".join(f"{head:>9}" for head in heads[1:]))
    for row in rows:
        rate = row["pairs"] / row["fastest"] / 1e6
        print(
            f"{row['case']:>20}{row['seconds']:9.3f}{row['fastest']:9.3f}{row['cpu_seconds']:9.3f}"
            f"{row['fastest_cpu']:9.3f}{rate:9.0f}{row['share']:9.2f}"
        )


def scan_row(setup: Setup, case: str, batch: int) -> dict[str, Any]:
    """One scan of all images at `patch size@sigma`."""
    size, _, noise = case.partition("@")
    patch_size, sigma = int(size), float(noise)
    pixels, threads = setup.pixels, setup.threads
    _, channels, height, width = pixels.shape
    geometry = PatchGeometry(height=height, width=width, patch_size=patch_size)
    y = noisy_states(pixels[-batch:], sigma)
    record = native_backend.exact_scan(pixels[:512], y, sigma, geometry, threads=threads)
    pairs = int(record.num_scored.sum()) // min(512, len(pixels)) * len(pixels)
    operations = operations_per_image(patch_size, channels, height, width) * len(pixels) * batch
    run = lambda: native_backend.exact_scan(pixels, y, sigma, geometry, threads=threads)  # noqa: E731
    row = timed(f"scan P={patch_size} s={sigma:g}", run, setup)
    share = operations / row["fastest_cpu"] / row["multiply_adds_per_second"]
    return row | {"pairs": pairs, "operations": operations, "share": share}


def rescore_row(setup: Setup, patch_size: int) -> dict[str, Any]:
    """Random interior patches of all images, 64 queries with their own 16,384 ids each."""
    pixels, threads = setup.pixels, setup.threads
    num, channels, height, width = pixels.shape
    geometry = PatchGeometry(height=height, width=width, patch_size=patch_size)
    interior = max(geometry.signatures, key=lambda signature: signature.num_centers)
    generator, shape = torch.Generator().manual_seed(0), (64, 16384)
    image, row, col = (
        torch.randint(low, high, shape, generator=generator)
        for low, high in [
            (0, num),
            *((a.centers.start, a.centers.stop) for a in (interior.rows, interior.cols)),
        ]
    )
    ids = (image * height + row) * width + col
    windows = torch.randn((64, channels, patch_size, patch_size), generator=generator)
    run = lambda: native_backend.patch_distances(  # noqa: E731
        pixels, windows, ids, geometry, interior, threads=threads
    )
    # cache lines that a window spans in one plane, on average
    lines = channels * (1 + ((patch_size - 1) * width + patch_size - 1) / 64)
    taken = timed(f"rescore P={patch_size}", run, setup)
    num_lines = lines * ids.numel()
    share = num_lines / taken["fastest_cpu"] / taken["random_lines_per_second"]
    return taken | {"pairs": ids.numel(), "lines": num_lines, "share": share}


def timed(case: str, run: Callable[[], object], setup: Setup) -> dict[str, Any]:
    """Median seconds and CPU seconds of `run`, with the machine's best rates around each run."""
    seconds: list[float] = []
    cpu: list[float] = []
    adds: list[float] = []
    lines: list[float] = []
    for _ in range(setup.repeats):
        adds.append(setup.peak.multiply_adds_per_second())
        lines.append(setup.peak.random_lines_per_second(setup.pixels.numpy()))
        start, cpu_start = perf_counter(), process_time()
        run()
        seconds.append(perf_counter() - start)
        cpu.append(process_time() - cpu_start)
    return {
        "case": case,
        "threads": setup.threads,
        "seconds": median(seconds),
        "fastest": min(seconds),
        "spread": max(seconds) - min(seconds),
        "cpu_seconds": median(cpu),
        "fastest_cpu": min(cpu),
        "multiply_adds_per_second": max(adds),
        "random_lines_per_second": max(lines),
    }


def noisy_states(pixels: Tensor, sigma: float) -> Float[Tensor, "b c h w"]:
    clean = to_unit(pixels)
    return clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))


def operations_per_image(patch_size: int, channels: int, height: int, width: int) -> int:
    """Float additions and multiply-adds that a dense scan needs, per image and query image."""
    per_cell = 1 if channels == 1 else 2 * channels
    total = 0
    for rows in strip_lengths(height, patch_size):
        for cols in strip_lengths(width, patch_size):
            windows = rows - patch_size + 1, cols - patch_size + 1
            total += rows * (cols * per_cell + box_operations(cols, patch_size, fused=1))
            total += windows[1] * box_operations(rows, patch_size, fused=0)
            total += windows[0] * windows[1] * (EXP_OPERATIONS + 2 + channels)
    return total


def strip_lengths(size: int, patch_size: int) -> list[int]:
    """Cells of one axis at each displacement under the boundary `zeros`."""
    farthest = max(0, size - patch_size)
    shifted = [size - abs(d) for d in range(-farthest, farthest + 1) if d]
    return [size + 2 * (patch_size // 2), *shifted]


def box_operations(cells: int, size: int, *, fused: int) -> int:
    """Operations for the sums over all windows of a strip; `fused` squares are added on the way."""
    windows = cells - size + 1
    if size == 1:
        return windows * fused
    if size <= 5:  # two windows share all but one cell each
        return windows * (size + fused) // 2
    beyond = cells - size
    return (cells if beyond else size) + beyond + max(0, beyond - size)


if __name__ == "__main__":
    main()
