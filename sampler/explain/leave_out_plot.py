"""The picture of a leave-out check: the sample, its twins, and what was left out."""

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy import ndarray

from patchindex import ImageSet
from patchindex.images import to_unit
from sampler.explain.leave_out import LeaveOut
from sampler.plots.plot_style import ORANGE, STYLE

COLUMNS, TILE, CHECK_HEADING = 5, 2.1, 0.7  # inches


def leave_out_figure(found: LeaveOut, images: ImageSet) -> Figure:
    """Sample, the same noise without the images, the difference, and the same for comparison."""
    account = found.account()
    shown = found.removed[: 2 * COLUMNS]
    rows = 1 + -(-len(shown) // COLUMNS)
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(COLUMNS * TILE, rows * TILE + CHECK_HEADING), layout="constrained")
        pixel = found.config.pixel
        what = "" if pixel is None else f", pixel ({pixel[0]}, {pixel[1]})"
        figure.suptitle(
            f"Sample {found.config.sample}{what} without its {len(found.removed)} heaviest images",
            x=0.01, ha="left", fontweight="bold",
        )  # fmt: skip
        axes = figure.subplots(rows, COLUMNS, squeeze=False)
        largest = max(
            np.abs(twin - found.finished).max() for twin in (found.without, found.control)
        )
        for twin, panels, name, distance in (
            (found.without, axes[0, 1:3], "without them", account["distance"]),
            (
                found.control,
                axes[0, 3:5],
                f"without {len(found.compared)} others",
                account["control_distance"],
            ),
        ):
            show(panels[0], twin, name)
            difference = (twin - found.finished).mean(axis=0)
            panels[1].imshow(difference, cmap="RdBu_r", vmin=-largest, vmax=largest)
            panels[1].set_title(f"difference, RMS {distance:.3f}")
        show(axes[0, 0], found.finished, "the sample")
        for panel, number in zip(axes[1:].flat, shown, strict=False):
            show(panel, to_unit(images.tensor[number : number + 1])[0].numpy(), f"image {number}")
        if pixel is not None:
            for panel in axes[0]:
                panel.add_patch(
                    Rectangle((pixel[1] - 0.5, pixel[0] - 0.5), 1, 1, fill=False, ec=ORANGE, lw=1.5)
                )
        for panel in axes.flat:
            panel.set_axis_off()
        return figure


def show(panel: Axes, image: Float[ndarray, "c h w"], title: str) -> None:
    """An image in [-1, 1], pixel by pixel."""
    picture = ((image.clip(-1, 1) + 1) / 2).transpose(1, 2, 0)
    panel.imshow(picture[..., 0] if len(image) == 1 else picture, cmap="gray", vmin=0, vmax=1)
    panel.set_title(title)
