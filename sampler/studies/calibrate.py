"""Calibrate locality scales to a network, or to held-out images.

Against a network: the patch size whose machine's score points most nearly where the network's does,
along the network's own trajectory (arXiv 2412.20292, appendix C.2). Without one: the patch size
whose machine denoises held-out images best.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter

import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchindex import ImageSet, PatchIndex
from patchindex.crew import ShareCallback, watched
from patchindex.device import CPU, describe_device
from patchindex.environment import library_versions
from sampler.choices import CALIBRATE_SAMPLES
from sampler.denoiser import Denoiser, of_class
from sampler.errors import NoGradientError, SamplerConfigError
from sampler.follower import Follower, labels_for
from sampler.networks import (
    NetworkDenoiser,
    as_network,
    check_fit,
    effective_width,
    gradient_map,
    matching_boundary,
)
from sampler.noise import initial_noise
from sampler.results.run_result import SamplerConfig
from sampler.results.study_results import CalibrateResult, CalibrateSettings, TimedScale
from sampler.results.tables import calibration_lines
from sampler.results.write import write_calibration
from sampler.run import boundary_of, describe_source, levels_settings, make_machine
from sampler.scales import are_admitted, checked_scales, published_name
from sampler.schedule import NoiseLevels, Step, plan_steps
from sampler.studies.held_out import hold_out
from sampler.studies.trial import try_network
from sampler.trajectory import in_data_units, trajectory

# Of states, sigma and patch size: their posterior mean.
SizedDenoiser = Callable[[Float[Tensor, "b c h w"], float, int], Float[Tensor, "b c h w"]]
# Called with the number of machines asked so far, and how many there are to ask.
_OnScore = Callable[[float, int], None]

_TEN_SAMPLES = SamplerConfig(num=CALIBRATE_SAMPLES)
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
    machine: SizedDenoiser,
    candidates: Sequence[int],
    *,
    noise: Float[Tensor, "b c h w"],
    steps: Sequence[Step],
    on_score: _OnScore | None = None,
) -> Calibration:
    """Compare the directions of scores at the states that the network passes through.

    Args:
        machine: asked with each candidate as the patch size.
        steps: the reverse process; their patch sizes are not used.
    """
    rows, tell_of = [], _teller(on_score, len(steps) * len(candidates))
    for number, done in enumerate(trajectory(network, noise, steps)):
        sigma, y = done.step.sigma, in_data_units(done.xt, done.step.alpha_bar)
        merits: list[Tensor] = []
        for patch_size in candidates:
            # scores are these differences over sigma squared, which does not turn them
            with watched(tell_of(number * len(candidates) + len(merits))):
                found, target = machine(y, sigma, patch_size) - y, done.answer - y
            merits.append(torch.cosine_similarity(found.flatten(1), target.flatten(1)))
            tell_of(number * len(candidates) + len(merits))(0.0)
        rows.append(torch.stack(merits))
    return _collect(rows, candidates, steps)


def calibrate_to_images(
    images: Float[Tensor, "b c h w"],
    machine: SizedDenoiser,
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
    rows, tell_of = [], _teller(on_score, len(steps) * len(candidates))
    for number, step in enumerate(steps):
        y = images + step.sigma * noise
        merits: list[Tensor] = []
        for patch_size in candidates:
            with watched(tell_of(number * len(candidates) + len(merits))):
                mean = machine(y, step.sigma, patch_size)
            merits.append(-(mean - images).square().flatten(1).mean(1))
            tell_of(number * len(candidates) + len(merits))(0.0)
        rows.append(torch.stack(merits))
    return _collect(rows, candidates, steps)


def _teller(on_score: _OnScore | None, total: int) -> Callable[[int], ShareCallback]:
    """Given how many machines have answered, what to tell of the share of the next one's answer."""

    def tell(done: int, share: float) -> None:
        if on_score is not None:
            on_score(done + share, total)

    return lambda done: partial(tell, done)


def _collect(
    rows: Sequence[Float[Tensor, "p b"]], candidates: Sequence[int], steps: Sequence[Step]
) -> Calibration:
    """The rows of all steps as one table."""
    return Calibration(
        times=tuple(step.t for step in steps),
        candidates=tuple(candidates),
        merit=torch.stack(list(rows)).cpu(),
    )


