"""Pictures of a calibration: patch size over time, and what the network's center pixel looks at."""

from collections.abc import Sequence

import matplotlib as mpl
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from sampler.plots.plot_style import BLUE, GREEN, ORANGE, STYLE
from sampler.theory.calibrate import CalibrationRun

MAPS_SHOWN = 6


def scales_figure(run: CalibrationRun, title: str) -> Figure:
    """The calibrated patch sizes with their quartiles, the published ones, the effective width."""
    calibration = run.calibration
    times = calibration.times
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7, 4.2), layout="constrained")
        panel = figure.subplots()
        panel.fill_between(
            times, calibration.best(0.25), calibration.best(0.75), step="mid", color=BLUE,
            alpha=0.2, lw=0, label="quartiles of the samples",
        )  # fmt: skip
        panel.step(times, calibration.best(), where="mid", color=BLUE, label="calibrated, median")
        if run.published is not None:
            published = [(i + 1) / len(run.published) for i in range(len(run.published))]
            panel.step(
                published, run.published, where="mid", color=ORANGE, linestyle="--", marker="",
                label="published",
            )  # fmt: skip
        widths = run.account["effective_width"]
        if widths is not None:
            panel.plot(
                times, widths, color=GREEN, linestyle=":", label="network: 90 % of its gradient"
            )
        panel.set(xlabel="t, from image to noise", ylabel="patch size in pixels", title=title)
        panel.set_ylim(0, None)
        panel.legend(loc="upper left")
    return figure


def maps_figure(
    maps: Float[Tensor, "t h w"], times: Sequence[float], widths: Sequence[int]
) -> Figure:
    """The gradient of the center pixel at some times, with the square that holds 90 % of it."""
    positions = [round(i * (len(times) - 1) / (MAPS_SHOWN - 1)) for i in range(MAPS_SHOWN)]
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(11, 2.3), layout="constrained")
        for panel, position in zip(figure.subplots(1, MAPS_SHOWN), positions, strict=True):
            draw_map(panel, maps[position], widths[position])
            panel.set_title(f"t = {times[position]:.2f}, 90 % in {widths[position]}")
    return figure


def draw_map(panel: Axes, heat: Float[Tensor, "h w"], width: int) -> None:
    """One map, dark where the center pixel does not look."""
    height, columns = heat.shape
    panel.imshow(heat.numpy(), cmap="magma", vmin=0)
    left, top = columns // 2 - width / 2, height // 2 - width / 2
    panel.add_patch(
        mpl.patches.Rectangle((left, top), width, width, fill=False, edgecolor="white", lw=1)
    )
    panel.set(xticks=[], yticks=[])
