"""Figures of a run: what happened at each step, over time t."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby, pairwise
from math import ceil, floor, isfinite, log10
from typing import Any, Protocol, TypeVar, runtime_checkable

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, NullFormatter, PercentFormatter

from sampler.results.run_result import RunResult, RunStep
from sampler.results.style import BLUE, GREEN, GREY, LIGHT_GREY, ORANGE, STYLE


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
_TARGET, _CHANGE = GREY, LIGHT_GREY
_WIDTH, _HEIGHT = 4.0, 3.3  # inches of a panel
_VALUE, _ASKED, _AGAIN, _EXACTLY = BLUE, ORANGE, GREEN, ORANGE
_MOST_TICKS = 8


def figure_of_steps(
    rows: Sequence[Row],
    title: str,
    panels: Sequence[Sequence[Callable[[Axes, Sequence[Row]], None]]],
) -> Figure:
    """Panels in lines; one that is named twice in a line is twice as wide."""
    with mpl.rc_context(STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.09, h_pad=0.09)
        size = (_WIDTH * len(panels[0]), _HEIGHT * len(panels))
        figure = Figure(figsize=size, layout=layout)
        figure.suptitle(
            title,
            x=0.01,
            ha="left",
            fontsize=11.5,
            fontweight="bold",
            parse_math=False,  # a name with a dollar is no formula
        )
        axes = figure.subplot_mosaic([list(line) for line in panels], sharex=True)
        for draw_panel, panel in axes.items():
            draw_panel(panel, rows)
            _mark_patch_sizes(panel, rows)
        first = axes[panels[0][0]]
        # t falls along the trajectory; a margin keeps the first and the last marker whole
        first.set_xlim(rows[0].t + 0.03, -0.01)
        for panel in axes.values():
            panel.set_xlabel("t, from noise to image")
            panel.tick_params(labelbottom=True)
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
        color=_TARGET,
        backgroundcolor="white",
    )


def draw_target(panel: Axes, value: float, label: str) -> None:
    """A dashed line, named beside the panel, where no point can lie upon its name."""
    panel.axhline(value, color=_TARGET, linewidth=1, linestyle="--", marker="")
    panel.annotate(
        label, (1, value), xycoords=("axes fraction", "data"), xytext=(3, 0),
        textcoords="offset points", ha="left", va="center", color=_TARGET, fontsize=8,
        annotation_clip=False,
    )  # fmt: skip


def _mark_patch_sizes(panel: Axes, rows: Sequence[TimedStep]) -> None:
    """A dotted line wherever the patch size changes, which explains most jumps."""
    for row, following in pairwise(rows):
        if row.patch_size != following.patch_size:
            middle = (row.t + following.t) / 2
            panel.axvline(middle, color=_CHANGE, linewidth=0.9, linestyle=":", marker="")


def name_patch_sizes(panel: Axes, rows: Sequence[TimedStep]) -> None:
    """The patch size between the dotted lines, at the bottom."""
    for patch_size, steps in groupby(rows, key=lambda row: row.patch_size):
        times = [row.t for row in steps]
        panel.annotate(
            f"P {patch_size}", (sum(times) / len(times), 0), ha="center", color=_TARGET, fontsize=8,
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


def steps_figure(run: RunResult) -> Figure:
    """Patch size, effective sample size, head mass, standard error, patches compared, seconds.

    With a tolerance also how many pixels needed more than the first estimate.
    """
    sizes = _draw_whole_images if run.config.machine == "is" else _draw_sizes
    errors = partial(_draw_standard_error, tolerance=run.config.tolerance)
    panels: tuple[tuple[Callable[[Axes, Sequence[RunStep]], None], ...], ...] = (
        (sizes, _draw_sample_size, _draw_head_mass),
        (errors, _draw_num_scored, _draw_seconds),
    )
    if run.config.tolerance is not None:
        panels = (
            (sizes, sizes, sizes),
            (_draw_sample_size, _draw_head_mass, errors),
            (_draw_ways, _draw_num_scored, _draw_seconds),
        )
    return figure_of_steps(run.steps, run.title, panels)


def _draw_sizes(panel: Axes, rows: Sequence[RunStep]) -> None:
    """The patch size in steps; where the index lacks some of those asked for, these too."""
    times = [row.t for row in rows]
    used = [row.patch_size for row in rows if row.patch_size is not None]
    asked = [row.asked_patch_size for row in rows if row.asked_patch_size is not None]
    panel.set(title="patch size P, pixels", ylabel="pixels")
    style: dict[str, Any] = {"where": "mid", "clip_on": False}
    if asked != used:
        panel.step(
            times, asked, color=_ASKED, linestyle="--", markerfacecolor="white",
            label="asked for", **style,
        )  # fmt: skip
    panel.step(times, used, color=_VALUE, label="of the index, compared", **style)
    if asked != used:
        legend(panel)
    sizes = sorted({*used, *asked})
    if len(sizes) <= _MOST_TICKS:
        panel.set_yticks(sizes)
    else:
        panel.yaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_ylim(0, max(sizes) + 1)


def _draw_whole_images(panel: Axes, rows: Sequence[RunStep]) -> None:  # noqa: ARG001 - none matters
    """Words, since the IS machine has no patches."""
    panel.set(title="patch size P, pixels", ylabel="pixels")
    panel.set_yticks([])
    note(panel, "the IS machine compares whole images")


def _draw_sample_size(panel: Axes, rows: Sequence[RunStep]) -> None:
    """Over how many patches the weight is spread."""
    values = [row.effective_sample_size for row in rows]
    panel.set(title="effective sample size, median", ylabel="patches")
    draw(panel, rows, values, _VALUE)
    whole_decades(panel, values)


def _draw_head_mass(panel: Axes, rows: Sequence[RunStep]) -> None:
    """Which share of the weight was summed and not sampled."""
    panel.set(title="head mass, median", ylabel="share of the weight")
    draw(panel, rows, [row.head_mass for row in rows], _VALUE)
    _shares(panel)


def _draw_standard_error(panel: Axes, rows: Sequence[RunStep], *, tolerance: float | None) -> None:
    """The error that the machine states, and how much of it was tolerated."""
    values = [row.standard_error for row in rows]
    panel.set(title="standard error (image: -1 to 1)", ylabel="image units")
    draw(panel, rows, values, _VALUE)
    if tolerance:
        draw_target(panel, tolerance, f"tolerance\n{tolerance:g}")
    decades_and_zero(panel, [*values, tolerance or float("nan")])
    if all(value == 0 for value in values):
        note(panel, "exact at every step")


def _draw_num_scored(panel: Axes, rows: Sequence[RunStep]) -> None:
    """How many patches were compared with a window."""
    values = [row.num_scored for row in rows]
    panel.set(title="patches compared per pixel, mean", ylabel="patches")
    draw(panel, rows, values, _VALUE)
    whole_decades(panel, values)


def _draw_seconds(panel: Axes, rows: Sequence[RunStep]) -> None:
    """Wall time."""
    panel.set(title="seconds per step, all samples", ylabel="seconds")
    draw(panel, rows, [row.seconds for row in rows], _VALUE)
    panel.set_ylim(0, None)


def _draw_ways(panel: Axes, rows: Sequence[RunStep]) -> None:
    """Pixels whose first estimate, and whose second one too, were not within the tolerance."""
    panel.set(title="pixels beyond the tolerance at first", ylabel="share of the pixels")
    draw(panel, rows, [row.estimated_again for row in rows], _AGAIN, "estimated again")
    draw(panel, rows, [row.summed_exactly for row in rows], _EXACTLY, "summed exactly")
    _shares(panel)
    legend(panel)


def _shares(panel: Axes) -> None:
    """An axis from nothing to all."""
    panel.set_ylim(-0.03, 1.03)
    panel.yaxis.set_major_formatter(PercentFormatter(1))
