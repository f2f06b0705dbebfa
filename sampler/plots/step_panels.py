"""Panels of what happens at each step, over t from noise on the left to the image on the right."""

from collections.abc import Callable, Sequence
from itertools import groupby, pairwise
from math import ceil, floor, isfinite, log10
from typing import Protocol, TypeVar, runtime_checkable

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import NullFormatter

from sampler.plots.plot_style import GREY, LIGHT_GREY, STYLE


@runtime_checkable
class TimedStep(Protocol):
    """What every panel needs of a step."""

    @property
    def t(self) -> float:
        """Time in [0, 1]; 1 is noise."""

    @property
    def patch_size(self) -> int | None:
        """Of the patches that were compared; None for whole images."""


Row = TypeVar("Row", bound=TimedStep)
TARGET, CHANGE = GREY, LIGHT_GREY
WIDTH, HEIGHT = 4.0, 3.3  # inches of a panel


def figure_of_steps(
    rows: Sequence[Row],
    title: str,
    panels: Sequence[Sequence[Callable[[Axes, Sequence[Row]], None]]],
) -> Figure:
    """Panels in lines; one that is named twice in a line is twice as wide."""
    with mpl.rc_context(STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.09, h_pad=0.09)
        size = (WIDTH * len(panels[0]), HEIGHT * len(panels))
        figure = Figure(figsize=size, layout=layout)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.5, fontweight="bold")
        axes = figure.subplot_mosaic([list(line) for line in panels], sharex=True)
        for draw_panel, panel in axes.items():
            draw_panel(panel, rows)
            mark_patch_sizes(panel, rows)
        first = axes[panels[0][0]]
        # t falls along the trajectory; a margin keeps the first and the last marker whole
        first.set_xlim(rows[0].t + 0.03, -0.01)
        for line in panels:
            if line is panels[-1] or len(set(line)) < len(line):  # a wide one aligns with no other
                for draw_panel in line:
                    axes[draw_panel].set_xlabel("t, from noise to image")
                    axes[draw_panel].tick_params(labelbottom=True)
        return figure


def draw(
    panel: Axes,
    rows: Sequence[TimedStep],
    values: Sequence[float],
    color: str,
    label: str | None = None,
) -> None:
    """One line over t; a note in its place where nothing of it is known."""
    if any(isfinite(value) for value in values):
        panel.plot([row.t for row in rows], values, color=color, label=label, clip_on=False)
    elif label is None:
        note(panel, "not known")
    else:
        panel.plot([], [], color=color, label=f"{label}: not known")


def note(panel: Axes, text: str) -> None:
    """Words in the middle, where no line can be."""
    panel.text(
        0.5,
        0.5,
        text,
        transform=panel.transAxes,
        ha="center",
        color=TARGET,
        backgroundcolor="white",
    )


def draw_target(panel: Axes, value: float, label: str) -> None:
    """A dashed line, named at its right end."""
    panel.axhline(value, color=TARGET, linewidth=1, linestyle="--", marker="")
    panel.annotate(
        label, (1, value), xycoords=("axes fraction", "data"), xytext=(-2, 3),
        textcoords="offset points", ha="right", color=TARGET, fontsize=8,
    )  # fmt: skip


def mark_patch_sizes(panel: Axes, rows: Sequence[TimedStep]) -> None:
    """A dotted line wherever the patch size changes, which explains most jumps."""
    for row, following in pairwise(rows):
        if row.patch_size != following.patch_size:
            middle = (row.t + following.t) / 2
            panel.axvline(middle, color=CHANGE, linewidth=0.9, linestyle=":", marker="")


def name_patch_sizes(panel: Axes, rows: Sequence[TimedStep]) -> None:
    """The patch size between the dotted lines, at the bottom."""
    for patch_size, steps in groupby(rows, key=lambda row: row.patch_size):
        times = [row.t for row in steps]
        panel.annotate(
            f"P {patch_size}", (sum(times) / len(times), 0), ha="center", color=TARGET, fontsize=8,
            xycoords=("data", "axes fraction"), xytext=(0, 4), textcoords="offset points",
        )  # fmt: skip


def whole_decades(panel: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis that ends at powers of ten, so that its labels are plain."""
    known = [value for value in values if isfinite(value) and value > 0]
    panel.set_yscale("log")
    panel.yaxis.set_minor_formatter(NullFormatter())
    if known:
        low, high = floor(log10(min(known))), ceil(log10(max(known)))
        panel.set_ylim(10.0**low, 10.0 ** max(high, low + 1))


def decades_and_zero(panel: Axes, values: Sequence[float]) -> None:
    """Like whole_decades, with a place for zero below the lowest power of ten."""
    known = [value for value in values if isfinite(value) and value > 0]
    if not any(value == 0 for value in values):
        whole_decades(panel, values)
    elif known:
        low, high = floor(log10(min(known))), ceil(log10(max(known)))
        panel.set_yscale("symlog", linthresh=10.0**low, linscale=0.5)
        panel.set_ylim(0, 10.0 ** max(high, low + 1))
    else:
        panel.set_ylim(0, 1)
        panel.set_yticks([0])


def legend(panel: Axes) -> None:
    """The names of the lines, where they hide least."""
    panel.legend(loc="best", fontsize=8)
