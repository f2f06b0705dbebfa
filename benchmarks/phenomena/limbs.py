"""Excess limbs: trousers with more than two legs where the window is too small to see the others.

Figure 5c of arXiv 2412.20292. A window that sees one leg cannot know that two exist already. The
published scales are bounded from below and from above to see what that does.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from torch import Tensor

from benchmarks.phenomena.fashion import heldout_images, training_images
from benchmarks.phenomena.panels import show_rows
from patchindex.images import to_unit
from sampler import ELSMachine, sample
from sampler.noise import initial_noise
from sampler.results.style import BLUE, GREEN, GREY, ORANGE, PINK, STYLE, save_figure
from sampler.scales import resolve_scales

TROUSERS, PULLOVERS = 1, 2
# below the crotch and above the hem, at 32 x 32
LEG_ROWS = slice(20, 29)
FOREGROUND = -0.6
MOST_LEGS = 4
COLORS = (GREY, GREEN, BLUE, PINK, ORANGE)
SHOWN = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Sizes of the measurement.

    Attributes:
        bounds: least and greatest patch size, by name.
        num_pullovers: samples to look at; sleeves are not counted.
    """

    dataset: str = "fashion_mnist"
    num_images: int = 3000
    num_heldout: int = 10000
    bounds: dict[str, tuple[int, int]] = field(
        default_factory=lambda: {
            "P 17 always": (17, 17),
            "published": (1, 17),
            "P at most 9": (1, 9),
            "P at most 5": (1, 5),
        }
    )
    num_trousers: int = 24
    num_pullovers: int = 4
    seed: int = 0
    scales: str = "fashion_mnist_resnet_zeros"


QUICK = Config(dataset="sample", num_images=100, num_heldout=500, num_trousers=3, num_pullovers=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Samples by variant, and how many legs the trousers have."""

    trousers: dict[str, Float[Tensor, "b 1 h w"]]
    pullovers: dict[str, Float[Tensor, "b 1 h w"]]
    rows: list[dict[str, Any]]


def measure(config: Config) -> Measured:
    """Sample with bounded scales; count the legs of samples and of test images."""
    machine = ELSMachine(training_images(config.dataset, config.num_images))
    noise = initial_noise(config.num_trousers, machine.images, config.seed)
    trousers, pullovers = {}, {}
    for name, (least, greatest) in config.bounds.items():
        scales = [min(max(scale, least), greatest) for scale in resolve_scales(config.scales)]
        trousers[name] = sample(machine, noise, scales=scales, label=TROUSERS).images
        few = noise[: config.num_pullovers]
        pullovers[name] = sample(machine, few, scales=scales, label=PULLOVERS).images
    heldout = heldout_images(config.dataset, config.num_heldout).with_label(TROUSERS)
    counted = {"test images": to_unit(heldout.tensor)} | trousers
    return Measured(
        trousers=trousers,
        pullovers=pullovers,
        rows=[leg_row(name, count_legs(images)) for name, images in counted.items()],
    )


def count_legs(images: Float[Tensor, "b 1 h w"]) -> Int[Tensor, "b rows"]:
    """Separate stretches of foreground in each row of the lower part.

    Legs that touch count as one.
    """
    foreground = (images[:, 0, LEG_ROWS] > FOREGROUND).int()
    edges = torch.diff(foreground, dim=2, prepend=torch.zeros_like(foreground[..., :1]))
    return (edges == 1).sum(dim=2)


def leg_row(name: str, legs: Int[Tensor, "b rows"]) -> dict[str, Any]:
    """How many rows of pixels, and by their median how many images, have 0, 1, 2, ... legs."""
    of_image = legs.median(dim=1).values
    return {
        "images": name,
        "num": len(legs),
        "legs_of_rows": torch.bincount(legs.flatten(), minlength=MOST_LEGS + 1).tolist(),
        "share_rows_more_than_two": float((legs > 2).double().mean()),
        "legs_of_images": torch.bincount(of_image, minlength=MOST_LEGS + 1).tolist(),
        "share_images_not_two": float((of_image != 2).double().mean()),
        "share_images_more_than_two": float((of_image > 2).double().mean()),
    }


def draw(measured: Measured, path: Path) -> None:
    """Trousers and pullovers of each variant in a row, and the number of legs below."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(12, 7.4), layout="constrained")
        title = "Excess limbs: windows that see one leg do not know of the others"
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.5, fontweight="bold")
        top, bottom = figure.subfigures(2, 1, height_ratios=(1.65, 1), squeeze=False)[:, 0]
        left, right = top.subfigures(1, 2, width_ratios=(SHOWN, 4.2), wspace=0.02)
        left.suptitle("trousers", fontsize=10)
        right.suptitle("pullovers", fontsize=10)
        show_rows(left, [(name, images[:SHOWN]) for name, images in measured.trousers.items()])
        show_rows(right, [("", images) for images in measured.pullovers.values()])
        draw_legs(bottom.subplots(), measured.rows)
        save_figure(figure, path)


def draw_legs(panel: Axes, rows: list[dict[str, Any]]) -> None:
    """Bars: the share of rows of pixels with each number of legs."""
    width = 0.8 / len(rows)
    for place, (row, color) in enumerate(zip(rows, COLORS, strict=True)):
        shares = [count / sum(row["legs_of_rows"]) for count in row["legs_of_rows"]]
        binned = [*shares[:MOST_LEGS], sum(shares[MOST_LEGS:])]
        across = [legs + (place - (len(rows) - 1) / 2) * width for legs in range(MOST_LEGS + 1)]
        excess = row["share_rows_more_than_two"]
        label = f"{row['images']} ({row['num']} images): {excess:.1%} have more than two"
        panel.bar(across, binned, width=width * 0.92, color=color, label=label)
    names = [*map(str, range(MOST_LEGS)), f"{MOST_LEGS} or more"]
    panel.set_xticks(range(MOST_LEGS + 1), names)
    panel.set_xlabel("legs in a row of pixels")
    panel.set_title("share of the rows in the lower part of trousers")
    panel.yaxis.set_major_formatter(PercentFormatter(1))
    panel.legend(loc="upper right")
