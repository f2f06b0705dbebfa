"""The sources of one pixel, as a table and as a figure."""

from collections.abc import Iterator
from itertools import product
from math import ceil
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle
from numpy import ndarray
from torch import Tensor

from patchindex import BorderSignature, ImageSet, PatchGeometry, windows_at
from patchindex.file_names import one_line, shortened
from patchindex.images import to_unit
from sampler.attribution.pixel_query import Answer, Provenance, Source, Tie
from sampler.results.style import BLUE, GREY, ORANGE, STYLE

HEADER = f"{'image':>9} {'y':>4} {'x':>4} {'distance':>10} {'weight':>9} {'alike':>11}  "
_LONGEST_NAME = 34  # characters of a file's name over its picture


def provenance_lines(provenance: Provenance, images: ImageSet) -> Iterator[str]:
    """What was asked, a row for each source, the share of all others, and how sure this is."""
    yield question_line(provenance, images)
    classes = max(len("class"), *(len(class_of(source)) for source in provenance.sources))
    yield f"{HEADER}{'class':<{classes}}  {'file' if images.names is not None else ''}".rstrip()
    for source, tie in with_ties(provenance):
        yield table_row(source, tie, classes)
    error = provenance.standard_error
    yield f"{'others':>9} {'':>20} {share_of(provenance.unattributed):>9}" + (
        f" +- {share_of(error)}" if error else ""
    )
    if any(tie.patches > 1 for tie in provenance.ties):
        more = any(tie.at_least for tie in provenance.ties)
        yield "alike: patches found at the same distance, such as duplicates" + (
            "; + there may be more" if more else ""
        )
    yield (
        "Every legal patch was compared: none is nearer."
        if provenance.complete
        else "The index found these; distances are exact, and --exact makes sure none is nearer."
    )


def question_line(provenance: Provenance, images: ImageSet) -> str:
    """Pixel, window, dictionary and noise in one line."""
    y, x = provenance.pixel
    s = provenance.patch_size
    noise = f"sigma {provenance.sigma:.3g}" if provenance.sigma else "no noise"
    return (
        f"pixel ({y}, {x}), {s}x{s} window, {provenance.border}, {noise}: "
        f"{provenance.num_patches:,} legal patches in {one_line(images.name)}"
    )


def with_ties(provenance: Provenance) -> Iterator[tuple[Source, Tie]]:
    """Each source with the tie it is in."""
    ties = [tie for tie in provenance.ties for _ in range(tie.listed)]
    yield from zip(provenance.sources, ties, strict=True)


def table_row(source: Source, tie: Tie, class_width: int) -> str:
    """One source; its file last, whose name may be long."""
    return (
        f"{source.image:>9} {source.y:>4} {source.x:>4} {source.distance:>10.4f} "
        f"{share_of(source.weight):>9} {alike_of(tie):>11}  "
        f"{class_of(source):<{class_width}}  {source.name or ''}"
    ).rstrip()


def alike_of(tie: Tie) -> str:
    """How many patches are at this distance."""
    return f"{tie.patches:,}{'+' if tie.at_least else ''}"


def class_of(source: Source) -> str:
    """Name of the source's class, or its number; nothing without labels."""
    if source.label is None:
        return ""
    return str(source.label) if source.class_name is None else source.class_name


def share_of(weight: float) -> str:
    """A share in percent, to two digits where it is small."""
    percent = 100 * weight
    return f"{percent:.1f} %" if percent >= 1 else f"{percent:.2g} %"


MOST_SHOWN = 24
MOST_COLUMNS = 4
# inches
QUERY_WIDTH, TILE_WIDTH, TILE_HEIGHT, HEADING = 2.5, 2.9, 2.25, 0.7
BEYOND = "#dfe7ee"  # cells of a window outside the image


