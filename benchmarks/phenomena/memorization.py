"""Memorization by the IS machine, novelty by the ELS machine, LS between: from the same noise.

The distance of a sample to the nearest training image is measured beside that of test images, which
are as far from the training images as new garments really are.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from benchmarks.phenomena.fashion import heldout_images, training_images
from benchmarks.phenomena.panels import show_rows
from patchindex import ImageSet
from patchindex.images import to_unit
from sampler import ELSMachine, ISMachine, LSMachine, sample
from sampler.noise import initial_noise
from sampler.results.style import BLUE, GREEN, GREY, ORANGE, STYLE, save_figure
from sampler.scales import resolve_scales
from sampler.studies.baselines import nearest_images

MACHINES = {"IS": ISMachine, "LS": LSMachine, "ELS": ELSMachine}
COLORS = {"IS": ORANGE, "LS": GREEN, "ELS": BLUE, "test images": GREY}
SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Sizes of the measurement; samples of each label in turn, all machines from the same noise."""

    dataset: str = "fashion_mnist"
    num_images: int = 3000
    num_heldout: int = 1000
    samples_per_label: int = 3
    num_labels: int = 10
    seed: int = 0
    scales: str = "fashion_mnist_resnet_zeros"


QUICK = Config(dataset="sample", num_images=300, num_heldout=100, samples_per_label=1, num_labels=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Samples of each machine, the nearest training image of each, and a row of distances."""

    samples: dict[str, Float[Tensor, "b c h w"]]
    nearest: dict[str, Float[Tensor, "b c h w"]]
    rows: list[dict[str, Any]]


def measure(config: Config) -> Measured:
    """Sample with every machine; measure the distance to the nearest training image."""
    images = training_images(config.dataset, config.num_images)
    noise = initial_noise(config.num_labels * config.samples_per_label, images, config.seed)
    scales = resolve_scales(config.scales)
    samples, nearest, rows = {}, {}, []
    for name, machine in MACHINES.items():
        parts = [
            sample(machine(images), part, scales=scales, label=label).images
            for label, part in enumerate(noise.chunk(config.num_labels))
        ]
        samples[name] = torch.cat(parts)
        position, distance = nearest_rms(samples[name], images)
        nearest[name] = to_unit(images.tensor[position])
        rows.append(distance_row(name, distance))
    heldout = heldout_images(config.dataset, config.num_heldout)
    _, distance = nearest_rms(to_unit(heldout.tensor), images)
    return Measured(
        samples=samples, nearest=nearest, rows=[*rows, distance_row("test images", distance)]
    )


def nearest_rms(
    images: Float[Tensor, "b c h w"], training: ImageSet
) -> tuple[Int[Tensor, " b"], Float[Tensor, " b"]]:
    """Position of the nearest training image, and the root mean square difference to it."""
    position, distance = nearest_images(images, training)
    return position, distance / images[0].numel() ** 0.5


def distance_row(name: str, distance: Float[Tensor, " b"]) -> dict[str, Any]:
    """Distances to the nearest training image, rounded, with their quantiles."""
    low, middle, high = distance.quantile(torch.tensor([0.05, 0.5, 0.95])).tolist()
    return {
        "images": name,
        "num": len(distance),
        "lowest": float(distance.min()),
        "quantile_05": low,
        "median": middle,
        "quantile_95": high,
        "distances": [round(value, 5) for value in distance.tolist()],
    }


def draw(measured: Measured, path: Path) -> None:
    """Distances as strips at the left; samples over their nearest training images at the right."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(12, 6.2), layout="constrained")
        title = "IS repeats training images, ELS makes new ones (from the same noise)"
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.5, fontweight="bold")
        left, right = figure.subfigures(1, 2, width_ratios=(1, 1.75), squeeze=False)[0]
        draw_strips(left.subplots(), measured.rows)
        shown = torch.linspace(0, len(measured.samples["ELS"]) - 1, SHOWN).round().long()
        show_rows(
            right,
            [
                row
                for name in MACHINES
                for row in (
                    (f"{name} sample", measured.samples[name][shown]),
                    ("nearest", measured.nearest[name][shown]),
                )
            ],
        )
        save_figure(figure, path)


def draw_strips(panel: Axes, rows: list[dict[str, Any]]) -> None:
    """A dot per image, and the median as a line."""
    rng = np.random.default_rng(0)
    for place, row in enumerate(rows):
        distances = np.array(row["distances"])
        across = place + rng.uniform(-0.25, 0.25, len(distances))
        few = len(distances) < 200
        panel.plot(
            across, distances, linestyle="", color=COLORS[row["images"]],
            markersize=4 if few else 2, alpha=0.8 if few else 0.35,
        )  # fmt: skip
        panel.plot([place - 0.35, place + 0.35], [row["median"]] * 2, color="black", marker="")
        panel.annotate(
            f"{row['median']:.3f}", (place + 0.36, row["median"]), va="center", fontsize=8
        )
    panel.set_xticks(range(len(rows)), [row["images"] for row in rows])
    panel.set_xlim(-0.5, len(rows) - 0.2)
    panel.set_ylim(bottom=-0.02)
    panel.set_ylabel("RMS difference per pixel, pixels in [-1, 1]")
    panel.set_title("distance to the nearest training image")
