"""Compare a network's images with those that the theory predicts from the same noise."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from time import perf_counter
from typing import get_args

import torch
import yaml
from jaxtyping import Float, Int
from torch import Tensor

from patchindex import Boundary, ImageSet, PatchIndex
from patchindex.device import CPU, describe_device
from patchindex.environment import library_versions
from patchindex.images import to_unit
from patchindex.paths import data_file
from sampler.errors import SamplerConfigError
from sampler.machines import ScoreMachine
from sampler.networks import Network, check_fit, matching_boundary, network_denoiser
from sampler.noise import initial_noise
from sampler.results.run_result import MachineName, SamplerConfig, ScalesResult
from sampler.results.study_results import (
    Agreement,
    CompareResult,
    CompareSettings,
    Medians,
    NamedNetwork,
)
from sampler.run import describe_source, make_machine
from sampler.scales import calibrated_scales, choose_scales, paper_name, published_name
from sampler.schedule import Denoiser, Step, check_steps, plan_steps
from sampler.studies.baselines import nearest_images, wiener_denoiser
from sampler.studies.metrics import coefficient_of_determination, pearson_r
from sampler.trajectory import labels_for, machine_denoiser, trajectory

Images = Float[Tensor, "b c h w"]
# Called with the name of a predictor, the steps it has done, and how many there are.
_OnStep = Callable[[str, int, int], None]

_WIENER, _NEAREST = "wiener", "nearest"
_MANY_SAMPLES = SamplerConfig(num=32)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prediction:
    """One predictor's images beside the network's, from the same noise.

    Attributes:
        r, R2: of each image.
    """

    r: Float[Tensor, " b"]
    R2: Float[Tensor, " b"]

    @classmethod
    def of(
        cls, predicted: Float[Tensor, "b c h w"], network: Float[Tensor, "b c h w"]
    ) -> "Prediction":
        """The agreement of these images."""
        return cls(
            r=pearson_r(predicted, network),
            R2=coefficient_of_determination(predicted, network),
        )

    def medians(self) -> Medians:
        """Over images: Pearson r (the paper's "r^2"), its square, and R2 = 1 - SSE / SST."""
        return Medians(r=_median(self.r), r2=_median(self.r.square()), R2=_median(self.R2))


def _median(values: Float[Tensor, " b"]) -> float:
    """The median, which of an even number is the mean of the two in the middle."""
    return float(values.double().quantile(0.5))


def share_better(one: Prediction, other: Prediction) -> float:
    """Share of images that the one predicts with the larger r."""
    return float((one.r > other.r).double().mean())


def compare(
    predicted: Mapping[str, Float[Tensor, "b c h w"]], network: Float[Tensor, "b c h w"]
) -> dict[str, Prediction]:
    """Each predictor's agreement with the network; all images are clipped to [-1, 1] first."""
    target = network.clamp(-1, 1)
    return {name: Prediction.of(images.clamp(-1, 1), target) for name, images in predicted.items()}


def _agreement(predictions: Mapping[str, Prediction]) -> Agreement:
    """Medians of each predictor, and how often the local machines beat the ideal one."""
    return Agreement(
        medians={name: prediction.medians() for name, prediction in predictions.items()},
        better_than_is={
            name: share_better(predictions[name], predictions["is"])
            for name in ("els", "ls")
            if name in predictions
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareConfig:
    """What is compared, besides network and images.

    Attributes:
        sampling: of the machines: retrieval settings, scales, steps, samples and seed.
        network_steps: numbers of steps that the network samples in.
    """

    sampling: SamplerConfig = _MANY_SAMPLES
    network_steps: tuple[int, ...] = (150, 20)

    def __post_init__(self) -> None:
        if not self.network_steps or min(self.network_steps) < 1:
            raise SamplerConfigError(
                f"network_steps is {self.network_steps}. Give at least one number above 0."
            )
        check_steps(max(self.network_steps))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ComparisonRun:
    """A finished comparison.

    Attributes:
        outputs: the network's images by its number of steps.
        predicted: each predictor's images; those of the nearest training image by network steps.
        predictions: agreement by network steps and predictor.
        result: what `compare.json` holds.
    """

    noise: Images
    outputs: Mapping[int, Images]
    predicted: Mapping[str, Images]
    nearest: Mapping[int, Images]
    predictions: Mapping[int, Mapping[str, Prediction]]
    result: CompareResult


def compare_network(
    training_set: ImageSet | PatchIndex,
    network: Network,
    config: CompareConfig,
    on_step: _OnStep | None = None,
    *,
    device: torch.device = CPU,
) -> ComparisonRun:
    """Let network, machines and baselines make images of the same noise.

    Args:
        device: where machines and baselines compute.

    Raises:
        UserError: images that are not the network's, or a setting that these do not admit.
    """
    images = training_set.images
    check_fit(network, images)
    sampling = replace(config.sampling, schedule=network.schedule)
    boundary = matching_boundary(network, training_set, sampling.boundary)
    machines = _theory(training_set, sampling, boundary)
    # LS compares what ELS does, so that they differ in their dictionaries alone
    scales = choose_scales(
        machines["els"], training_set, sampling.scales,
        boundary=boundary, own=_own_scales(images, network),
    )  # fmt: skip
    plan = plan_steps(scales.patch_sizes, sampling.steps, sampling.schedule)
    noise = initial_noise(sampling.num, images, sampling.seed)
    label = labels_for(
        sampling.num, network.config.num_classes, label=sampling.label, seed=sampling.seed
    )
    stopwatch = _Stopwatch(noise.to(device), on_step)
    denoisers = {name: machine_denoiser(machine, label) for name, machine in machines.items()}
    denoisers[_WIENER] = wiener_denoiser(images, label, device)
    outputs = _network_images(network, label, config.network_steps, stopwatch)
    predicted = {name: stopwatch.images(name, by, plan) for name, by in denoisers.items()}
    nearest = {count: nearest_of(found, images, label) for count, found in outputs.items()}
    predictions = {
        count: compare(predicted | {_NEAREST: nearest[count]}, found)
        for count, found in outputs.items()
    }
    result = CompareResult(
        config=CompareSettings(**asdict(sampling), network_steps=config.network_steps),
        network=NamedNetwork(
            name=network.name,
            **{part.name: getattr(network.config, part.name) for part in fields(network.config)},
        ),
        scales=ScalesResult.of(scales),
        source=describe_source(training_set),
        device=describe_device(device),
        labels=None if label is None else tuple(label.tolist()),
        published=_published_rows(images, network),
        seconds=stopwatch.seconds,
        results={str(count): _agreement(found) for count, found in predictions.items()},
        r={
            str(count): {name: tuple(row.r.tolist()) for name, row in found.items()}
            for count, found in predictions.items()
        },
        versions=library_versions(),
    )
    return ComparisonRun(
        noise=noise, outputs=outputs, predicted=predicted, nearest=nearest,
        predictions=predictions, result=result,
    )  # fmt: skip


def _network_images(
    network: Network,
    label: Int[Tensor, " b"] | None,
    network_steps: tuple[int, ...],
    stopwatch: "_Stopwatch",
) -> dict[int, Images]:
    """What the network makes of the noise in each of these numbers of steps."""
    denoiser = network_denoiser(network, label)
    return {
        count: stopwatch.images(
            f"network in {count} steps", denoiser, plan_steps((None,), count, network.schedule)
        )
        for count in network_steps
    }


@dataclass(slots=True, eq=False)
class _Stopwatch:
    """Makes images of the same noise by several denoisers, tells of each step, and times each.

    Attributes:
        seconds: of each denoiser so far, by name.
    """

    noise: Images
    on_step: _OnStep | None
    seconds: dict[str, float] = field(default_factory=dict)

    def images(self, name: str, denoiser: Denoiser, steps: list[Step]) -> Images:
        """The denoiser's images, on the host."""
        start, found = perf_counter(), self.noise
        for number, done in enumerate(trajectory(denoiser, self.noise, steps), 1):
            found = done.reached
            if self.on_step is not None:
                self.on_step(name, number, len(steps))
        self.seconds[name] = perf_counter() - start
        return found.cpu()


def _theory(
    training_set: ImageSet | PatchIndex, sampling: SamplerConfig, boundary: Boundary
) -> dict[str, ScoreMachine]:
    """ELS as `sampling` says, LS and IS exactly, all with this boundary."""
    return {
        str(name): make_machine(training_set, replace(sampling, boundary=boundary, machine=name))
        for name in get_args(MachineName)
    }


def nearest_of(images: Images, training: ImageSet, label: Int[Tensor, " b"] | None) -> Images:
    """The training image nearest to each, of its own class: the best that memorising could do."""
    found = torch.empty_like(images)
    for value in [None] if label is None else label.unique().tolist():
        of_class = torch.ones(len(images), dtype=torch.bool) if label is None else label == value
        among = training.with_label(value)
        where, _ = nearest_images(images[of_class].clamp(-1, 1), among)
        found[of_class] = to_unit(among.tensor[where])
    return found


def _own_scales(images: ImageSet, network: Network) -> str | None:
    """Name of the scales calibrated for this network, else of those published for its kind."""
    config, own = network.config, Path(network.name).stem
    if own in calibrated_scales():
        return own
    return published_name(images.name, config.architecture, config.padding)


def _published_rows(images: ImageSet, network: Network) -> dict[str, tuple[float, ...]]:
    """The paper's medians for such a network by network steps: ELS, LS, IS, share ELS > IS."""
    config = network.config
    key = paper_name(images.name, config.architecture, config.padding)
    table = yaml.safe_load(data_file("table1.yaml").read_text())
    rows = {name.removeprefix("network_steps_"): found.get(key) for name, found in table.items()}
    return {steps: tuple(row) for steps, row in rows.items() if row is not None}
