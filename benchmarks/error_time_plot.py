"""The picture of a benchmark of retrieval: error of the posterior mean against time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from sampler.estimator import Retrieval
from sampler.results.style import STYLE, save_figure

# the Okabe-Ito palette, which colour-blind readers can tell apart
LOOKS = {
    "k": ("#0072B2", "o", "k varied"),
    "tail": ("#D55E00", "s", "tail varied"),
    "nprobe": ("#009E73", "^", "nprobe varied"),
    "no neighbors": ("#CC79A7", "D", "without neighbors' candidates"),
    "FAISS": ("#000000", "X", "FAISS, query by query"),
}
DEFAULTS = {name: str(getattr(Retrieval, name)) for name in ("k", "tail", "nprobe")}
SECONDS = (0.25, 0.5, 1, 2, 4, 8, 16)
ERRORS = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2)
GREY = "#666666"


def draw_error_time(
    rows: Sequence[dict[str, Any]], exact_seconds: float, title: str, path: Path
) -> None:
    """Median and worst step side by side; a line joins the values of one setting."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(12, 5.2), layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.5, fontweight="bold")
        left, right = figure.subplots(1, 2, sharex=True)
        draw_panel(left, rows, "error_median", exact_seconds)
        draw_panel(right, rows, "error_worst", exact_seconds)
        left.set_title("1 - R2 of the posterior mean, median step")
        right.set_title("the same, worst step")
        right.legend(loc="upper right", bbox_to_anchor=(0.93, 1))
        save_figure(figure, path)


def draw_panel(
    panel: Axes, rows: Sequence[dict[str, Any]], error: str, exact_seconds: float
) -> None:
    """All settings, and the exact scan's seconds as a line."""
    for varied, (color, marker, label) in LOOKS.items():
        mine = [row for row in rows if row["varied"] == varied]
        panel.plot(
            [row["seconds"] for row in mine], [row[error] for row in mine],
            color=color, marker=marker, label=label, markersize=5,
            linestyle="-" if len(mine) > 1 else "",
        )  # fmt: skip
        for row in mine:
            if row["value"] != DEFAULTS.get(varied):
                note(panel, row["value"], (row["seconds"], row[error]), color)
    default = next(row for row in rows if row["value"] == DEFAULTS.get(row["varied"]))
    panel.annotate(
        "default", (default["seconds"], default[error]), xytext=(-46, -26), color=GREY, fontsize=8,
        textcoords="offset points", arrowprops={"arrowstyle": "-", "color": GREY},
    )  # fmt: skip
    panel.axvline(exact_seconds, color=GREY, linestyle="--", linewidth=1, marker="")
    panel.text(
        exact_seconds, 0.5, "exact scan ", transform=panel.get_xaxis_transform(), color=GREY,
        ha="right", fontsize=8,
    )  # fmt: skip
    panel.set_xlabel("seconds a step and image, mean of the steps")
    for axis, ticks in ((panel.xaxis, SECONDS), (panel.yaxis, ERRORS)):
        axis.axes.set(**{f"{axis.axis_name}scale": "log"})
        axis.set_major_locator(FixedLocator(ticks))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))


def note(panel: Axes, text: str, at: tuple[float, float], color: str) -> None:
    """A small label beside a point."""
    panel.annotate(text, at, xytext=(6, 4), textcoords="offset points", fontsize=7, color=color)
