"""The pixel mosaic: as noise goes to 0, every pixel is the center of its nearest legal patch.

Theorem 4.1 of arXiv 2412.20292 says so of the limit. Here samples are followed below the noise at
which the published sampler stops; the image returned at each of these levels is compared with its
own mosaic, found by a plain search through the training patches.
"""

import colorsys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from torch import Tensor

from benchmarks.phenomena.fashion import training_images
from benchmarks.phenomena.low_noise import steps_to_low_noise
from benchmarks.phenomena.nearest_patches import dictionaries, nearest_patches
from benchmarks.phenomena.panels import bare, show_image
from patchindex import ImageSet, PatchGeometry
from sampler import ELSMachine
from sampler.noise import initial_noise
from sampler.results.style import BLUE, GREY, ORANGE, STYLE, save_figure
from sampler.scales import resolve_scales
from sampler.schedule import noise_level
from sampler.trajectory import reverse

# in [-1, 1]: half a step of stored bytes, and one that no eye or byte can tell
TOLERANCES = {"half_grey_step": 1 / 255, "thousandth": 1e-3}
PLAIN = -0.99
ONE_PATCH = 1.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Sizes of the measurement; samples are one of each label."""

    dataset: str = "fashion_mnist"
    num_images: int = 3000
    labels: tuple[int, ...] = (0, 1, 3, 5, 7, 8, 9)
    seed: int = 0
    scales: str = "fashion_mnist_resnet_zeros"
    levels: int = 21
    ratio: float = 0.5
    compare_every: int = 3


QUICK = Config(dataset="sample", num_images=100, labels=(1, 7), levels=12, compare_every=6)


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelImage:
    """The image returned where the process stops at `sigma`, and its mosaic.

    Attributes:
        source, copies: the training image that each pixel of the mosaic is from, and how often its
            patch occurs in all of them.
    """

    sigma: float
    image: Float[Tensor, "1 h w"]
    mosaic: Float[Tensor, "1 h w"]
    source: Int[Tensor, "h w"]
    copies: Int[Tensor, "h w"]
    effective_sample_size: Float[Tensor, "h w"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The images of every sample at falling noise, and a row for each noise."""

    samples: list[list[LevelImage]]
    rows: list[dict[str, Any]]


def measure(config: Config) -> Measured:
    """Follow a sample of each label to low noise; compare the images on the way."""
    images = training_images(config.dataset, config.num_images)
    noise = initial_noise(len(config.labels), images, config.seed)
    samples = [
        follow(images.with_label(label), noise[i : i + 1], config)
        for i, label in enumerate(config.labels)
    ]
    return Measured(
        samples=samples, rows=[level_row(level) for level in zip(*samples, strict=True)]
    )


def follow(images: ImageSet, noise: Float[Tensor, "1 1 h w"], config: Config) -> list[LevelImage]:
    """The images of one sample from the published last step on, each with its mosaic."""
    machine = ELSMachine(images)
    scales = resolve_scales(config.scales)
    plan = steps_to_low_noise(scales, levels=config.levels, ratio=config.ratio)
    compared = plan[-1 - config.levels :: config.compare_every]
    geometry = PatchGeometry(height=images.height, width=images.width, patch_size=scales[0])
    legal = dictionaries(images.tensor, geometry)
    found: list[LevelImage] = []

    steps = {step.sigma: step for step in plan}

    def denoise(y: Float[Tensor, "1 1 h w"], sigma: float) -> Float[Tensor, "1 1 h w"]:
        step = steps[sigma]
        posterior = machine.posterior_of(y, sigma, step.patch_size)
        if step in compared:
            nearest = nearest_patches(posterior.mean, legal)
            found.append(
                LevelImage(
                    sigma=noise_level(step.alpha_bar),
                    image=posterior.mean[0],
                    mosaic=nearest.centers[0],
                    source=nearest.image[0],
                    copies=nearest.copies[0],
                    effective_sample_size=posterior.effective_sample_size[0],
                )
            )
        return posterior.mean

    reverse(denoise, noise, plan)
    return found


