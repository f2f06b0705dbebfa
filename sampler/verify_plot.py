"""The picture of a verification: six panels over t, from noise on the left to the image."""

from collections.abc import Sequence
from itertools import groupby, pairwise
from math import ceil, floor, isfinite, log10

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, NullFormatter, PercentFormatter

from sampler.plot_style import BLUE, GREEN, GREY, LIGHT_GREY, ORANGE, STYLE
from sampler.verification import TARGET_COVERAGE, TARGET_R2, StepComparison

RETRIEVAL, EXACT, THIRD = BLUE, ORANGE, GREEN
TARGET, CHANGE = GREY, LIGHT_GREY
SMALLEST_ERROR = 1e-9


def verification_figure(rows: Sequence[StepComparison], title: str) -> Figure:
    """Error, recall and head mass, effective sample size, coverage, stated error, and seconds."""
    with mpl.rc_context(STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.09, h_pad=0.09)
        figure = Figure(figsize=(12, 6.6), layout=layout)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.5, fontweight="bold")
        axes = figure.subplots(2, 3, sharex=True)
        panels = (draw_error, draw_found, draw_sample_size,
                  draw_coverage, draw_stated_error, draw_seconds)  # fmt: skip
        for panel, draw_panel in zip(axes.flat, panels, strict=True):
            draw_panel(panel, rows)
            mark_patch_sizes(panel, rows)
        # t falls along the trajectory; a margin keeps the first and the last marker whole
        axes[0, 0].set_xlim(rows[0].t + 0.03, -0.01)
        for panel in axes[1]:
            panel.set_xlabel("t, from noise to image")
        name_patch_sizes(axes[0, 0], rows)
        return figure


def draw_error(panel: Axes, rows: Sequence[StepComparison]) -> None:
    """1 - R2, the smaller the better; the target as a line."""
    errors = [max(1 - row.R2, SMALLEST_ERROR) for row in rows]
    panel.set_title("error of the posterior mean, 1 - R2")
    draw(panel, rows, errors, RETRIEVAL)
    draw_target(panel, 1 - TARGET_R2, f"R2 = {TARGET_R2}")
    whole_decades(panel, [*errors, 1 - TARGET_R2])


def draw_found(panel: Axes, rows: Sequence[StepComparison]) -> None:
    """Recall and head mass."""
    panel.set_title("what retrieval finds")
    draw(panel, rows, [row.recall for row in rows], THIRD, "recall of the k nearest")
    draw(panel, rows, [row.head_mass for row in rows], RETRIEVAL, "head mass (median)")
    panel.set_ylim(-0.03, 1.03)
    panel.yaxis.set_major_formatter(PercentFormatter(1))
    legend(panel)


def draw_sample_size(panel: Axes, rows: Sequence[StepComparison]) -> None:
    """Effective sample size of the exact weights, and as retrieval states it."""
    low = [row.effective_sample_size_10 for row in rows]
    high = [row.effective_sample_size_90 for row in rows]
    panel.set_title("effective sample size")
    panel.fill_between(
        [row.t for row in rows],
        low,
        high,
        color=EXACT,
        alpha=0.15,
        lw=0,
        label="exact, 10 to 90 % of pixels",
    )
    draw(panel, rows, [row.effective_sample_size for row in rows], EXACT, "exact, median")
    panel.lines[0].set(linewidth=4.5, alpha=0.5, marker="")  # so that it shows below an equal one
    stated = [row.estimated_effective_sample_size for row in rows]
    draw(panel, rows, stated, RETRIEVAL, "retrieval, median")
    whole_decades(panel, [*low, *high, *stated])
    legend(panel)


def draw_coverage(panel: Axes, rows: Sequence[StepComparison]) -> None:
    """Share of 95 % intervals that hold the exact value."""
    covered = [row.coverage for row in rows]
    panel.set_title("coverage of the 95 % intervals")
    draw(panel, rows, covered, RETRIEVAL)
    draw_target(panel, TARGET_COVERAGE, f"{100 * TARGET_COVERAGE:.0f} %")
    lowest = min([value for value in covered if isfinite(value)], default=TARGET_COVERAGE)
    panel.set_ylim(min(0.85, floor(lowest * 20) / 20), 1.005)
    panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    panel.yaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10]))  # no halves, which would round


def draw_stated_error(panel: Axes, rows: Sequence[StepComparison]) -> None:
    """The error that retrieval made, and the standard error that it states."""
    made = [max(row.rmse, SMALLEST_ERROR) for row in rows]
    stated = [row.standard_error for row in rows]
    panel.set_title("error in image units (-1 to 1)")
    draw(panel, rows, made, EXACT, "made (RMSE to exact)")
    draw(panel, rows, stated, RETRIEVAL, "stated (standard error)")
    whole_decades(panel, [*made, *stated])
    legend(panel)


def draw_seconds(panel: Axes, rows: Sequence[StepComparison]) -> None:
    """Wall time of both machines."""
    exact, retrieval = [r.exact_seconds for r in rows], [r.retrieval_seconds for r in rows]
    panel.set_title("seconds per step, all samples")
    draw(panel, rows, exact, EXACT, "exact scan")
    draw(panel, rows, retrieval, RETRIEVAL, "retrieval")
    whole_decades(panel, [*exact, *retrieval])
    legend(panel)


def draw(
    panel: Axes,
    rows: Sequence[StepComparison],
    values: Sequence[float],
    color: str,
    label: str | None = None,
) -> None:
    """One line over t; a note in its place where nothing of it is known."""
    if any(isfinite(value) for value in values):
        panel.plot([row.t for row in rows], values, color=color, label=label, clip_on=False)
    elif label is None:
        panel.text(0.5, 0.5, "not known", transform=panel.transAxes, ha="center", color=TARGET)
    else:
        panel.plot([], [], color=color, label=f"{label}: not known")


def draw_target(panel: Axes, value: float, label: str) -> None:
    """A dashed line, named at its right end."""
    panel.axhline(value, color=TARGET, linewidth=1, linestyle="--", marker="")
    panel.annotate(
        label, (1, value), xycoords=("axes fraction", "data"), xytext=(-2, 3),
        textcoords="offset points", ha="right", color=TARGET, fontsize=8,
    )  # fmt: skip


def mark_patch_sizes(panel: Axes, rows: Sequence[StepComparison]) -> None:
    """A dotted line wherever the patch size changes, which explains most jumps."""
    for row, following in pairwise(rows):
        if row.patch_size != following.patch_size:
            middle = (row.t + following.t) / 2
            panel.axvline(middle, color=CHANGE, linewidth=0.9, linestyle=":", marker="")


def name_patch_sizes(panel: Axes, rows: Sequence[StepComparison]) -> None:
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


def legend(panel: Axes) -> None:
    """The names of the lines, where they hide least."""
    panel.legend(loc="best", fontsize=8)
