"""How a step's seconds grow with the number of training images, and with their pixels.

    python -m benchmarks.growth --source cifar10 --nums 6250,12500,25000,50000 --scratch DIR
    python -m benchmarks.growth --source celeba --nums 3000 --sides 32,64 --scratch DIR
    python -m benchmarks.growth --draw docs/growth.png

Appends a JSON line for each index to benchmarks/results/growth.jsonl. Each is built in DIR, unless
it is there, and sampled from at four scales in 20 steps with retrieval's defaults, after a run that
is not counted: it checks the lists, once for a process. --draw draws the last row of each index.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from json import loads
from pathlib import Path
from time import perf_counter
from typing import Any

import click
import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from benchmarks.record import RESULTS, append_rows, time_and_commit
from patchindex import ImageSet, IndexConfig, PatchIndex, build_index
from patchindex.environment import library_versions
from sampler import ELSMachine
from sampler.results.style import STYLE, save_figure
from sampler.trajectory import sample_steps

SCALES = (3,) * 4 + (5,) * 4 + (9,) * 6 + (15,) * 6  # about as published for CIFAR-10
SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
GREY, COLORS = "#666666", ("#0072B2", "#D55E00", "#009E73", "#CC79A7")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An index to sample from; `num` images of `side` x `side`."""

    source: str
    num: int
    side: int

    def index(self, scratch: Path) -> PatchIndex:
        """Built, or found there."""
        name = "".join(char if char.isalnum() else "-" for char in self.source)
        path = scratch / f"{name}-{self.num}-{self.side}.zarr"
        images = ImageSet.load(self.source, resolution=self.side, limit=self.num)
        return build_index(images, IndexConfig(scales=tuple(sorted(set(SCALES)))), path)


@click.command()
@click.option("--source", default="fashion_mnist", show_default=True, help="As for a build.")
@click.option("--nums", default="6250,12500,25000,50000", show_default=True, help="Images.")
@click.option("--sides", default="32", show_default=True, help="Pixels of a side.")
@click.option("--batch", default=8, show_default=True, help="Samples.")
@click.option("--scratch", type=click.Path(path_type=Path), help="Where indices are kept.")
@click.option("--draw", type=click.Path(path_type=Path), help="Only draw what was measured.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "growth.jsonl")
def main(
    *, source: str, nums: str, sides: str, batch: int, scratch: Path | None, draw: Path | None,
    out: Path,
) -> None:  # fmt: skip
    if draw is not None:
        draw_growth([loads(line) for line in out.read_text().splitlines()], draw)
        return
    if scratch is None:
        raise click.UsageError("give --scratch, a folder for the indices.")
    cases = [
        Case(source=source, num=int(num), side=int(side))
        for num in nums.split(",")
        for side in sides.split(",")
    ]
    append_rows(out, measured(cases, batch, scratch))


def measured(cases: list[Case], batch: int, scratch: Path) -> Iterator[dict[str, Any]]:
    """A row for each case."""
    for case in cases:
        index = case.index(scratch)
        seconds_of_steps(index, 1)
        seconds = seconds_of_steps(index, batch)
        by_scale = {size: [s for p, s in seconds if p == size] for size in sorted(set(SCALES))}
        name = Path(case.source).stem
        config = {"source": name, "num": case.num, "side": case.side, "batch": batch}
        row = time_and_commit() | {
            "versions": library_versions(),
            "threads": torch.get_num_threads(),
            "config": config,
            "seconds": float(np.mean([s for _, s in seconds])),
            "seconds_by_scale": {str(p): float(np.mean(some)) for p, some in by_scale.items()},
        }
        click.echo(f"{case}: {row['seconds']:.3f} s a step and image, {row['seconds_by_scale']}")
        yield row


def seconds_of_steps(index: PatchIndex, batch: int) -> list[tuple[int | None, float]]:
    """Patch size and seconds an image of each step of a run from seed 0."""
    shape = (batch, *index.images.pixels.shape[1:])
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal(shape, dtype=np.float32))
    seconds, start = [], perf_counter()
    for done in sample_steps(ELSMachine(index), noise, scales=SCALES, steps=len(SCALES)):
        seconds.append((done.step.patch_size, (perf_counter() - start) / batch))
        start = perf_counter()
    return seconds


def draw_growth(rows: list[dict[str, Any]], path: Path) -> None:
    """Seconds against images, and against pixels."""
    last = {tuple(row["config"][name] for name in ("source", "num", "side")): row for row in rows}
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        draw_panel(left, last, along="num", fixed="side", label="training images of 32 x 32 pixels")
        draw_panel(right, last, along="side", fixed="num", label="pixels of a side")
        left.set_ylabel("seconds a step and image")
        save_figure(figure, path)


def draw_panel(
    panel: Axes,
    rows: dict[tuple[str, int, int], dict[str, Any]],
    along: str,
    fixed: str,
    label: str,
) -> None:
    """The mean step of each source, and what growth in proportion would be."""

    def of_line(row: dict[str, Any]) -> tuple[str, int]:
        return row["config"]["source"], row["config"][fixed]

    unit = "images" if fixed == "num" else "pixels a side"
    drawn = []
    for (source, value), line in groupby(sorted(rows.values(), key=of_line), of_line):
        points = sorted((row["config"][along], row["seconds"]) for row in line)
        if len(points) > 1:
            drawn.append((f"{source}, {value:,} {unit}", points))
    for (name, points), color in zip(drawn, COLORS, strict=False):
        x, y = np.array(points).T
        panel.plot(x, y, marker="o", color=color, label=name)
        power = 2 if along == "side" else 1
        proportional = y[0] * (x / x[0]) ** power
        panel.plot(x, proportional, linestyle=":", color=GREY, marker="")
        panel.annotate(
            "in proportion", (x[-1], proportional[-1]), xytext=(-4, -26), color=GREY, fontsize=8,
            ha="right", textcoords="offset points",
        )  # fmt: skip
        panel.set(xscale="log", yscale="log")
        panel.xaxis.set_major_locator(FixedLocator(x))
        panel.xaxis.set_minor_locator(NullLocator())
        panel.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        panel.yaxis.set_major_locator(FixedLocator(SECONDS))
        panel.yaxis.set_minor_locator(NullLocator())
        panel.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    panel.set_xlabel(label)
    panel.legend()


if __name__ == "__main__":
    main()
