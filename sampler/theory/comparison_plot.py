"""Pictures of a comparison: r of each sample, and the samples side by side."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from patchindex.images import to_uint8
from sampler.plots.plot_style import BLUE, GREY, ORANGE, STYLE
from sampler.theory.compare import ComparisonRun
from sampler.theory.comparison import Prediction

SHOWN = 8
NAMES = {
    "els": "ELS",
    "ls": "LS",
    "is": "IS",
    "wiener": "Wiener filter",
    "nearest": "nearest image",
}


def scatter_figure(run: ComparisonRun) -> Figure:
    """For each number of network steps: r of the local machines over r of the ideal one."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.6 * len(run.predictions), 4.6), layout="constrained")
        panels = np.atleast_1d(figure.subplots(1, len(run.predictions)))
        for panel, (steps, predictions) in zip(panels, run.predictions.items(), strict=True):
            draw_scatter(panel, predictions)
            panel.set_title(f"{title_of(run)}, network in {steps} steps")
    return figure


def draw_scatter(panel: Axes, predictions: dict[str, Prediction]) -> None:
    """A point per sample and machine; above the diagonal the local machine predicts better."""
    ideal = predictions["is"].r
    for name, color, marker in (("ls", ORANGE, "s"), ("els", BLUE, "o")):
        panel.scatter(ideal, predictions[name].r, s=22, color=color, marker=marker, alpha=0.75,
                      lw=0, label=NAMES[name])  # fmt: skip
    low = min(float(predictions[name].r.min()) for name in ("els", "ls", "is"))
    low = min(0.0, low)
    panel.plot([low, 1], [low, 1], color=GREY, lw=1, ls="--", marker="")
    panel.set(xlabel="r of IS with the network", ylabel="r of the local machine with the network",
              xlim=(low - 0.02, 1.02), ylim=(low - 0.02, 1.02), aspect="equal")  # fmt: skip
    panel.legend(loc="lower right")


def grid_figure(run: ComparisonRun) -> Figure:
    """The first samples in columns: network, machines and baselines in rows, with median r."""
    steps = next(iter(run.outputs))
    rows: list[tuple[str, Float[Tensor, "b c h w"]]] = [
        (f"network, {count} steps", images) for count, images in run.outputs.items()
    ]
    shown = run.predicted | {"nearest": run.nearest[steps]}
    for name, images in shown.items():
        r = run.account["results"][str(steps)]["medians"][name]["r"]
        rows.append((f"{NAMES[name]}\nmedian r {r:.2f}", images))
    count = min(SHOWN, len(run.noise))
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(1.1 * count + 1.6, 1.12 * len(rows) + 0.4))
        panels = np.atleast_2d(figure.subplots(len(rows), count, squeeze=False))
        figure.subplots_adjust(
            left=1.5 / (1.1 * count + 1.6),
            right=0.995,
            top=0.94,
            bottom=0.01,
            wspace=0.04,
            hspace=0.04,
        )
        figure.suptitle(f"{title_of(run)}: images from the same noise", x=0.01, ha="left")
        for line, (name, images) in zip(panels, rows, strict=True):
            line[0].set_ylabel(name, rotation=0, ha="right", va="center")
            for panel, image in zip(line, to_uint8(images[:count]), strict=True):
                show(panel, image)
    return figure


def show(panel: Axes, image: Any) -> None:
    """One image without smoothing."""
    picture = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    panel.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    panel.set(xticks=[], yticks=[])
    for spine in panel.spines.values():
        spine.set_visible(False)


def title_of(run: ComparisonRun) -> str:
    """Network and images in a few words."""
    network, source = run.account["network"], run.account["source"]
    return f"{Path(source['dataset']).name}, {network['architecture']} ({network['padding']})"