def level_row(level: tuple[LevelImage, ...]) -> dict[str, Any]:
    """Shares of the pixels of all samples that equal their mosaic, at one noise."""
    errors = torch.stack([(each.image - each.mosaic).abs() for each in level])
    # plain background is its own mosaic without any merit: count the other pixels apart
    garment = torch.stack([each.mosaic for each in level]) > PLAIN
    row: dict[str, Any] = {"sigma": level[0].sigma, "pixels": errors.numel()}
    row["garment_pixels"] = int(garment.sum())
    row["rms_difference"] = float(errors.square().mean().sqrt())
    for name, tolerance in TOLERANCES.items():
        holds = (errors <= tolerance).double()
        row[f"share_{name}"] = float(holds.mean())
        row[f"garment_share_{name}"] = float(holds[garment].mean())
    # plain patches occur many times: where one of them is copied, many share the weight
    single = torch.stack([each.copies for each in level]) == 1
    sizes = torch.stack([each.effective_sample_size for each in level])[single]
    row["share_copying_one_patch"] = float((sizes < ONE_PATCH).double().mean())
    row["source_images"] = [num_sources(each) for each in level]
    return row


def num_sources(level: LevelImage) -> int:
    """Training images that a pixel is from, where that is certain."""
    return len(level.source[level.copies == 1].unique())


def draw(measured: Measured, path: Path) -> None:
    """The share over noise; below, samples over the map of where their pixels are from."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, 6.9), layout="constrained")
        top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.15), squeeze=False)[:, 0]
        title = "The pixel mosaic: pixels become the centers of their nearest legal patches"
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.5, fontweight="bold")
        draw_shares(top.subplots(), measured.rows)
        draw_sources(bottom, [sample[-1] for sample in measured.samples])
        save_figure(figure, path)


def draw_shares(panel: Axes, rows: list[dict[str, Any]]) -> None:
    """Two tolerances, for all pixels and for those of the garment."""
    sigmas = [row["sigma"] for row in rows]
    for color, (name, label) in zip(
        (BLUE, ORANGE),
        {"half_grey_step": "within 1/255", "thousandth": "within 1/1000"}.items(),
        strict=True,
    ):
        everywhere = [row[f"share_{name}"] for row in rows]
        garment = [row[f"garment_share_{name}"] for row in rows]
        panel.plot(sigmas, everywhere, color=color, label=f"{label}, all pixels")
        panel.plot(
            sigmas, garment, color=color, linestyle="--", label=f"{label}, without background"
        )
    panel.plot(
        sigmas, [row["share_copying_one_patch"] for row in rows], color=GREY, linestyle=":",
        label="denoiser copies one patch",
    )  # fmt: skip
    panel.set_xscale("log")
    panel.invert_xaxis()
    panel.set_xlabel("sigma at which the process stops; noise falls to the right")
    panel.set_title("share of pixels that equal the center of their nearest legal patch")
    panel.yaxis.set_major_formatter(PercentFormatter(1))
    panel.set_ylim(top=1.02)
    panel.annotate(
        "the published\nsampler stops", (sigmas[0], 1), xycoords=("data", "axes fraction"),
        xytext=(6, -4), textcoords="offset points", va="top", color=GREY,
    )  # fmt: skip
    panel.legend(loc="lower right", handlelength=3)


def draw_sources(figure: Figure, finals: list[LevelImage]) -> None:
    """Samples, and below each the training image that every pixel is from."""
    panels = figure.subplots(2, len(finals))
    for (above, below), final in zip(panels.T, finals, strict=True):
        show_image(above, final.image)
        below.imshow(source_colors(final).numpy(), interpolation="nearest")
        bare(below)
        below.set_xlabel(f"{num_sources(final)} images", color=GREY)
    panels[0, 0].set_ylabel("sample", color=GREY)
    panels[1, 0].set_ylabel("source of each pixel", color=GREY)


def source_colors(final: LevelImage) -> Float[Tensor, "h w 3"]:
    """A color per training image; dark grey where the patch is in several places."""
    hues = (final.source * 0.618034) % 1  # golden steps: near numbers get far colors
    colors = [
        colorsys.hsv_to_rgb(float(hue), 0.65, 0.95) if copies == 1 else (0.2, 0.2, 0.2)
        for hue, copies in zip(hues.flatten(), final.copies.flatten(), strict=True)
    ]
    return torch.tensor(colors).reshape(*final.source.shape, 3)
