"""What is told of a network before it is held beside the theory: whether it denoises, its scales.

A network that is said to predict something else, at another schedule, time or range of values than
it does, makes images all the same, and a table of them looks like any other. It gives itself away
by its errors on images that it was trained on, and by values that no image has.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchindex import Boundary, ImageSet, PatchIndex
from patchindex.device import CPU
from patchindex.images import to_unit
from sampler.denoiser import Images, of_class
from sampler.networks import NetworkDenoiser
from sampler.results.run_result import SamplerConfig
from sampler.scales import (
    ChosenScales,
    ComparesPatches,
    Scales,
    calibrated_scales,
    choose_scales,
    published_name,
)
from sampler.schedule import nearest_level, rising_sigmas

logger = logging.getLogger(__name__)

TRIED_IMAGES, OTHER_IMAGES = 8, 256  # that are denoised; that the linear filter is made of
TRIED_SIGMAS = (0.3, 1.0, 3.0)  # those of the study that are nearest to these
# Times the error of the simplest denoisers. In the right adapter the bundled network has 0.9, and
# the worst of small ones that were trained for 300 steps of 8 images 2.3; in a wrong one they have
# 2.7 and more, unless they hardly heed what they are told of the noise.
MOST_ERROR = 2.5
MOST_OUTSIDE = 0.05  # share of a network's pixels
OVERSHOT = 0.05  # beyond [-1, 1], as any network overshoots the white and black of its images


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Mean squared errors on a few training images.

    Attributes:
        simplest: the least error of the state itself, the mean image, and a linear filter.
    """

    sigma: float
    error: float
    simplest: float

    @property
    def is_poor(self) -> bool:
        """Whether no trained network in the right adapter does so badly."""
        return self.error > MOST_ERROR * self.simplest


def try_network(
    network: NetworkDenoiser,
    images: ImageSet,
    sigmas: Iterable[float],
    device: torch.device = CPU,
) -> tuple[Trial, ...]:
    """Let a network denoise a few training images at low, middle and high noise; warn if it cannot.

    Asks it once at each level, and leaves random streams as they are.

    Args:
        images: that it was trained on, with labels if it has classes.
        sigmas: of the study, in any order: it is asked at no others.
        device: where the states will lie.

    Raises:
        NetworkError: it fails, or returns what is no posterior mean.

    Example:
        >>> try_network(network, ImageSet.load("mnist"), (10.0, 3.0, 1.0, 0.3))[0].error
        0.012
    """
    num = min(TRIED_IMAGES, len(images) // 2)
    if not num:
        return ()  # there is nothing to judge by
    rng = np.random.default_rng(0)
    drawn = rng.permutation(len(images))[: num + OTHER_IMAGES]
    x0 = to_unit(images.tensor[drawn[:num]])
    eps = torch.from_numpy(rng.standard_normal(x0.shape, dtype=np.float32))
    rising = sorted(sigmas)
    levels = sorted({rising[nearest_level(rising, sigma)] for sigma in TRIED_SIGMAS})
    states = [x0 + sigma * eps for sigma in levels]
    means = _answers(network, states, levels, _labels(network, images, drawn[:num]), device)
    linear = _LinearFilter.of(to_unit(images.tensor[drawn[num:]]))
    trials = []
    for y, mean, sigma in zip(states, means, levels, strict=True):
        simple = (y, linear.mean.expand_as(y), linear(y, sigma))
        simplest = min(_error(found, x0) for found in simple)
        trials.append(Trial(sigma=sigma, error=_error(mean, x0), simplest=simplest))
    poor = [trial for trial in trials if trial.is_poor]
    if poor:
        told = ", ".join(
            f"{t.error:.2g} (theirs {t.simplest:.2g}) at sigma {t.sigma:.2g}" for t in poor
        )
        logger.warning(
            "%s denoises training images much worse than the simplest filters: mean squared error "
            "%s. Check what it is said to predict, and its schedule, time and value_range; or it "
            "is hardly trained, or on other images.",
            network.name, told,
        )  # fmt: skip
    return tuple(trials)


def _answers(
    network: NetworkDenoiser,
    states: list[Images],
    levels: list[float],
    label: Int[Tensor, " b"] | None,
    device: torch.device,
) -> list[Images]:
    """The network's means of the states of each level, on the host."""
    where, followed = network.device or device, of_class(network, label)
    # it may draw, as of dropout, and the study's own draws are to be what they would be
    with torch.random.fork_rng(devices=[where] if where.type == "cuda" else []):
        # level by level, as everywhere: a module may look at the first state's time alone
        return [
            followed(y.to(device), sigma).detach().cpu()
            for y, sigma in zip(states, levels, strict=True)
        ]


def _labels(
    network: NetworkDenoiser, images: ImageSet, drawn: Int[np.ndarray, " b"]
) -> Int[Tensor, " b"] | None:
    """The classes of these images, for a network that is told some."""
    if not network.num_classes or images.labels is None:
        return None
    return torch.from_numpy(images.labels[drawn].astype(np.int64))


def _error(found: Images, x0: Images) -> float:
    return float((found.double() - x0.double()).square().mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class _LinearFilter:
    """The Wiener filter of images whose statistics are the same everywhere: cheap at any size.

    Attributes:
        power: variance of each of their frequencies.
    """

    mean: Float[Tensor, "c h w"]
    power: Float[Tensor, "c h w"]

    @classmethod
    def of(cls, images: Images) -> "_LinearFilter":
        mean = images.mean(0)
        spectra = torch.fft.fft2(images - mean, norm="ortho")
        return cls(mean=mean, power=spectra.abs().square().mean(0))

    def __call__(self, y: Images, sigma: float) -> Images:
        gain = self.power / (self.power + sigma**2)
        found: Images = torch.fft.ifft2(torch.fft.fft2(y - self.mean) * gain).real
        return self.mean + found


def tell_outside(outputs: Mapping[int, Images]) -> None:
    """Warn of a network's images with many values that no image has, which r does not see.

    Args:
        outputs: its images by its number of steps.
    """
    for steps, images in outputs.items():
        share = float((images.abs() > 1 + OVERSHOT).double().mean())
        if share > MOST_OUTSIDE:
            logger.warning(
                "%.0f %% of the pixels of the network's images in %d steps lie outside [-1, 1] by "
                "more than %g: r, r2 and R2 are of clipped images, images.npz has them as they are",
                100 * share, steps, OVERSHOT,
            )  # fmt: skip


def scales_beside(
    network: NetworkDenoiser | None,
    machine: ComparesPatches,
    training_set: ImageSet | PatchIndex,
    sampling: SamplerConfig,
    boundary: Boundary,
) -> ChosenScales:
    """The scales of a study: those asked for, else the network's own; warns if it has none."""
    own = None if network is None else _own_scales(training_set.images, network)
    scales = choose_scales(machine, training_set, sampling.scales, boundary=boundary, own=own)
    if network is not None and own is None and sampling.scales is None:
        logger.warning(
            "these scales are not calibrated to %s, and the theory may predict it worse than it "
            "could: find its own with `sampler calibrate`, and give them with --scales",
            network.name,
        )
    return scales


def _own_scales(images: ImageSet, network: NetworkDenoiser) -> str | Scales | None:
    """Those that came with it, or the name of those calibrated for it, or for its kind."""
    if network.scales is not None:
        sigmas = rising_sigmas(network.schedule, len(network.scales))
        return Scales(patch_sizes=network.scales, sigmas=sigmas)
    config, own = network.config, Path(network.name).stem
    if own in calibrated_scales():
        return own
    if config is None:
        return None
    return published_name(images.name, config.architecture, config.padding)
