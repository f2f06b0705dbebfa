"""Figures of a verification, a calibration, a comparison and a training."""

from collections.abc import Mapping, Sequence
from math import floor, isfinite
from pathlib import Path

import matplotlib as mpl
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy import ndarray
from torch import Tensor

from patchindex.images import to_uint8
from sampler.results.audit_result import AuditedStep, AuditResult
from sampler.results.step_figures import (
    decades_and_zero,
    draw,
    draw_target,
    figure_of_steps,
    legend,
    name_patch_sizes,
    whole_decades,
)
from sampler.results.study_results import (
    TARGET_COVERAGE,
    TARGET_R2,
    CalibrateResult,
    CompareResult,
    PosteriorComparison,
    StepComparison,
    VerifyResult,
)
from sampler.results.style import BLUE, GREEN, GREY, ORANGE, STYLE, save_figure
from sampler.scales import published_scales

_RETRIEVAL, _EXACT, _THIRD = BLUE, ORANGE, GREEN
_SMALLEST_ERROR = 1e-9
_MAPS_SHOWN = 6
_POINTS = 200  # of a loss curve
_SHOWN = 8
_NAMES = {
    "els": "ELS",
    "ls": "LS",
    "is": "IS",
    "wiener": "Wiener filter",
    "lukoianov": "Lukoianov et al.",
    "pspc": "PSPC",
    "nearest": "nearest image",
}


def verification_figure(result: VerifyResult) -> Figure:
    """Error, recall and head mass, effective sample size, coverage, stated error, and seconds."""
    panels = (
        (_draw_error, _draw_found, _draw_sample_size),
        (_draw_coverage, _draw_stated_error, _draw_seconds),
    )
    return figure_of_steps(result.steps, result.title, panels)


def audit_figure(result: AuditResult) -> Figure:
    """As of a verification; without recall, and with the share of unreliable intervals."""
    panels = (
        (_draw_error, _draw_reliance, _draw_sample_size),
        (_draw_coverage, _draw_stated_error, _draw_audit_seconds),
    )
    return figure_of_steps(result.steps, result.title, panels)


def _draw_error(panel: Axes, rows: Sequence[PosteriorComparison]) -> None:
    """1 - R2, the smaller the better; the target as a line."""
    errors = [max(1 - row.R2, _SMALLEST_ERROR) for row in rows]
    panel.set(title="error of the posterior mean, 1 - R2", ylabel="1 - R2")
    draw(panel, rows, errors, _RETRIEVAL)
    draw_target(panel, 1 - TARGET_R2, f"R2 =\n{TARGET_R2}")
    name_patch_sizes(panel, rows)
    whole_decades(panel, [*errors, 1 - TARGET_R2])


def _draw_found(panel: Axes, rows: Sequence[StepComparison]) -> None:
    """Recall and head mass."""
    panel.set(title="what retrieval finds", ylabel="share")
    draw(panel, rows, [row.recall for row in rows], _THIRD, "recall of the k nearest")
    draw(panel, rows, [row.head_mass for row in rows], _RETRIEVAL, "head mass (median)")
    panel.set_ylim(-0.03, 1.03)
    panel.yaxis.set_major_formatter(PercentFormatter(1))
    legend(panel)


def _draw_reliance(panel: Axes, rows: Sequence[AuditedStep]) -> None:
    """Head mass, and how many intervals are not vouched for."""
    panel.set(title="what is summed, and what is not vouched for", ylabel="share")
    draw(panel, rows, [row.head_mass for row in rows], _RETRIEVAL, "head mass (median)")
    draw(panel, rows, [row.unreliable for row in rows], _THIRD, "pixels with k-hat of 0.7 or more")
    panel.set_ylim(-0.03, 1.03)
    panel.yaxis.set_major_formatter(PercentFormatter(1))
    legend(panel)


def _draw_sample_size(panel: Axes, rows: Sequence[PosteriorComparison]) -> None:
    """Effective sample size of the exact weights, and as retrieval states it."""
    low = [row.effective_sample_size_10 for row in rows]
    high = [row.effective_sample_size_90 for row in rows]
    panel.set(title="effective sample size", ylabel="patches")
    panel.fill_between(
        [row.t for row in rows],
        low,
        high,
        color=_EXACT,
        alpha=0.15,
        lw=0,
        label="exact, 10 to 90 % of pixels",
    )
    draw(panel, rows, [row.effective_sample_size for row in rows], _EXACT, "exact, median")
    panel.lines[0].set(linewidth=4.5, alpha=0.5, marker="")  # so that it shows below an equal one
    stated = [row.estimated_effective_sample_size for row in rows]
    draw(panel, rows, stated, _RETRIEVAL, "retrieval, median")
    whole_decades(panel, [*low, *high, *stated])
    legend(panel)


