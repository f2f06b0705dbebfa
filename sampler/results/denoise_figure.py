"""Figure of a denoising study: the error of each denoiser over the noise level."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from sampler.results.denoise_result import DenoisedLevel, DenoiseResult, MeanOverImages
from sampler.results.style import BLUE, GREEN, GREY, LIGHT_GREY, ORANGE, PINK, SKY, STYLE

_SMALLEST_ERROR = 1e-9  # that is drawn, as a logarithmic axis has no zero
# name, color, dashes and marker of each denoiser
_LOOKS = {
    "is": ("IS", GREEN, "-", "^"),
    "ls": ("LS", ORANGE, "-", "s"),
    "els": ("ELS", BLUE, "-", "o"),
    "wiener": ("Wiener filter", GREY, "--", "v"),
    "lukoianov": ("Lukoianov et al.", PINK, "--", "D"),
    "pspc": ("PSPC", SKY, "--", "P"),
    "network": ("network", "black", "-", "*"),
}


def denoise_figure(result: DenoiseResult) -> Figure:
    """Mean squared error over sigma and, where ELS is there, the ratio to that of ELS.

    Bands are 95 % intervals over images: of the mean, and of the paired difference to ELS.
    """
    els = result.levels.get("els")
    num_panels = 1 if els is None or len(result.levels) == 1 else 2
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.8 * num_panels + 1.6, 4.3), layout="constrained")
        figure.suptitle(
            result.title, x=0.01, ha="left", fontsize=11.5, fontweight="bold", parse_math=False
        )
        panels = figure.subplots(1, num_panels, squeeze=False)[0]
        _draw_errors(panels[0], result)
        if els is not None and num_panels == 2:
            _draw_ratios(panels[1], result, els)
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside right center")
    return figure


def _draw_errors(panel: Axes, result: DenoiseResult) -> None:
    """A line and a band for each denoiser, and the error of leaving the noise where it is."""
    sigmas = _shared_axis(panel, result)
    panel.set(title="mean squared error of the posterior mean", ylabel="squared image units")
    for name, levels in result.levels.items():
        _draw_line(panel, name, sigmas, [level.error for level in levels])
    _logarithmic(panel)
    bottom, top = panel.get_ylim()
    panel.plot(
        sigmas, [sigma**2 for sigma in sigmas], color=LIGHT_GREY, ls=":", marker="",
        label="of y itself", zorder=1,
    )  # fmt: skip
    panel.set_ylim(bottom, top)


def _draw_ratios(panel: Axes, result: DenoiseResult, els: Sequence[DenoisedLevel]) -> None:
    """Each error over that of ELS on the same images."""
    sigmas = _shared_axis(panel, result)
    panel.set(title="error over that of ELS", ylabel="ratio")
    panel.axhline(1, color=BLUE, marker="")
    for name, levels in result.levels.items():
        ratios = [
            MeanOverImages(
                mean=1 + level.beyond_els.mean / base, half_width=level.beyond_els.half_width / base
            )
            for level, other in zip(levels, els, strict=True)
            if level.beyond_els is not None and (base := max(other.error.mean, _SMALLEST_ERROR))
        ]
        if ratios:
            _draw_line(panel, name, sigmas, ratios)
    _logarithmic(panel)
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    panel.yaxis.set_major_formatter(plain)
    bottom, top = panel.get_ylim()
    panel.yaxis.set_minor_formatter(plain if top < 10 * bottom else NullFormatter())


def _logarithmic(panel: Axes) -> None:
    """A logarithmic axis as far as the lines go: a band may reach down to nothing."""
    heights = np.concatenate([np.asarray(line.get_ydata(), float) for line in panel.get_lines()])
    known = heights[np.isfinite(heights)]
    panel.set_yscale("log")
    if len(known):
        panel.set_ylim(known.min() / 1.5, known.max() * 1.5)


def _shared_axis(panel: Axes, result: DenoiseResult) -> tuple[float, ...]:
    """The noise levels, with a mark at each."""
    sigmas = result.config.sigmas or ()
    panel.set(xscale="log", xlabel="sigma, noise in data units")
    panel.set_xticks(sigmas, [f"{sigma:g}" for sigma in sigmas])
    panel.xaxis.set_minor_formatter(NullFormatter())
    return sigmas


def _draw_line(
    panel: Axes,
    name: str,
    sigmas: Sequence[float],
    values: Sequence[MeanOverImages],
) -> None:
    """One denoiser's line, and the band of its intervals."""
    title, color, dashes, marker = _LOOKS[name]
    low = [max(value.mean - value.half_width, _SMALLEST_ERROR) for value in values]
    high = [max(value.mean + value.half_width, _SMALLEST_ERROR) for value in values]
    panel.fill_between(sigmas, low, high, color=color, alpha=0.12, lw=0)
    panel.plot(
        sigmas, [max(value.mean, _SMALLEST_ERROR) for value in values], color=color, ls=dashes,
        marker=marker, label=title,
    )  # fmt: skip
