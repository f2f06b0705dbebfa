"""How far IS and LS agree with ELS, by the size of its windows, without any network.

A network that ELS explains should agree with IS and LS about as well as ELS itself does. How well
that is at smaller and larger scales is measured here, by machines from the same noise.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from benchmarks.phenomena.fashion import training_images
from benchmarks.phenomena.panels import show_rows
from sampler import ELSMachine, ISMachine, LSMachine
from sampler.follower import Follower, labels_for
from sampler.noise import initial_noise
from sampler.results.style import BLUE, ORANGE, STYLE, save_figure
from sampler.scales import resolve_scales
from sampler.schedule import plan_steps
from sampler.score_machine import ScoreMachine
from sampler.studies.metrics import pearson_r
from sampler.trajectory import reverse

SHOWN = 9
COLORS = {"IS": ORANGE, "LS": BLUE}
# Medians of r at 20 steps that networks had with these machines: of arXiv 2412.20292, table 1, and
# of ours in benchmarks/results/comparison.jsonl; each at the scales that belong to it.
NETWORKS = {
    "our ResNet": {"IS": 0.54, "LS": 0.76},
    "paper's ResNet": {"IS": 0.74, "LS": 0.88},
    "paper's UNet": {"IS": 0.80, "LS": 0.91},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Sizes of the measurement.

    Attributes:
        scales: names of scales, or one patch size for all noise levels.
    """

    dataset: str = "fashion_mnist"
    num_images: int = 60000
    num: int = 16
    steps: int = 20
    seed: int = 0
    scales: tuple[tuple[str, str], ...] = (
        ("P 3 always", "3"),
        ("our ResNet", "fashion_mnist_resnet_zeros_small"),
        ("paper's ResNet", "fashion_mnist_resnet_zeros"),
        ("paper's UNet", "fashion_mnist_unet_zeros"),
    )


QUICK = Config(dataset="sample", num_images=200, num=2, steps=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Samples of each machine by scales, those of IS once, and a row for each scales."""

    samples: dict[str, Float[Tensor, "b 1 h w"]]
    rows: list[dict[str, Any]]


def measure(config: Config) -> Measured:
    """Sample with every machine at all scales from the same noise, a class drawn for each."""
    images = training_images(config.dataset, config.num_images)
    noise = initial_noise(config.num, images, config.seed)
    ideal = samples_of(ISMachine(images), noise, (None,), config)
    samples, rows = {"IS": ideal}, []
    for name, text in config.scales:
        scales = resolve_scales(text)
        els = samples_of(ELSMachine(images), noise, scales, config)
        ls = samples_of(LSMachine(images), noise, scales, config)
        samples[name] = els
        rows.append(
            {
                "scales": name,
                "num": config.num,
                "patch_sizes": list(scales),
                "median_r_els_is": median_r(els, ideal),
                "median_r_els_ls": median_r(els, ls),
                "median_r_ls_is": median_r(ls, ideal),
            }
        )
    return Measured(samples=samples, rows=rows)


def samples_of(
    machine: ScoreMachine,
    noise: Float[Tensor, "b 1 h w"],
    scales: tuple[int | None, ...],
    config: Config,
) -> Float[Tensor, "b 1 h w"]:
    """The machine's samples, each of its own class, as `sampler compare` makes them."""
    classes = machine.images.num_classes
    label = labels_for(len(noise), classes, label=None, seed=config.seed)
    plan = plan_steps(scales, config.steps, "cosine")
    sizes = {step.sigma: step.patch_size for step in plan}
    return reverse(Follower(machine, label, sizes), noise, plan).clamp(-1, 1)


def median_r(one: Float[Tensor, "b c h w"], other: Float[Tensor, "b c h w"]) -> float:
    """Median over images of the Pearson correlation."""
    return float(pearson_r(one, other).quantile(0.5))


def draw(measured: Measured, path: Path) -> None:
    """Agreement over scales at the left, samples at the right."""
    names = [row["scales"] for row in measured.rows]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(12, 4.6), layout="constrained")
        title = "The farther ELS looks, the better IS and LS agree with it"
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.5, fontweight="bold")
        left, right = figure.subfigures(1, 2, width_ratios=(1, 1.15), squeeze=False)[0]
        panel = left.subplots()
        for other, color in COLORS.items():
            values = [row[f"median_r_els_{other.lower()}"] for row in measured.rows]
            panel.plot(names, values, color=color, marker="o", label=f"ELS with {other}")
            network = [NETWORKS.get(name, {}).get(other, float("nan")) for name in names]
            panel.plot(
                names, network, linestyle="", marker="D", markersize=8, markerfacecolor="none",
                color=color, label=f"network with {other}",
            )  # fmt: skip
        panel.set_ylim(0, 1)
        panel.margins(x=0.12)
        panel.set_xlabel("scales, from small windows to large")
        panel.set_ylabel("median r")
        panel.legend(loc="lower right")
        shown = [
            ("\n".join(name.rsplit(" ", 1)), measured.samples[name][:SHOWN])
            for name in ("IS", *names)
        ]
        show_rows(right, shown)
        save_figure(figure, path)
