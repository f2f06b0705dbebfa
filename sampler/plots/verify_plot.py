"""The picture of a verification: six panels over t, from noise on the left to the image."""

from collections.abc import Sequence
from math import floor, isfinite

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from sampler.plots.plot_style import BLUE, GREEN, ORANGE
from sampler.plots.step_panels import (
    decades_and_zero,
    draw,
    draw_target,
    figure_of_steps,
    legend,
    name_patch_sizes,
    whole_decades,
)
from sampler.verification import TARGET_COVERAGE, TARGET_R2, StepComparison

RETRIEVAL, EXACT, THIRD = BLUE, ORANGE, GREEN
SMALLEST_ERROR = 1e-9


def verification_figure(rows: Sequence[StepComparison], title: str) -> Figure:
    """Error, recall and head mass, effective sample size, coverage, stated error, and seconds."""
    panels = (
        (draw_error, draw_found, draw_sample_size),
        (draw_coverage, draw_stated_error, draw_seconds),
    )
    return figure_of_steps(rows, title, panels)


def draw_error(panel: Axes, rows: Sequence[StepComparison]) -> None:
    """1 - R2, the smaller the better; the target as a line."""
    errors = [max(1 - row.R2, SMALLEST_ERROR) for row in rows]
    panel.set_title("error of the posterior mean, 1 - R2")
    draw(panel, rows, errors, RETRIEVAL)
    draw_target(panel, 1 - TARGET_R2, f"R2 = {TARGET_R2}")
    name_patch_sizes(panel, rows)
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
    made = [row.rmse for row in rows]
    stated = [row.standard_error for row in rows]
    panel.set_title("error in image units (-1 to 1)")
    draw(panel, rows, made, EXACT, "made (RMSE to exact)")
    draw(panel, rows, stated, RETRIEVAL, "stated (standard error)")
    decades_and_zero(panel, [*made, *stated])
    legend(panel)


def draw_seconds(panel: Axes, rows: Sequence[StepComparison]) -> None:
    """Wall time of both machines."""
    exact, retrieval = [r.exact_seconds for r in rows], [r.retrieval_seconds for r in rows]
    panel.set_title("seconds per step, all samples")
    draw(panel, rows, exact, EXACT, "exact scan")
    draw(panel, rows, retrieval, RETRIEVAL, "retrieval")
    whole_decades(panel, [*exact, *retrieval])
    legend(panel)