def _draw_coverage(panel: Axes, rows: Sequence[PosteriorComparison]) -> None:
    """Share of 95 % intervals that hold the exact value."""
    covered = [row.coverage for row in rows]
    panel.set(title="coverage of the 95 % intervals", ylabel="share of the values")
    draw(panel, rows, covered, _RETRIEVAL)
    draw_target(panel, TARGET_COVERAGE, f"{100 * TARGET_COVERAGE:.0f} %")
    lowest = min([value for value in covered if isfinite(value)], default=TARGET_COVERAGE)
    panel.set_ylim(min(0.85, floor(lowest * 20) / 20), 1.005)
    panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    panel.yaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10]))  # no halves, which would round


def _draw_stated_error(panel: Axes, rows: Sequence[PosteriorComparison]) -> None:
    """The error that retrieval made, and the standard error that it states."""
    made = [row.rmse for row in rows]
    stated = [row.standard_error for row in rows]
    panel.set(title="error in image units (-1 to 1)", ylabel="image units")
    draw(panel, rows, made, _EXACT, "made (RMSE to exact)")
    draw(panel, rows, stated, _RETRIEVAL, "stated (standard error)")
    decades_and_zero(panel, [*made, *stated])
    legend(panel)


def _draw_seconds(panel: Axes, rows: Sequence[StepComparison]) -> None:
    """Wall time of both machines."""
    exact, retrieval = [r.exact_seconds for r in rows], [r.retrieval_seconds for r in rows]
    panel.set(title="seconds per step, all samples", ylabel="seconds")
    draw(panel, rows, exact, _EXACT, "exact scan")
    draw(panel, rows, retrieval, _RETRIEVAL, "retrieval")
    whole_decades(panel, [*exact, *retrieval])
    legend(panel)


def _draw_audit_seconds(panel: Axes, rows: Sequence[AuditedStep]) -> None:
    """Wall time of retrieval and of the audit, and what exact scans would take."""
    exact, retrieval = [r.exact_seconds for r in rows], [r.retrieval_seconds for r in rows]
    audit = [row.audit_seconds for row in rows]
    panel.set(title="seconds per step, all samples", ylabel="seconds")
    draw(panel, rows, exact, _EXACT, "exact scan, extrapolated")
    draw(panel, rows, audit, _THIRD, f"audit of {rows[0].num_pixels:,} pixels")
    draw(panel, rows, retrieval, _RETRIEVAL, "retrieval")
    whole_decades(panel, [*exact, *audit, *retrieval])
    legend(panel)


def scales_figure(result: CalibrateResult) -> Figure:
    """The calibrated patch sizes with their quartiles, the published ones, the effective width.

    Over t, or over sigma where noise levels were given by number.
    """
    by_sigma = result.config.sigmas is not None
    times = result.config.sigmas or result.times
    best = [scale.patch_size for scale in reversed(result.scales)]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7, 4.2), layout="constrained")
        panel = figure.subplots()
        panel.fill_between(
            times, *result.best_quartiles, step="mid", color=BLUE,
            alpha=0.2, lw=0, label="quartiles of the samples",
        )  # fmt: skip
        panel.step(times, best, where="mid", color=BLUE, label="calibrated, median")
        if result.published is not None and not by_sigma:
            published = published_scales()[result.published]
            levels = [(i + 1) / len(published) for i in range(len(published))]
            panel.step(
                levels, published, where="mid", color=ORANGE, linestyle="--", marker="",
                label="published",
            )  # fmt: skip
        if result.effective_width is not None:
            panel.plot(
                times,
                result.effective_width,
                color=GREEN,
                linestyle=":",
                label="network: 90 % of its gradient",
            )
        name = "sigma" if by_sigma else "t"
        panel.set(
            xlabel=f"{name}, from image to noise",
            ylabel="patch size in pixels",
            title=result.title,
            xscale="log" if by_sigma else "linear",
        )
        panel.set_ylim(0, None)
        panel.legend(loc="best")
    return figure


def maps_figure(
    maps: Float[Tensor, "t h w"], times: Sequence[float], widths: Sequence[int]
) -> Figure:
    """The gradient of the center pixel at some times, with the square that holds 90 % of it."""
    spread = [round(i * (len(times) - 1) / (_MAPS_SHOWN - 1)) for i in range(_MAPS_SHOWN)]
    positions = list(dict.fromkeys(spread))  # of fewer times each is shown once
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        count = len(positions)
        figure = Figure(figsize=(13 * count / _MAPS_SHOWN, 3.1), layout="constrained")
        panels = figure.subplots(1, count, squeeze=False)[0]
        for panel, position in zip(panels, positions, strict=True):
            drawn = _draw_map(panel, maps[position], widths[position])
            panel.set_title(f"t = {times[position]:.2f}, 90 % in {widths[position]}")
            bar = figure.colorbar(drawn, ax=panel, location="bottom", fraction=0.07)
            bar.set_label("mean |gradient| of the score", fontsize=7)
            bar.locator = MaxNLocator(3)
            bar.update_ticks()
            bar.ax.tick_params(labelsize=6.5, length=2)
    return figure


