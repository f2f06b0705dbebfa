"""How locality must shrink as noise falls: memorization and error over patch size and noise.

Held-out images are noised and denoised by the ELS machine. Where a window is too large for the
noise, one training patch takes all the weight and is copied: that is memorization, and it costs
error, because the held-out image is no copy.
"""

from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter
from numpy import ndarray
from torch import Tensor

from benchmarks.phenomena.fashion import heldout_images, training_images
from patchindex import ImageSet
from patchindex.images import to_unit
from sampler import ELSMachine
from sampler.noise import initial_noise
from sampler.results.style import STYLE, save_figure
from sampler.scales import published_scales
from sampler.schedule import alpha_bar, noise_level

HALO = [Stroke(linewidth=3.2, foreground="white"), Normal()]  # lines show on dark cells too
COPYING = 2
BACKGROUND = -0.99
PUBLISHED = {"ResNet": "fashion_mnist_resnet_zeros", "UNet": "fashion_mnist_unet_zeros"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Sizes of the measurement; held-out images are the first of each label."""

    dataset: str = "fashion_mnist"
    num_images: int = 3000
    num_heldout: int = 200
    per_label: int = 1
    num_labels: int = 10
    seed: int = 0
    times: tuple[float, ...] = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    patch_sizes: tuple[int, ...] = (1, 3, 5, 7, 9, 11, 13, 15, 17, 21, 25, 31)


QUICK = Config(
    dataset="sample",
    num_images=300,
    num_heldout=500,
    num_labels=3,
    times=(0.1, 0.5, 0.9),
    patch_sizes=(3, 9, 17),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A row for each time, with a value for each patch size."""

    rows: list[dict[str, Any]]


def measure(config: Config) -> Measured:
    """Denoise held-out images of every label at every noise with every patch size."""
    images = training_images(config.dataset, config.num_images)
    heldout = heldout_images(config.dataset, config.num_heldout)
    clean = {
        label: to_unit(heldout.with_label(label).tensor[: config.per_label])
        for label in range(config.num_labels)
    }
    noise = initial_noise(config.per_label * config.num_labels, images, config.seed)
    noises = dict(enumerate(noise.chunk(config.num_labels)))
    return Measured(
        rows=[time_row(images, clean, noises, t, config.patch_sizes) for t in config.times]
    )


def time_row(
    images: ImageSet,
    clean: dict[int, Float[Tensor, "b c h w"]],
    noises: dict[int, Float[Tensor, "b c h w"]],
    t: float,
    patch_sizes: tuple[int, ...],
) -> dict[str, Any]:
    """Share of pixels that copy one patch, and error to the clean image, by patch size."""
    signal = alpha_bar(t)
    machine = ELSMachine(images)
    copying, error = [], []
    for patch_size in patch_sizes:
        copies, squares = [], []
        for label, x0 in clean.items():
            xt = sqrt(signal) * x0 + sqrt(1 - signal) * noises[label]
            found = machine.posterior(xt, signal, patch_size, label=label)
            # plain background has countless equal patches, which never leave one alone
            garment = x0[:, 0] > BACKGROUND
            copies.append((found.effective_sample_size < COPYING)[garment])
            squares.append((found.mean - x0).square().flatten())
        copying.append(float(torch.cat(copies).double().mean()))
        error.append(float(torch.cat(squares).double().mean().sqrt()))
    return {
        "t": t,
        "sigma": noise_level(signal),
        "patch_sizes": list(patch_sizes),
        "share_copying": copying,
        "rms_error": error,
        "best_patch_size": patch_sizes[int(np.argmin(error))],
    }


def draw(measured: Measured, path: Path) -> None:
    """Two maps over noise and patch size, with the published scales and the best ones."""
    rows = sorted(measured.rows, key=lambda row: -row["sigma"])
    copying = np.array([row["share_copying"] for row in rows])
    error = np.array([row["rms_error"] for row in rows])
    excess = error / error.min(axis=1, keepdims=True)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(12, 5), layout="constrained")
        title = "Locality must shrink as noise falls, or the machine copies"
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.5, fontweight="bold")
        left, right = figure.subplots(1, 2, sharey=True)
        image = draw_map(left, rows, copying, cmap="Blues", vmin=0, vmax=1)
        left.set_title("share of garment pixels that copy one patch")
        bar = figure.colorbar(image, ax=left, pad=0.01)
        bar.ax.yaxis.set_major_formatter(StrMethodFormatter("{x:.0%}"))
        image = draw_map(right, rows, excess, cmap="Oranges", norm=LogNorm(1, 2, clip=True))
        right.set_title("error on held-out images, relative to the best patch size")
        bar = figure.colorbar(image, ax=right, pad=0.01, extend="max")
        bar.ax.yaxis.set_major_locator(FixedLocator([1, 1.1, 1.2, 1.5, 2]))
        bar.ax.yaxis.set_minor_locator(NullLocator())
        bar.ax.yaxis.set_major_formatter(StrMethodFormatter("{x:.1f}"))
        left.set_ylabel("patch size P")
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        save_figure(figure, path)


def draw_map(
    panel: Axes, rows: list[dict[str, Any]], values: Float[ndarray, "t p"], **colors: Any
) -> Any:
    """Values in cells, and over them the published and the best patch sizes."""
    sizes = rows[0]["patch_sizes"]
    across = range(len(rows))
    image = panel.imshow(values.T, origin="lower", aspect="auto", **colors)
    panel.grid(visible=False)
    best = [sizes.index(row["best_patch_size"]) for row in rows]
    panel.plot(across, best, linestyle="", marker="*", markersize=12, color="black", zorder=3,
               markeredgecolor="white", label="smallest error on held-out images")  # fmt: skip
    for (name, key), style in zip(PUBLISHED.items(), ("-", "--"), strict=True):
        published = [published_scales()[key][round(row["t"] * 20) - 1] for row in rows]
        places = np.interp(published, sizes, range(len(sizes)))
        panel.plot(across, places, linestyle=style, marker="", color="black",
                   path_effects=HALO, label=f"published scales, {name}")  # fmt: skip
    panel.set_xticks(across, [f"{row['sigma']:.2g}" for row in rows])
    panel.set_yticks(range(len(sizes)), [str(size) for size in sizes])
    panel.set_xlabel("sigma; noise falls to the right")
    return image