def provenance_figure(found: Answer) -> Figure:
    """On the left what was asked about, on the right where it comes from."""
    shown = list(with_ties(found.provenance))[:MOST_SHOWN]
    columns = min(MOST_COLUMNS, max(2, ceil(len(shown) / 2)))
    rows = max(2, ceil(len(shown) / columns))
    widths = [QUERY_WIDTH, columns * TILE_WIDTH]
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(sum(widths), rows * TILE_HEIGHT + HEADING), layout="constrained")
        parts = figure.subfigures(1, 2, squeeze=False, width_ratios=widths, wspace=0.02)
        draw_query(parts[0, 0], found)
        draw_sources(parts[0, 1], found, shown, (rows, columns))
    return figure


def draw_query(part: SubFigure, found: Answer) -> None:
    """The image that was asked about, and the window in it."""
    query, provenance = found.query, found.provenance
    (y, x), s = provenance.pixel, provenance.patch_size
    part.suptitle(f"Pixel ({y}, {x})\n{s}x{s} window", x=0.04, ha="left", size=11)
    whole, window = part.subplots(2, 1)
    show_image(whole, found.state[0])
    outline(whole, (y, x), found, ORANGE)
    whole.set_title(shortened(one_line(query.image.name), _LONGEST_NAME))
    noise = "no noise" if query.t is None else f"t = {query.t:g}, sigma {provenance.sigma:.3g}"
    mark_place(whole, (y, x), noise)
    show_window(window, found.state, (y, x), found, ORANGE)
    mark_offsets(window, found, f"{provenance.border}; rows and columns from the pixel")


def draw_sources(
    part: SubFigure, found: Answer, shown: list[tuple[Source, Tie]], shape: tuple[int, int]
) -> None:
    """A tile for each source: its training image, and the patch beside it."""
    provenance = found.provenance
    count = len(provenance.sources)
    part.suptitle(
        f"{'Nearest' if provenance.complete else 'Nearest found'} of "
        f"{provenance.num_patches:,} patches in {one_line(Path(found.training.name).name)}"
        f"{f', first {len(shown)} of {count}' if count > len(shown) else ''}\n"
        f"all others together weigh {share_of(provenance.unattributed)}",
        x=0.01, ha="left", size=11,
    )  # fmt: skip
    rows, columns = shape
    panels = part.subplots(rows, 2 * columns, width_ratios=[1, 0.62] * columns, squeeze=False)
    for panel in panels.flat:
        panel.set_axis_off()
    tiles = panels.reshape(rows * columns, 2)
    for (whole, patch), (source, tie) in zip(tiles, shown, strict=False):
        draw_source(whole, patch, found, source)
        below = f"distance {source.distance:.3f}\nweight {share_of(source.weight)}"
        alike = f", {alike_of(tie)} alike" if tie.patches > 1 else ""
        mark_place(whole, (source.y, source.x), below + alike)


def draw_source(whole: Axes, patch: Axes, found: Answer, source: Source) -> None:
    """One training image with its patch outlined, and the patch enlarged."""
    image = to_unit(np.array(found.training.pixels[source.image : source.image + 1]))
    place = (source.y, source.x)
    for panel in (whole, patch):
        panel.set_axis_on()
    show_image(whole, image[0])
    outline(whole, place, found, BLUE)
    show_window(patch, image, place, found, BLUE)
    kind = shortened(class_of(source), _LONGEST_NAME)
    file = "" if source.name is None else f"\n{shortened(source.name, _LONGEST_NAME)}"
    whole.set_title(f"image {source.image}{f', {kind}' if kind else ''}{file}", fontsize=9)
    patch.set_title(f"at ({source.y}, {source.x})", color=GREY, fontsize=8)
    mark_offsets(patch, found)


def mark_place(panel: Axes, place: tuple[int, int], below: str) -> None:
    """The row and column of a window's center on the axes of an image, and words below them."""
    y, x = place
    panel.set_xticks([x], [f"column {x}"])
    panel.set_yticks([y], [f"row {y}"], rotation=90, va="center")
    panel.set_xlabel(below, loc="left")
    small_axes(panel)


