"""Images on axes, as all phenomena show them: enlarged without smoothing, no ticks."""

from collections.abc import Sequence

from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.gridspec import GridSpec
from torch import Tensor

from sampler.results.style import GREY


def show_image(panel: Axes, image: Float[Tensor, "1 h w"]) -> None:
    """One grey image in [-1, 1]."""
    panel.imshow(image[0].numpy(), cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
    bare(panel)


def bare(panel: Axes) -> None:
    """No ticks and no grid; a thin frame, so that white images have an edge."""
    panel.grid(visible=False)
    panel.set(xticks=[], yticks=[])
    for spine in panel.spines.values():
        spine.set(visible=True, linewidth=0.5, color="#bbbbbb")


def show_rows(
    figure: Figure | SubFigure, rows: Sequence[tuple[str, Float[Tensor, "n 1 h w"]]]
) -> GridSpec:
    """Images in rows, each named at its left."""
    columns = max(len(images) for _, images in rows)
    grid = figure.add_gridspec(len(rows), columns)
    for i, (name, images) in enumerate(rows):
        for j, image in enumerate(images):
            panel = figure.add_subplot(grid[i, j])
            show_image(panel, image)
            if j == 0:
                panel.set_ylabel(name, color=GREY, fontsize=9)
    return grid
