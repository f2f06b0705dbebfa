"""Pictures of a run, from what `run.json` holds: every step over t."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from sampler.plots.plot_style import BLUE, GREEN, ORANGE
from sampler.plots.step_panels import (
    decades_and_zero,
    draw,
    draw_target,
    figure_of_steps,
    legend,
    note,
    whole_decades,
)
from sampler.reverse import StepReport
from sampler.run_account import is_retrieved

VALUE, ASKED, AGAIN, EXACTLY = BLUE, ORANGE, GREEN, ORANGE
MOST_TICKS = 8


def steps_figure(rows: Sequence[StepReport], account: Mapping[str, Any]) -> Figure:
    """Patch size, effective sample size, head mass, standard error, patches compared, seconds.

    With a tolerance also how many pixels needed more than the first estimate.

    Args:
        rows: steps, whose patch sizes are those that were compared.
        account: what `run.json` holds, as `sampler.run_account.as_compared` gives it.
    """
    config = account["config"]
    asked = [step["asked_patch_size"] for step in account["steps"]]
    sizes = draw_whole_images if config["machine"] == "is" else partial(draw_sizes, asked=asked)
    errors = partial(draw_standard_error, tolerance=config["tolerance"])
    panels: tuple[tuple[Callable[[Axes, Sequence[StepReport]], None], ...], ...] = (
        (sizes, draw_sample_size, draw_head_mass),
        (errors, draw_num_scored, draw_seconds),
    )
    if config["tolerance"] is not None:
        panels = (
            (sizes, sizes, sizes),
            (draw_sample_size, draw_head_mass, errors),
            (draw_ways, draw_num_scored, draw_seconds),
        )
    return figure_of_steps(rows, title_of(account), panels)


def title_of(account: Mapping[str, Any]) -> str:
    """Images, machine and samples, in one line."""
    config, source = account["config"], account["source"]
    how = f"exact {config['machine'].upper()}"
    if is_retrieved(account):
        how = (
            f"ELS by retrieval (k {config['k']:,}, tail {config['tail']:,}, "
            f"nprobe {config['nprobe']:,})"
        )
    return (
        f"{Path(source['dataset']).name}, {source['num_images']:,} images: {how}, "
        f"{config['num']:,} {'sample' if config['num'] == 1 else 'samples'}"
    )


def draw_sizes(panel: Axes, rows: Sequence[StepReport], *, asked: Sequence[int]) -> None:
    """The patch size in steps; where the index lacks some of those asked for, these too."""
    times = [row.t for row in rows]
    used = [row.patch_size for row in rows if row.patch_size is not None]
    panel.set_title("patch size P, pixels")
    style: dict[str, Any] = {"where": "mid", "clip_on": False}
    if list(asked) != used:
        panel.step(
            times, asked, color=ASKED, linestyle="--", markerfacecolor="white",
            label="asked for", **style,
        )  # fmt: skip
    panel.step(times, used, color=VALUE, label="of the index, compared", **style)
    if list(asked) != used:
        legend(panel)
    sizes = sorted({*used, *asked})
    if len(sizes) <= MOST_TICKS:
        panel.set_yticks(sizes)
    else:
        panel.yaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_ylim(0, max(sizes) + 1)


def draw_whole_images(panel: Axes, rows: Sequence[StepReport]) -> None:  # noqa: ARG001 - none matters
    """Words, since the IS machine has no patches."""
    panel.set_title("patch size P, pixels")
    panel.set_yticks([])
    note(panel, "the IS machine compares whole images")


def draw_sample_size(panel: Axes, rows: Sequence[StepReport]) -> None:
    """Over how many patches the weight is spread."""
    values = [row.effective_sample_size for row in rows]
    panel.set_title("effective sample size, median")
    draw(panel, rows, values, VALUE)
    whole_decades(panel, values)


def draw_head_mass(panel: Axes, rows: Sequence[StepReport]) -> None:
    """Which share of the weight was summed and not sampled."""
    panel.set_title("head mass, median")
    draw(panel, rows, [row.head_mass for row in rows], VALUE)
    shares(panel)


def draw_standard_error(
    panel: Axes, rows: Sequence[StepReport], *, tolerance: float | None
) -> None:
    """The error that the machine states, and how much of it was tolerated."""
    values = [row.standard_error for row in rows]
    panel.set_title("standard error (image: -1 to 1)")
    draw(panel, rows, values, VALUE)
    if tolerance:
        draw_target(panel, tolerance, f"tolerance {tolerance:g}")
    decades_and_zero(panel, [*values, tolerance or float("nan")])
    if all(value == 0 for value in values):
        note(panel, "exact at every step")


def draw_num_scored(panel: Axes, rows: Sequence[StepReport]) -> None:
    """How many patches were compared with a window."""
    values = [row.num_scored for row in rows]
    panel.set_title("patches compared per pixel, mean")
    draw(panel, rows, values, VALUE)
    whole_decades(panel, values)


def draw_seconds(panel: Axes, rows: Sequence[StepReport]) -> None:
    """Wall time."""
    panel.set_title("seconds per step, all samples")
    draw(panel, rows, [row.seconds for row in rows], VALUE)
    panel.set_ylim(0, None)


def draw_ways(panel: Axes, rows: Sequence[StepReport]) -> None:
    """Pixels whose first estimate, and whose second one too, were not within the tolerance."""
    panel.set_title("pixels beyond the tolerance at first")
    draw(panel, rows, [row.estimated_again for row in rows], AGAIN, "estimated again")
    draw(panel, rows, [row.summed_exactly for row in rows], EXACTLY, "summed exactly")
    shares(panel)
    legend(panel)


def shares(panel: Axes) -> None:
    """An axis from nothing to all."""
    panel.set_ylim(-0.03, 1.03)
    panel.yaxis.set_major_formatter(PercentFormatter(1))
