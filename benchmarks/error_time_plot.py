"""The picture of a benchmark of retrieval: error of the posterior mean against time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from sampler.verify_plot import STYLE, save_figure

# the Okabe-Ito palette, which colour-blind readers can tell apart
LOOKS = {
    "k": ("#0072B2", "o", "k"),
    "tail": ("#D55E00", "s", "tail"),
    "nprobe": ("#009E73", "^", "nprobe"),
    "no neighbors": ("#CC79A7", "D", "without neighbors' candidates"),
    "FAISS": ("#000000", "X", "FAISS, query by query"),
}


def draw_error_time(
    rows: Sequence[dict[str, Any]], exact_seconds: float, title: str, path: Path
) -> None:
    """Median and worst step side by side; a line joins the values of one setting."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(12, 5.2), layout="constrained")
        figure.suptitle(
            f"{title}: error against time, mean over the measured steps", x=0.01, ha="left",
            fontsize=11.5, fontweight="bold",
        )  # fmt: skip
        panels = figure.subplots(1, 2, sharex=True)
        for panel, name in zip(panels, ("error_median", "error_worst"), strict=True):
            panel.set_title(
                "1 - R2, median step" if name == "error_median" else "1 - R2, worst step"
            )
            for varied, (color, marker, label) in LOOKS.items():
                mine = [row for row in rows if row["varied"] == varied]
                seconds = [row["seconds"] for row in mine]
                line = "-" if len(mine) > 1 else ""
                panel.plot(
                    seconds, [row[name] for row in mine],
                    color=color, marker=marker, label=label, linestyle=line, markersize=5,
                )  # fmt: skip
                for row in mine:
                    panel.annotate(
                        row["value"], (row["seconds"], row[name]), textcoords="offset points",
                        xytext=(5, 5), fontsize=7, color=color,
                    )  # fmt: skip
            panel.set_xscale("log")
            panel.set_yscale("log")
            panel.axvline(exact_seconds, color="#666666", linestyle="--", linewidth=1)
            panel.annotate(
                "exact scan", (exact_seconds, 1), xycoords=("data", "axes fraction"), fontsize=8,
                xytext=(-4, -4), textcoords="offset points", ha="right", va="top", color="#666666",
            )  # fmt: skip
            panel.set_xlabel("seconds a step and image")
        panels[0].legend(loc="lower left")
        save_figure(figure, path)
