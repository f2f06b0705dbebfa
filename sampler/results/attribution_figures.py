"""Figures of training images' shares, and of a leave-out check."""

from collections.abc import Sequence
from textwrap import wrap

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter
from numpy import ndarray

from patchindex import ImageSet
from patchindex.images import to_unit
from sampler.results.run_result import Attribution, ImageShare, RunResult
from sampler.results.study_results import LeaveOut
from sampler.results.style import BLUE, GREY, ORANGE, SKY, STYLE

MOST_SHOWN = 24
_HEAVIEST, _OTHERS, _UNATTRIBUTED = BLUE, SKY, "#cccccc"
_BAR, _HEADING = 0.42, 1.5  # inches
_MARGIN, _DIGIT = 0.006, 0.0095  # of the panel's width, that a number and each digit of it need
_ROOM = 1.45  # of the longest bar, for the numbers beside it
_COLUMNS, _TILE, _CHECK_HEADING = 5, 2.1, 0.7  # inches


def attribution_figure(run: RunResult) -> Figure:
    """On the left all of each sample, on the right the heaviest training images one by one."""
    attribution = run.trace.attribution if run.trace is not None else ()
    shown = attribution[:MOST_SHOWN]
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        size = (12, _HEADING + _BAR * len(shown))
        figure = Figure(figsize=size, layout="constrained")
        title = f"{run.source.title}: which of them made each sample, mean over the steps" + (
            f", first {MOST_SHOWN} of {len(attribution)} samples" * (shown != attribution)
        )
        figure.suptitle(
            title,
            x=0.01,
            ha="left",
            fontsize=11.5,
            fontweight="bold",
            parse_math=False,  # a name with a dollar is no formula
        )
        whole, heaviest = figure.subplots(1, 2, sharey=True, width_ratios=[1, 1.8])
        _draw_whole(whole, shown)
        _draw_heaviest(heaviest, shown)
        whole.set_yticks(range(len(shown)), [f"sample {number}" for number in range(len(shown))])
        whole.set_ylim(len(shown) - 0.5, -0.5)
        for panel in (whole, heaviest):
            panel.tick_params(axis="y", length=0)
            panel.spines["left"].set_visible(False)
    return figure


def _draw_whole(panel: Axes, samples: Sequence[Attribution]) -> None:
    """The heaviest together, the other images that were named, and the rest."""
    parts = {
        "the heaviest": (_HEAVIEST, [sample.heaviest_share for sample in samples]),
        "other images": (_OTHERS, [sample.others for sample in samples]),
        "unattributed": (_UNATTRIBUTED, [sample.unattributed for sample in samples]),
    }
    starts = [0.0] * len(samples)
    for name, (color, widths) in parts.items():
        panel.barh(range(len(samples)), widths, left=starts, color=color, height=0.75, label=name)
        starts = [start + width for start, width in zip(starts, widths, strict=True)]
    panel.set_xlim(0, 1)
    panel.xaxis.set_major_formatter(PercentFormatter(1))
    panel.set_xlabel("share of the posterior weight")
    panel.legend(loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=3, columnspacing=1.2)


def _draw_heaviest(panel: Axes, samples: Sequence[Attribution]) -> None:
    """A cell for each training image, as wide as its share, with its number and class."""
    most = max(sample.heaviest_share for sample in samples) or 1.0
    limit = most * _ROOM
    for row, sample in enumerate(samples):
        _draw_cells(panel, row, sample.images, limit)
    panel.set_xlim(0, limit)
    panel.set_xticks(
        [tick for tick in MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(0, most) if tick <= most]
    )
    panel.spines["bottom"].set_bounds(0, most)
    panel.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g}%"))
    panel.set_xlabel("share of the posterior weight")
    panel.set_title("the heaviest: number of the training image, its class below")


def _draw_cells(panel: Axes, row: int, images: Sequence[ImageShare], limit: float) -> None:
    """One bar; the numbers for which its cells are too narrow stand beside it."""
    start, beside = 0.0, []
    for rank, image in enumerate(images):
        share, number = image.share, str(image.image)
        shade = 0.45 if rank % 2 else 0.3
        panel.barh(row, share, left=start, height=0.75, color=_HEAVIEST, alpha=shade, lw=0)
        if share / limit > _MARGIN + _DIGIT * len(number):
            below = "" if image.label is None else f"\n{image.label}"
            panel.text(start + share / 2, row, number + below, ha="center", va="center", size=7.5)
        else:
            beside.append(number)
        start += share
    lines = "\n".join(wrap(f"then {', '.join(beside)}", width=36)) if beside else ""
    panel.text(start + _MARGIN * limit, row, lines, va="center", size=7.5, color=GREY)


def leave_out_figure(found: LeaveOut, images: ImageSet) -> Figure:
    """Sample, the same noise without the images, the difference, and the same for comparison."""
    result = found.result
    shown = result.removed[: 2 * _COLUMNS]
    rows = 1 + -(-len(shown) // _COLUMNS)
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(
            figsize=(_COLUMNS * _TILE, rows * _TILE + _CHECK_HEADING), layout="constrained"
        )
        pixel = result.pixel
        what = "" if pixel is None else f", pixel ({pixel[0]}, {pixel[1]})"
        figure.suptitle(
            f"Sample {result.sample}{what} without its {len(result.removed)} heaviest images",
            x=0.01, ha="left", fontweight="bold",
        )  # fmt: skip
        axes = figure.subplots(rows, _COLUMNS, squeeze=False)
        largest = max(
            np.abs(twin - found.finished).max() for twin in (found.without, found.control)
        )
        for twin, panels, name, distance in (
            (found.without, axes[0, 1:3], "without them", result.distance),
            (
                found.control,
                axes[0, 3:5],
                f"without {len(result.compared)} others",
                result.control_distance,
            ),
        ):
            _show(panels[0], twin, name)
            difference = (twin - found.finished).mean(axis=0)
            panels[1].imshow(difference, cmap="RdBu_r", vmin=-largest, vmax=largest)
            panels[1].set_title(f"difference, RMS {distance:.3f}")
        _show(axes[0, 0], found.finished, "the sample")
        for panel, number in zip(axes[1:].flat, shown, strict=False):
            _show(panel, to_unit(images.tensor[number : number + 1])[0].numpy(), f"image {number}")
        if pixel is not None:
            for panel in axes[0]:
                panel.add_patch(
                    Rectangle((pixel[1] - 0.5, pixel[0] - 0.5), 1, 1, fill=False, ec=ORANGE, lw=1.5)
                )
        for panel in axes.flat:
            panel.set_axis_off()
        return figure


def _show(panel: Axes, image: Float[ndarray, "c h w"], title: str) -> None:
    """An image in [-1, 1], pixel by pixel."""
    picture = ((image.clip(-1, 1) + 1) / 2).transpose(1, 2, 0)
    panel.imshow(picture[..., 0] if len(image) == 1 else picture, cmap="gray", vmin=0, vmax=1)
    panel.set_title(title)
