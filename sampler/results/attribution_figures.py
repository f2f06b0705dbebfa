"""Figures of training images' shares, and of a leave-out check."""

from collections.abc import Sequence
from textwrap import wrap

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter
from numpy import ndarray

from patchindex import ImageSet
from patchindex.file_names import one_line, shortened
from patchindex.images import to_unit
from sampler.results.run_result import Attribution, ImageShare, RunResult
from sampler.results.study_results import LeaveOut
from sampler.results.style import BLUE, GREY, ORANGE, SKY, STYLE

MOST_SHOWN = 24
_HEAVIEST, _OTHERS, _UNATTRIBUTED = BLUE, SKY, "#cccccc"
_BAR, _HEADING = 0.42, 1.5  # inches
_PICTURE, _ROW = 0.72, 1.22  # inches: a small picture's longer side, and a row with pictures
_MOST_PICTURES = 7  # of the heaviest images of a sample
_LONGEST_WORD = 18  # characters below a small picture
_NOTE, _NOTE_WIDTH = 0.45, 170  # inches, and characters of a line
_MARGIN, _DIGIT = 0.006, 0.0095  # of the panel's width, that a number and each digit of it need
_ROOM = 1.45  # of the longest bar, for the numbers beside it
_COLUMNS, _TILE, _CHECK_HEADING = 5, 2.4, 0.7  # inches
_LONGEST_FILE = 32  # characters over a picture


def attribution_figure(
    run: RunResult,
    samples: Float[ndarray, "b c h w"] | None = None,
    images: ImageSet | None = None,
) -> Figure:
    """Each sample, all of its weight, and the heaviest training images one by one.

    Args:
        samples: of the run, if they are at hand, in [-1, 1].
        images: that it was made from, if they are at hand; else numbers stand for their pictures.
    """
    attribution = run.trace.attribution if run.trace is not None else ()
    shown = attribution[:MOST_SHOWN]
    complete = run.trace is not None and run.trace.complete
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        height = _BAR if samples is None and images is None else _ROW
        size = (12, _HEADING + height * len(shown) + _NOTE)
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
        whole, heaviest = figure.subplots(1, 2, sharey=True, width_ratios=[1, 2.2])
        _draw_whole(whole, shown, complete=complete)
        if images is None:
            _draw_heaviest(heaviest, shown)
        else:
            _draw_pictures(heaviest, shown, images)
        whole.set_yticks(range(len(shown)), [f"sample {number}" for number in range(len(shown))])
        whole.set_ylim(len(shown) - 0.5, -0.5)
        for panel in (whole, heaviest):
            panel.tick_params(axis="y", length=0)
            panel.spines["left"].set_visible(False)
        if samples is not None:
            _draw_samples(whole, samples[: len(shown)])
        note = f"Sample 0: {shown[0].sentence(complete=complete)}" if shown else ""
        figure.supxlabel(
            "\n".join(wrap(note, _NOTE_WIDTH)), x=0.01, ha="left", size=8.5, color=GREY
        )
    return figure


def _draw_samples(panel: Axes, samples: Float[ndarray, "b c h w"]) -> None:
    """Each sample left of its bar, above its number."""
    for row, sample in enumerate(samples):
        _place(panel, sample, (-0.16, row - 0.08), ("axes fraction", "data"))
    panel.set_yticks(panel.get_yticks(), [""] * len(panel.get_yticks()))
    for row in range(len(samples)):
        panel.annotate(
            f"sample {row}", (-0.16, row + 0.26), xycoords=("axes fraction", "data"),
            ha="center", va="top", annotation_clip=False,
        )  # fmt: skip


def _place(
    panel: Axes,
    image: Float[ndarray, "c h w"],
    place: tuple[float, float],
    coordinates: str | tuple[str, str] = "data",
) -> None:
    """A small picture of an image in [-1, 1] around a place, of one size on every paper."""
    picture = OffsetImage(
        np.broadcast_to(_levels(image), (3, *image.shape[1:])).transpose(1, 2, 0),
        zoom=72 * _PICTURE / max(image.shape[1:]),
        interpolation="nearest",
    )
    panel.add_artist(
        AnnotationBbox(
            picture, place, xycoords=coordinates, pad=0, annotation_clip=False,
            bboxprops={"edgecolor": "#bbbbbb", "linewidth": 0.6},
        )
    )  # fmt: skip


def _levels(image: Float[ndarray, "c h w"]) -> Float[ndarray, "c h w"]:
    """The values from 0 to 1; those beyond are clipped."""
    levels: Float[ndarray, "c h w"] = (image.clip(-1, 1) + 1) / 2
    return levels