_Comparer = Callable[..., Calibration]  # of candidates, and `on_score`


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrateConfig:
    """What is calibrated, besides network and images.

    Attributes:
        sampling: machine, retrieval settings, steps, schedule, samples and seed.
        candidates: patch sizes to choose from; None takes an index's scales, or all odd ones from 3
            to 17.
        levels: the noise levels; None for the network's own or, without one, the configured ones.
    """

    sampling: SamplerConfig = _TEN_SAMPLES
    candidates: tuple[int, ...] | None = None
    levels: NoiseLevels | None = None


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

    def __str__(self) -> str:
        """The table, as the command prints it."""
        return "\n".join(calibration_lines(self.result))

    def write(self, folder: Path, *, options: str | None = None) -> None:
        """Put scales.yaml, scales.png, receptive_field.png and calibrate.json into a folder.

        Args:
            options: config.yaml, the options of the command that made it.

        Raises:
            OutputError: it cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        write_calibration(self.result, self.maps, folder, options=options)


def calibrate(
    denoiser: NetworkDenoiser | Denoiser | None,
    training_set: ImageSet | PatchIndex,
    noise: Float[Tensor, "b c h w"] | None = None,
    config: CalibrateConfig | None = None,
    *,
    label: Int[Tensor, " b"] | None = None,
    on_score: _OnScore | None = None,
    device: torch.device = CPU,
) -> CalibrationRun:
    """Find the patch size that serves best at each noise level.

    Args:
        denoiser: a network, or another function (y, sigma) -> mean of x0 given y = x0 + sigma eps;
            None to hold images out, as many as there is noise, and denoise them instead.
        noise: standard normal; None for that of the configured seed.
        config: settings of the machine; None for the default ones.
        label: class of each sample; None for the configured one or, of a network with classes,
            for drawn ones.
        on_score: told how many machines have been asked, and how many are to be.
        device: where the machine computes.

    Raises:
        UserError: a setting, or images, that do not suit the network, or an index without one.

    Example:
        >>> found = calibrate(open_network("runs/mnist-resnet-zeros-small"), ImageSet.load("mnist"))
        >>> found.calibration.scales()
        {0.05: 3, 0.1: 3, ...}
    """
    start = perf_counter()
    config = config or CalibrateConfig()
    network = None if denoiser is None else as_network(denoiser)
    sampling, images = config.sampling, training_set.images
    if noise is None:
        noise = initial_noise(sampling.num, images, sampling.seed)
    noise = noise.to(device)
    candidates = _chosen_candidates(training_set, config)
    levels = config.levels or (
        sampling.levels if network is None else network.levels(sampling.steps)
    )
    steps = plan_steps((candidates[0],), sampling.steps, levels)
    settings = replace(sampling, num=len(noise), **levels_settings(levels, steps))
    if network is None:
        compare, maps = _against_images(training_set, sampling, steps, noise), None
    else:
        compare, maps = _against_network(
            training_set, network, sampling, steps=steps, noise=noise, label=label
        )
    calibration = compare(candidates, on_score=on_score)
    result = CalibrateResult(
        config=CalibrateSettings(**asdict(settings), candidates=candidates),
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
    network: NetworkDenoiser,
    sampling: SamplerConfig,
    *,
    steps: list[Step],
    noise: Float[Tensor, "b c h w"],
    label: Int[Tensor, " b"] | None,
) -> tuple[_Comparer, Float[Tensor, "t h w"] | None]:
    """How scores are compared on the network's trajectory; its center's gradients there."""
    check_fit(network, training_set.images)
    boundary = matching_boundary(network, training_set, sampling.boundary)
    machine = make_machine(training_set, replace(sampling, boundary=boundary))
    if label is None:
        label = labels_for(
            len(noise), network.num_classes, label=sampling.label, seed=sampling.seed
        )
    try_network(network, training_set.images, [step.sigma for step in steps], noise.device)
    followed = of_class(network, label)
    compare = partial(
        calibrate_to_network, followed, Follower(machine, label), noise=noise, steps=steps
    )
    return compare, gradient_maps(followed, noise.to(network.device or noise.device), steps)


def gradient_maps(
    denoiser: Denoiser, noise: Float[Tensor, "b c h w"], steps: Sequence[Step]
) -> Float[Tensor, "t h w"] | None:
    """`gradient_map` at each step of the denoiser's own trajectory; None if torch finds none.

    Example:
        >>> network = open_network("runs/mnist-resnet-zeros-small")
        >>> gradient_maps(network, noise, plan_steps((None,), 20, network.schedule)).shape
        torch.Size([20, 32, 32])
    """
    maps = []
    for done in trajectory(denoiser, noise, steps):
        try:
            y = in_data_units(done.xt, done.step.alpha_bar)
            maps.append(gradient_map(denoiser, y, done.step.sigma))
        except NoGradientError:
            return None
    return torch.stack(maps)


def _against_images(
    training_set: ImageSet | PatchIndex,
    sampling: SamplerConfig,
    steps: list[Step],
    noise: Float[Tensor, "b c h w"],
) -> _Comparer:
    """How images that are held out of the dictionary are denoised."""
    if not isinstance(training_set, ImageSet):
        raise SamplerConfigError(
            "without a network, images are held out of the dictionary, but an index holds all of "
            "them. Give --dataset in place of --index, or --network."
        )
    held, rest = hold_out(training_set.with_label(sampling.label), len(noise), sampling.seed)
    machine = make_machine(rest, sampling)
    return partial(
        calibrate_to_images,
        held.to(noise),
        Follower(machine, None),
        noise=noise,
        steps=steps,
    )


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


def _published_for(images: ImageSet, network: NetworkDenoiser | None) -> str | None:
    """Name of the paper's scales for this network on these images, if there are any."""
    if network is None or network.config is None:
        return None
    config = network.config
    return published_name(images.name, config.architecture, config.padding)
