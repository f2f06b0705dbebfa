"""Figures of a verification, a calibration and a comparison."""

from collections.abc import Sequence
from math import floor, isfinite
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from torch import Tensor

from patchindex.images import to_uint8
from sampler.results.step_figures import (
    decades_and_zero,
    draw,
    draw_target,
    figure_of_steps,
    legend,
    name_patch_sizes,
    whole_decades,
)
from sampler.results.style import BLUE, GREEN, GREY, ORANGE, STYLE
from sampler.studies.calibrate import CalibrationRun
from sampler.studies.compare import ComparisonRun, Prediction
from sampler.studies.verify import TARGET_COVERAGE, TARGET_R2, StepComparison

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