def mark_offsets(panel: Axes, found: Answer, below: str = "") -> None:
    """Rows and columns of a window, from its center."""
    radius = geometry_of(found).radius
    marks = [-radius, 0, radius] if radius else [0]
    places = [mark + radius for mark in marks]
    panel.set_xticks(places, [f"{mark:+d}" if mark else "0" for mark in marks])
    panel.set_yticks(places, [f"{mark:+d}" if mark else "0" for mark in marks])
    panel.set_xlabel(below, loc="left")
    small_axes(panel)


def small_axes(panel: Axes) -> None:
    """Short ticks with small numbers: the picture matters more."""
    panel.tick_params(length=2, labelsize=6.5, pad=1.5, colors=GREY)
    panel.xaxis.label.set_fontsize(8)


def show_image(panel: Axes, image: Float[Tensor, "c h w"]) -> None:
    """Values in [-1, 1] as pixels, without smoothing; others are clipped, nan stays empty."""
    values = (image.clamp(-1, 1).numpy() + 1) / 2
    if len(values) == 1:
        panel.imshow(values[0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    else:
        panel.imshow(opaque(values[:3]), interpolation="nearest")
    panel.set(xticks=[], yticks=[])
    panel.set_facecolor(BEYOND)
    for spine in panel.spines.values():
        spine.set(visible=True, color="#bbbbbb", linewidth=0.6)


def opaque(colors: Float[ndarray, "c h w"]) -> Float[ndarray, "h w 4"]:
    """Colors as RGBA, transparent where they are nan."""
    red_green_blue = np.nan_to_num(np.moveaxis(np.resize(colors, (3, *colors.shape[1:])), 0, -1))
    alpha = ~np.isnan(colors[0])
    rgba: Float[ndarray, "h w 4"] = np.concatenate([red_green_blue, alpha[..., None]], axis=-1)
    return rgba


def show_window(
    panel: Axes,
    images: Float[Tensor, "1 c h w"],
    place: tuple[int, int],
    found: Answer,
    color: str,
) -> None:
    """The window around a place; cells that the border signature leaves out are empty."""
    geometry, signature = geometry_of(found), found.provenance.signature
    rows, cols = (range(at, at + 1) for at in place)
    window = windows_at(images, rows, cols, geometry)[0, 0, 0]
    show_image(panel, window.masked_fill(~seen(signature, geometry), float("nan")))
    for spine in panel.spines.values():
        spine.set(color=color, linewidth=1.6)
    middle = geometry.radius - 0.5
    panel.add_patch(Rectangle((middle, middle), 1, 1, fill=False, color=color, lw=1))


def seen(signature: BorderSignature, geometry: PatchGeometry) -> Bool[Tensor, "s s"]:
    """Which cells of a window lie inside the image."""
    cells = torch.arange(-geometry.radius, geometry.radius + 1)
    inside = [
        (cells >= axis.offsets.start) & (cells < axis.offsets.stop)
        for axis in (signature.rows, signature.cols)
    ]
    return inside[0][:, None] & inside[1]


def geometry_of(found: Answer) -> PatchGeometry:
    """Of the windows that were compared."""
    return PatchGeometry(
        height=found.training.height,
        width=found.training.width,
        patch_size=found.provenance.patch_size,
        boundary=found.result.boundary,
    )


def outline(panel: Axes, place: tuple[int, int], found: Answer, color: str) -> None:
    """A frame around the cells of a window; what wraps round an image is framed on both sides."""
    geometry, signature = geometry_of(found), found.provenance.signature
    height, width = geometry.height, geometry.width
    rows, cols = signature.rows.offsets, signature.cols.offsets
    wraps = geometry.boundary != "zeros"
    shifts = product((-height, 0, height), (-width, 0, width)) if wraps else [(0, 0)]
    for down, right in shifts:
        corner = (place[1] + right + cols.start - 0.5, place[0] + down + rows.start - 0.5)
        frame = Rectangle(corner, len(cols), len(rows), fill=False, color=color, lw=1.8)
        panel.add_patch(frame)
        frame.set_clip_on(wraps)
    panel.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