def _draw_map(panel: Axes, heat: Float[Tensor, "h w"], width: int) -> AxesImage:
    """One map, dark where the center pixel does not look."""
    height, columns = heat.shape
    drawn = panel.imshow(heat.numpy(), cmap="magma", vmin=0)
    left, top = columns // 2 - width / 2, height // 2 - width / 2
    panel.add_patch(
        mpl.patches.Rectangle((left, top), width, width, fill=False, edgecolor="white", lw=1)
    )
    for axis, name in ((panel.xaxis, "column"), (panel.yaxis, "row")):
        axis.set_major_locator(MaxNLocator(4, integer=True))
        axis.set_label_text(name, fontsize=7)
    panel.tick_params(labelsize=6.5, length=2)
    return drawn


def scatter_figure(result: CompareResult) -> Figure:
    """For each number of network steps: r of the local machines over r of the ideal one."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.6 * len(result.r), 4.6), layout="constrained")
        panels = np.atleast_1d(figure.subplots(1, len(result.r)))
        for panel, (steps, r) in zip(panels, result.r.items(), strict=True):
            _draw_scatter(panel, r)
            panel.set_title(
                f"{result.title}, network in {steps} steps\nabove the line: nearer than IS",
                parse_math=False,
            )
    return figure


def _draw_scatter(panel: Axes, r: Mapping[str, Sequence[float]]) -> None:
    """A point per sample and machine; above the diagonal the local machine predicts better."""
    for name, color, marker in (("ls", ORANGE, "s"), ("els", BLUE, "o")):
        panel.scatter(r["is"], r[name], s=22, color=color, marker=marker, alpha=0.75,
                      lw=0, label=_NAMES[name])  # fmt: skip
    low = min(0.0, *r["els"], *r["ls"], *r["is"])
    panel.plot([low, 1], [low, 1], color=GREY, lw=1, ls="--", marker="")
    panel.set(xlabel="r of IS with the network", ylabel="r of the local machine with the network",
              xlim=(low - 0.02, 1.02), ylim=(low - 0.02, 1.02), aspect="equal")  # fmt: skip
    panel.legend(loc="lower right")


def grid_figure(
    result: CompareResult,
    outputs: Mapping[int, Float[Tensor, "b c h w"]],
    predicted: Mapping[str, Float[Tensor, "b c h w"]],
) -> Figure:
    """The first samples in columns: network, machines and baselines in rows, with median r.

    Args:
        outputs: the network's images by its number of steps.
        predicted: each predictor's images, of which r is held against the first of these.
    """
    (steps, found), *_ = result.results.items()
    medians = found.medians
    rows = [(f"network, {count} steps", images) for count, images in outputs.items()]
    for name, images in predicted.items():
        rows.append((f"{_NAMES[name]}\nmedian r {medians[name].r:.2f}", images))
    count = min(_SHOWN, result.config.num)
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(1.1 * count + 1.6, 1.12 * len(rows) + 0.5))
        panels = np.atleast_2d(figure.subplots(len(rows), count, squeeze=False))
        figure.subplots_adjust(
            left=1.5 / (1.1 * count + 1.6),
            right=0.995,
            top=1 - 0.5 / (1.12 * len(rows) + 0.5),
            bottom=0.01,
            wspace=0.04,
            hspace=0.04,
        )
        figure.suptitle(
            f"{result.title}: images from the same noise; r with the network in {steps} steps",
            x=0.01,
            ha="left",
            parse_math=False,
            y=1 - 0.06 / (1.12 * len(rows) + 0.5),
            va="top",
        )
        for line, (name, images) in zip(panels, rows, strict=True):
            line[0].set_ylabel(name, rotation=0, ha="right", va="center")
            for panel, image in zip(line, to_uint8(images[:count]), strict=True):
                _show(panel, image)
        for number, panel in enumerate(panels[0]):
            panel.set_title(f"sample {number}", fontsize=8, loc="center", pad=2)
    return figure


def _show(panel: Axes, image: UInt8[ndarray, "c h w"]) -> None:
    """One image without smoothing."""
    picture = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    panel.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    panel.set(xticks=[], yticks=[])
    for spine in panel.spines.values():
        spine.set_visible(False)


def write_loss_curve(losses: Sequence[float], title: str, path: Path) -> None:
    """Mean loss of up to 200 equal stretches, and the range of its steps."""
    stretches = np.array_split(np.asarray(losses), min(_POINTS, len(losses)))
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
