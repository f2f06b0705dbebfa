"""The loss curve as a picture."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from sampler.results.style import BLUE, GREY, STYLE, save_figure

POINTS = 200


def write_loss_curve(losses: Sequence[float], title: str, path: Path) -> None:
    """Mean loss of up to 200 equal stretches, and the range of its steps."""
    stretches = np.array_split(np.asarray(losses), min(POINTS, len(losses)))
    steps = np.cumsum([len(stretch) for stretch in stretches])
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        panel = figure.subplots()
        low, high = zip(*(np.quantile(stretch, [0.1, 0.9]) for stretch in stretches), strict=True)
        panel.fill_between(
            steps, low, high, color=GREY, alpha=0.3, lw=0, label="10 to 90 % of steps"
        )
        panel.plot(
            steps, [stretch.mean() for stretch in stretches], color=BLUE, marker="", label="mean"
        )
        panel.set(xlabel="step", ylabel="mean squared error", yscale="log", title=title)
        panel.legend()
    save_figure(figure, path)
