"""Two training images, one black and one white, seen through 3 x 3 windows that wrap around.

Figure 3 of arXiv 2412.20292: every pixel of a sample is black or white, as most of its window is.
The denoiser is tanh(sum of the window / sigma^2), which is a majority vote once the noise is low.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, PercentFormatter
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from benchmarks.phenomena.low_noise import steps_to_low_noise
from benchmarks.phenomena.panels import show_image
from patchindex import ImageSet
from sampler import ELSMachine
from sampler.noise import initial_noise
from sampler.results.style import BLUE, GREEN, GREY, ORANGE, STYLE, save_figure
from sampler.trajectory import reverse

PATCH_SIZE = 3
TOLERANCE = 1 / 255
SHOWN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Sizes of the measurement; every number of steps starts from the same noise.

    Attributes:
        levels: steps that follow the equal ones, each with half the noise of the one before.
    """

    side: int = 32
    samples: int = 8
    steps: tuple[int, ...] = (2, 3, 5, 10, 20, 50, 100)
    levels: int = 20
    seed: int = 0


QUICK = Config(side=16, samples=4, steps=(3, 20), levels=12)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Samples by number of steps and of levels below them, and how many pixels keep the rules."""

    samples: dict[tuple[int, int], Float[Tensor, "b 1 h w"]]
    rows: list[dict[str, Any]]


def measure(config: Config) -> Measured:
    """Sample with ever finer steps; count the pixels that are their window's majority."""
    machine = ELSMachine(black_and_white(config.side), boundary="circular")
    noise = initial_noise(config.samples, machine.images, config.seed)
    samples: dict[tuple[int, int], Float[Tensor, "b 1 h w"]] = {}
    for steps in config.steps:
        images = images_on_the_way(machine, noise, steps, config.levels)
        samples |= {(steps, levels): images[levels] for levels in (0, config.levels)}
    rows = [
        {"steps": steps, "levels_below": levels} | rule_row(images)
        for (steps, levels), images in samples.items()
    ]
    return Measured(samples=samples, rows=rows)


def images_on_the_way(
    machine: ELSMachine, noise: Float[Tensor, "b 1 h w"], steps: int, levels: int
) -> list[Float[Tensor, "b 1 h w"]]:
    """The image at the end of the equal steps, and at each noise level below."""
    means: list[Float[Tensor, "b 1 h w"]] = []

    def denoise(y: Float[Tensor, "b 1 h w"], sigma: float) -> Float[Tensor, "b 1 h w"]:
        means.append(machine.denoise(y, sigma, PATCH_SIZE))
        return means[-1]

    plan = steps_to_low_noise([PATCH_SIZE], levels=levels, ratio=0.5, steps=steps)
    reverse(denoise, noise, plan)
    return means[steps - 1 :]


def black_and_white(side: int) -> ImageSet:
    """The two training images."""
    pixels = np.zeros((2, 1, side, side), dtype=np.uint8)
    pixels[1] = 255
    return ImageSet.from_array(pixels, name="black and white")


def rule_row(images: Float[Tensor, "b 1 h w"]) -> dict[str, Any]:
    """Shares of the pixels that are black or white, and that are their window's majority."""
    two_valued = (images.abs() - 1).abs() <= TOLERANCE
    return {
        "num": len(images),
        "share_black_or_white": float(two_valued.double().mean()),
        "share_majority": float((two_valued & is_majority(images)).double().mean()),
        "share_white": float((images > 0).double().mean()),
    }


def is_majority(images: Float[Tensor, "b 1 h w"]) -> Bool[Tensor, "b 1 h w"]:
    """Where a pixel has the color that most of its window has; windows wrap around."""
    r = PATCH_SIZE // 2
    votes = avg_pool2d(pad(images.sign(), (r, r, r, r), mode="circular"), PATCH_SIZE, stride=1)
    return votes.sign() == images.sign()


def draw(measured: Measured, path: Path) -> None:
    """Samples of few and of many steps, pixels that break the rule marked; shares beside them."""
    levels = max(levels for _, levels in measured.samples)
    shown = {(3, 0): "3 steps", (20, 0): "20 steps", (20, levels): f"20 steps, then {levels}"}
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(12, 6.2), layout="constrained")
        title = "Two training images, one black and one white: every pixel is its window's majority"
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.5, fontweight="bold")
        left, right = figure.subfigures(1, 2, width_ratios=(1.35, 1), squeeze=False)[0]
        panels = left.subplots(len(shown), SHOWN)
        for row, (key, name) in zip(panels, shown.items(), strict=True):
            row[0].set_ylabel(name, color=GREY)
            for panel, image in zip(row, measured.samples[key], strict=False):
                show_image(panel, image)
                mark_broken(panel, image)
        draw_shares(right.subplots(), measured.rows)
        save_figure(figure, path)


def mark_broken(panel: Axes, image: Float[Tensor, "1 h w"]) -> None:
    """A dot on each pixel that is not its window's majority, and how many there are."""
    rows, cols = torch.nonzero(~is_majority(image[None])[0, 0], as_tuple=True)
    panel.plot(cols.numpy(), rows.numpy(), linestyle="", marker="o", markersize=2.5, color=ORANGE)
    panel.set_xlabel(f"{len(rows)} of {image.numel()} break the rule", color=GREY, fontsize=8)


def draw_shares(panel: Axes, rows: list[dict[str, Any]]) -> None:
    """Shares over the number of steps, and where the process goes on below."""
    levels = max(row["levels_below"] for row in rows)
    for name, below, color, label in (
        ("share_black_or_white", 0, BLUE, "black or white"),
        ("share_majority", 0, ORANGE, "and its window's majority"),
        ("share_majority", levels, GREEN, f"the same, after {levels} more steps"),
    ):
        kept = [row for row in rows if row["levels_below"] == below]
        panel.plot([row["steps"] for row in kept], [row[name] for row in kept],
                   color=color, label=label)  # fmt: skip
    panel.set_xscale("log")
    panel.set_xticks([row["steps"] for row in kept], [str(row["steps"]) for row in kept])
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xlabel("equal steps in t")
    panel.set_title("share of the pixels")
    panel.yaxis.set_major_formatter(PercentFormatter(1))
    panel.legend(loc="lower right")
