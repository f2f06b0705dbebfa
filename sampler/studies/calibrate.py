"""Calibrate locality scales to a network, or to held-out images.

Against a network: the patch size whose machine's score points most nearly where the network's does,
along the network's own trajectory (arXiv 2412.20292, appendix C.2). Without one: the patch size
whose machine denoises held-out images best.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from math import sqrt
from time import perf_counter

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchindex import ImageSet, PatchIndex
from patchindex.device import CPU, describe_device
from patchindex.environment import library_versions
from patchindex.images import to_unit
from sampler.errors import SamplerConfigError
from sampler.networks import (
    Network,
    check_fit,
    effective_width,
    gradient_map,
    matching_boundary,
    network_denoiser,
)
from sampler.noise import initial_noise
from sampler.results.run_result import SamplerConfig
from sampler.results.study_results import CalibrateResult, CalibrateSettings, TimedScale
from sampler.run import boundary_of, describe_source, make_machine
from sampler.scales import are_admitted, checked_scales, published_name
from sampler.schedule import Denoiser, Step, plan_steps
from sampler.trajectory import labels_for, machine_denoiser, trajectory

# Called with the number of machines asked so far, and how many there are to ask.
_OnScore = Callable[[int, int], None]

_TEN_SAMPLES = SamplerConfig(num=10)
_LARGEST_CANDIDATE = 17


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """How well each candidate did for each sample at each time.

    Attributes:
        times: in the order of the reverse process, the highest first.
        candidates: patch sizes, ascending.
        merit: the larger the better: cosine similarity of scores, or minus the mean squared error.
    """

    times: tuple[float, ...]
    candidates: tuple[int, ...]
    merit: Float[Tensor, "t p b"]

    def best(self, quantile: float = 0.5) -> tuple[int, ...]:
        """At each time, this quantile over samples of each one's best patch size.

        The lower of the two middle ones for an even number, as in the reference code; of equally
        good ones the smallest.
        """
        sizes = torch.tensor(self.candidates)[self.merit.argmax(dim=1)].sort(dim=-1).values
        position = int(quantile * (sizes.shape[-1] - 1))
        return tuple(sizes[:, position].tolist())

    def scales(self) -> dict[float, int]:
        """The median best patch size by time, the lowest time first."""
        return dict(sorted(zip(self.times, self.best(), strict=True)))


def calibrate_to_network(
    network: Denoiser,
    machine: Denoiser,
    candidates: Sequence[int],
    *,
    noise: Float[Tensor, "b c h w"],
    steps: Sequence[Step],
    on_score: _OnScore | None = None,
) -> Calibration:
    """Compare the directions of scores at the states that the network passes through.

    Args:
        machine: asked with each candidate as the step's patch size.
        steps: the reverse process; their patch sizes are not used.
    """
    rows = []
    for number, done in enumerate(trajectory(network, noise, steps)):
        step, xt = done.step, done.xt
        target = _score(xt, done.answer, step)
        merits = []
        for patch_size in candidates:
            found = _score(xt, machine(xt, replace(step, patch_size=patch_size)), step)
            merits.append(torch.cosine_similarity(found.flatten(1), target.flatten(1)))
            if on_score is not None:
                on_score(number * len(candidates) + len(merits), len(steps) * len(candidates))
        rows.append(torch.stack(merits))
    return _collect(rows, candidates, steps)


def calibrate_to_images(
    images: Float[Tensor, "b c h w"],
    machine: Denoiser,
    candidates: Sequence[int],
    *,
    noise: Float[Tensor, "b c h w"],
    steps: Sequence[Step],
    on_score: _OnScore | None = None,
) -> Calibration:
    """Compare the error of the posterior mean on noisy images that the machine does not hold.

    Args:
        images: in [-1, 1], none of them in the machine's dictionary.
        noise: standard normal; the same at every noise level, so that levels can be compared.
    """
    rows = []
    for number, step in enumerate(steps):
        xt = sqrt(step.alpha_bar) * images + sqrt(1 - step.alpha_bar) * noise
        merits = []
        for patch_size in candidates:
            mean = machine(xt, replace(step, patch_size=patch_size))
            merits.append(-(mean - images).square().flatten(1).mean(1))
            if on_score is not None:
                on_score(number * len(candidates) + len(merits), len(steps) * len(candidates))
        rows.append(torch.stack(merits))
    return _collect(rows, candidates, steps)


def _collect(
    rows: Sequence[Float[Tensor, "p b"]], candidates: Sequence[int], steps: Sequence[Step]
) -> Calibration:
    """The rows of all steps as one table."""
    return Calibration(
        times=tuple(step.t for step in steps),
        candidates=tuple(candidates),
        merit=torch.stack(list(rows)).cpu(),
    )


def _score(
    xt: Float[Tensor, "b c h w"], mean: Float[Tensor, "b c h w"], step: Step
) -> Float[Tensor, "b c h w"]:
    """(sqrt(alpha_bar) posterior_mean - xt) / (1 - alpha_bar)."""
    return (sqrt(step.alpha_bar) * mean - xt) / (1 - step.alpha_bar)


_Comparer = Callable[..., Calibration]  # of candidates, and `on_score`


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrateConfig:
    """What is calibrated, besides network and images.

    Attributes:
        sampling: machine, retrieval settings, steps, schedule, samples and seed.
        candidates: patch sizes to choose from; None takes an index's scales, or all odd ones from 3
            to 17.
    """

    sampling: SamplerConfig = _TEN_SAMPLES
    candidates: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CalibrationRun:
    """A finished calibration.

    Attributes:
        maps: gradient of the network's center pixel at each step; None without a network.
        result: what `calibrate.json` holds.
    """

    calibration: Calibration
    maps: Float[Tensor, "t h w"] | None
    result: CalibrateResult


def calibrate(
    training_set: ImageSet | PatchIndex,
    network: Network | None,
    config: CalibrateConfig,
    on_score: Callable[[int, int], None] | None = None,
    *,
    device: torch.device = CPU,
) -> CalibrationRun:
    """Find the patch size that serves best at each noise level.

    Args:
        device: where the machine computes.
        network: None to hold `config.sampling.num` images out and denoise them instead.

    Raises:
        UserError: a setting, or images, that do not suit the network, or an index without one.
    """
    start = perf_counter()
    sampling = config.sampling
    schedule = sampling.schedule if network is None else network.schedule
    candidates = _chosen_candidates(training_set, config)
    steps = plan_steps((candidates[0],), sampling.steps, schedule)
    if network is None:
        compare, maps = _against_images(training_set, sampling, steps, device), None
    else:
        compare, maps = _against_network(training_set, network, sampling, steps, device)
    calibration = compare(candidates, on_score=on_score)
    images = training_set.images
    result = CalibrateResult(
        config=CalibrateSettings(
            **asdict(replace(sampling, schedule=schedule)), candidates=candidates
        ),
        network=None if network is None else network.name,
        source=describe_source(training_set),
        device=describe_device(device),
        scales=tuple(TimedScale(t=t, patch_size=size) for t, size in calibration.scales().items()),
        best_quartiles=(calibration.best(0.25), calibration.best(0.75)),
        times=calibration.times,
        mean_merit=tuple(map(tuple, calibration.merit.mean(-1).tolist())),
        effective_width=None if maps is None else tuple(effective_width(heat) for heat in maps),
        published=_published_for(images, network),
        seconds=perf_counter() - start,
        versions=library_versions(),
    )
    return CalibrationRun(calibration=calibration, maps=maps, result=result)


def _against_network(
    training_set: ImageSet | PatchIndex,
    network: Network,
    sampling: SamplerConfig,
    steps: list[Step],
    device: torch.device,
) -> tuple[_Comparer, Float[Tensor, "t h w"]]:
    """How scores are compared on the network's trajectory; its center's gradients there."""
    images = training_set.images
    check_fit(network, images)
    boundary = matching_boundary(network, training_set, sampling.boundary)
    machine = make_machine(training_set, replace(sampling, boundary=boundary))
    noise = initial_noise(sampling.num, images, sampling.seed).to(device)
    label = labels_for(
        sampling.num, network.config.num_classes, label=sampling.label, seed=sampling.seed
    )
    compare = partial(
        calibrate_to_network,
        network_denoiser(network, label),
        machine_denoiser(machine, label),
        noise=noise,
        steps=steps,
    )
    return compare, gradient_maps(network, noise, steps, label)


def gradient_maps(
    network: Network,
    noise: Float[Tensor, "b c h w"],
    steps: Sequence[Step],
    label: Int[Tensor, " b"] | None = None,
) -> Float[Tensor, "t h w"]:
    """Mean |d _score(center) / d xt(x')| at each step, over samples and channels.

    The map of figure 4a of arXiv 2412.20292, along the network's own trajectory; the center itself,
    which the score depends on in any case, is left at 0.
    """
    denoise = network_denoiser(network, label)
    maps = [
        gradient_map(network, done.xt, done.step, label)
        for done in trajectory(denoise, noise, steps)
    ]
    return torch.stack(maps)


def _against_images(
    training_set: ImageSet | PatchIndex,
    sampling: SamplerConfig,
    steps: list[Step],
    device: torch.device,
) -> _Comparer:
    """How images that are held out of the dictionary are denoised."""
    if not isinstance(training_set, ImageSet):
        raise SamplerConfigError(
            "without a network, images are held out of the dictionary, but an index holds all of "
            "them. Give --dataset in place of --index, or --network."
        )
    held, rest = hold_out(training_set.with_label(sampling.label), sampling.num, sampling.seed)
    machine = make_machine(rest, sampling)
    noise = initial_noise(sampling.num, training_set, sampling.seed)
    return partial(
        calibrate_to_images,
        held.to(device),
        machine_denoiser(machine, None),
        noise=noise.to(device),
        steps=steps,
    )


def hold_out(images: ImageSet, num: int, seed: int) -> tuple[Float[Tensor, "b c h w"], ImageSet]:
    """So many images drawn without replacement, in [-1, 1], and the set of all others.

    Raises:
        SamplerConfigError: there would be no others.
    """
    if not 0 < num < len(images):
        raise SamplerConfigError(
            f"{num} images cannot be held out of {len(images)}. Give --num from 1 to "
            f"{len(images) - 1}."
        )
    chosen = np.random.default_rng(seed).choice(len(images), num, replace=False)
    kept = np.setdiff1d(np.arange(len(images)), chosen)
    rest = ImageSet.from_array(
        np.asarray(images.pixels[kept]),
        None if images.labels is None else images.labels[kept],
        class_names=images.class_names,
        name=f"{images.name} without {num} held out",
        layout="nchw",
    )
    return to_unit(np.asarray(images.pixels[chosen])), rest.with_device(images.device)


def _chosen_candidates(
    training_set: ImageSet | PatchIndex, config: CalibrateConfig
) -> tuple[int, ...]:
    """The patch sizes to choose from, ascending and each once; of an index those that it has."""
    if config.candidates is not None:
        asked = checked_scales(sorted(set(config.candidates)), "among the candidates")
        machine = make_machine(training_set, config.sampling)
        compared = {size for size in machine.compared_sizes(asked) if size is not None}
        return tuple(sorted(compared)) or asked  # of whole images, any does
    if isinstance(training_set, PatchIndex):
        return training_set.scales
    boundary = boundary_of(training_set, config.sampling)
    every = range(1, _LARGEST_CANDIDATE + 1, 2)
    admitted = [size for size in every if are_admitted([size], training_set, boundary)]
    return tuple(admitted[1:]) or (1,)


def _published_for(images: ImageSet, network: Network | None) -> str | None:
    """Name of the paper's scales for this network on these images, if there are any."""
    if network is None:
        return None
    config = network.config
    return published_name(images.name, config.architecture, config.padding)