def _draw_pictures(panel: Axes, samples: Sequence[Attribution], images: ImageSet) -> None:
    """The heaviest training images of each sample, with number, share, file and class."""
    for row, sample in enumerate(samples):
        for slot, image in enumerate(sample.images[:_MOST_PICTURES]):
            pixels = to_unit(images.tensor[image.image : image.image + 1])[0].numpy()
            _place(panel, pixels, (slot + 0.5, row - 0.14))
            panel.text(
                slot + 0.5, row + 0.19, _words_of(image), ha="center", va="top", size=6.5,
                linespacing=1.15, parse_math=False,
            )  # fmt: skip
        if not sample.images:
            panel.text(0.15, row, "none was named", va="center", color=GREY)
    panel.set_xlim(0, _MOST_PICTURES)
    panel.set_xticks([])
    panel.spines["bottom"].set_visible(False)
    panel.set_title(
        "the heaviest: number of the training image, its share of the weight; file; class"
        if images.names is not None
        else "the heaviest: number of the training image, its share of the weight; class"
    )


def _words_of(image: ImageShare) -> str:
    """Number and share of a training image, its file's own name, its class."""
    lines = [f"{image.image}: {100 * image.share:.2g}%"]
    if image.name is not None:
        file = shortened(one_line(image.name.rpartition("/")[2]), 2 * _LONGEST_WORD)
        lines += [file[:_LONGEST_WORD], file[_LONGEST_WORD:]][: 1 + (len(file) > _LONGEST_WORD)]
    return "\n".join([*lines, *_class_line(image)])


def _class_line(image: ImageShare) -> list[str]:
    """Name of its class, or its number; nothing without labels."""
    if image.label is None:
        return []
    name = image.class_name
    return [str(image.label) if name is None else shortened(one_line(name), _LONGEST_WORD)]


def _draw_whole(panel: Axes, samples: Sequence[Attribution], *, complete: bool) -> None:
    """The heaviest together, the other images, and what was not named unless all was."""
    parts = {
        "the heaviest": (_HEAVIEST, [sample.heaviest_share for sample in samples]),
        "other images": (_OTHERS, [sample.others for sample in samples]),
    }
    if not complete:
        parts["unattributed"] = _UNATTRIBUTED, [sample.unattributed for sample in samples]
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
            # a class whose name the cell has no room for is clipped to its first letters
            room = int((share / limit - _MARGIN) / _DIGIT)
            below = "".join(f"\n{shortened(kind, max(2, room))}" for kind in _class_line(image))
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
            figsize=(_COLUMNS * _TILE, rows * _TILE + _CHECK_HEADING),
            layout=ConstrainedLayoutEngine(h_pad=0.09),
        )
        pixel = result.pixel
        what = "" if pixel is None else f", pixel ({pixel[0]}, {pixel[1]})"
        figure.suptitle(
            f"Sample {result.sample}{what} without its {len(result.removed)} heaviest images",
            x=0.01, ha="left", fontweight="bold",
        )  # fmt: skip
        axes = figure.subplots(rows, _COLUMNS, squeeze=False)
        largest = max(
            float(np.abs(twin - found.finished).max()) for twin in (found.without, found.control)
        )
        largest = largest or 1.0  # where nothing changed
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
            drawn = panels[1].imshow(difference, cmap="RdBu_r", vmin=-largest, vmax=largest)
            panels[1].set_title(f"difference, RMS {distance:.3f}")
            bar = figure.colorbar(
                drawn, ax=panels[1], location="bottom", fraction=0.08, ticks=[-largest, 0, largest],
                format="%.2g",
            )  # fmt: skip
            bar.set_label("darker or lighter (image: -1 to 1)", fontsize=7)
            bar.ax.tick_params(labelsize=6.5, length=2)
        _show(axes[0, 0], found.finished, "the sample")
        for panel, number in zip(axes[1:].flat, shown, strict=False):
            title = f"image {number}"
            label = images.label_of(number)
            if label is not None:
                title += f", {images.class_name(label) or label}"
            if (file := images.file_name(number)) is not None:
                title += f"\n{shortened(file.rpartition('/')[2], _LONGEST_FILE)}"
            _show(panel, to_unit(images.tensor[number : number + 1])[0].numpy(), title, 8.0)
        if pixel is not None:
            for panel in axes[0]:
                panel.add_patch(
                    Rectangle((pixel[1] - 0.5, pixel[0] - 0.5), 1, 1, fill=False, ec=ORANGE, lw=1.5)
                )
        for panel in axes[1:].flat[len(shown) :]:
            panel.set_axis_off()
        for panel in axes.flat:
            _number_pixels(panel)
        return figure


def _number_pixels(panel: Axes) -> None:
    """Rows and columns along a picture, small: the picture matters more."""
    for axis, name in ((panel.xaxis, "column"), (panel.yaxis, "row")):
        axis.set_major_locator(MaxNLocator(4, integer=True))
        axis.set_label_text(name, fontsize=7)
    panel.tick_params(labelsize=6.5, length=2, colors=GREY)


def _show(
    panel: Axes, image: Float[ndarray, "c h w"], title: str, fontsize: float | None = None
) -> None:
    """An image in [-1, 1], pixel by pixel."""
    picture = _levels(image).transpose(1, 2, 0)
    panel.imshow(picture[..., 0] if len(image) == 1 else picture, cmap="gray", vmin=0, vmax=1)
    panel.set_title(title, fontsize=fontsize or mpl.rcParams["axes.titlesize"])
