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
from patchindex.crew import watched
from patchindex.device import CPU, describe_device
from patchindex.environment import library_versions
from patchindex.images import to_uint8, to_unit
from patchindex.paths import data_file
from patchindex.png import COLUMNS, first_of, html_block
from sampler.choices import (
    BASELINES_SHOWN,
    COMPARE_SAMPLES,
    NETWORK_STEPS,
    BaselineName,
    MachineName,
)
from sampler.denoiser import Denoiser, of_class
from sampler.errors import SamplerConfigError
from sampler.follower import Follower, labels_for
from sampler.networks import NetworkDenoiser, as_network, check_fit, matching_boundary
from sampler.noise import initial_noise
from sampler.results.run_result import SamplerConfig
from sampler.results.source_result import ScalesResult
from sampler.results.study_results import (
    Agreement,
    CompareResult,
    CompareSettings,
    Medians,
    NamedDenoiser,
    NamedNetwork,
)
from sampler.results.tables import table_lines
from sampler.results.write import write_comparison
from sampler.run import describe_source, levels_settings, make_machine
from sampler.scales import (
    ChosenScales,
    paper_name,
)
from sampler.schedule import NoiseLevels, Step, check_steps, plan_steps
from sampler.score_machine import ScoreMachine
from sampler.studies.baselines import nearest_images
from sampler.studies.locality_baselines import BASELINES, check_names
from sampler.studies.metrics import coefficient_of_determination, pearson_r
from sampler.studies.trial import scales_beside, tell_outside, try_network
from sampler.trajectory import reverse

Images = Float[Tensor, "b c h w"]
# Called with the name of a predictor, the steps it has done, and how many there are.
_OnStep = Callable[[str, float, int], None]

_NEAREST = "nearest"
_MANY_SAMPLES = SamplerConfig(num=COMPARE_SAMPLES)


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


def compare_images(
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
        levels: the noise levels at which network and machines sample; None for the network's own.
        baselines: beside the nearest image: some of wiener, lukoianov, pspc.
    """

    sampling: SamplerConfig = _MANY_SAMPLES
    network_steps: tuple[int, ...] = NETWORK_STEPS
    levels: NoiseLevels | None = None
    baselines: tuple[BaselineName, ...] = BASELINES_SHOWN

    def __post_init__(self) -> None:
        if not self.network_steps or min(self.network_steps) < 1:
            raise SamplerConfigError(
                f"network_steps is {self.network_steps}. Give at least one number above 0."
            )
        check_steps(max(self.network_steps))
        check_names("baselines", self.baselines, tuple(BASELINES))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
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

    def __repr__(self) -> str:
        return f"Comparison({self.result.title}: {len(self.noise):,} samples)"

    def __str__(self) -> str:
        """The table, as the command prints it."""
        return "\n".join(table_lines(self.result))

    def _repr_html_(self) -> str:
        """The table, and the first images of network and predictors in rows."""
        rows = {f"network, {steps} steps": images for steps, images in self.outputs.items()}
        pictures = {
            name: first_of(to_uint8(images), COLUMNS)
            for name, images in {**rows, **self.predicted}.items()
        }
        return html_block(repr(self), pictures, list(table_lines(self.result)))

    def write(self, folder: Path, *, options: str | None = None) -> None:
        """Put samples.png, scatter.png, images.npz and compare.json into a folder.

        Args:
            options: config.yaml, the options of the command that made it.

        Raises:
            OutputError: it cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        write_comparison(
            self.result, self.outputs, self.predicted, self.nearest, folder, options=options
        )


def compare(
    denoiser: NetworkDenoiser | Denoiser,
    training_set: ImageSet | PatchIndex,
    noise: Images | None = None,
    config: CompareConfig | None = None,
    *,
    label: Int[Tensor, " b"] | None = None,
    on_step: _OnStep | None = None,
    device: torch.device = CPU,
) -> Comparison:
    """Let a network, machines and baselines make images of the same noise.

    Args:
        denoiser: a network (`open_network`, or any adapter of `sampler.networks`), or another
            function (y, sigma) -> mean of x0 given y = x0 + sigma eps.
        training_set: the images that it was trained on, or an index of them.
        noise: standard normal; None for that of the configured seed.
        config: settings of the machines; None for the default ones.
        label: class of each sample; None for the configured one or, of a network with classes,
            for drawn ones.
        on_step: told of each predictor's steps.
        device: where machines and baselines compute.

    Raises:
        UserError: images that are not the network's, or a setting that these do not admit.

    Example:
        >>> network = NoisePredictor(module, schedule="cosine", image_shape=(1, 32, 32))
        >>> found = compare(network, ImageSet.load("mnist"))
        >>> found.result.results["150"].medians["els"].r
        >>> found.write(Path("runs/compared"))
    """
    network, config = as_network(denoiser), config or CompareConfig()
    images = training_set.images
    check_fit(network, images)
    sampling = config.sampling
    if noise is None:
        noise = initial_noise(sampling.num, images, sampling.seed)
    if label is None:
        label = labels_for(
            len(noise), network.num_classes, label=sampling.label, seed=sampling.seed
        )
    boundary = matching_boundary(network, training_set, sampling.boundary)
    machines = theory(training_set, sampling, boundary)
    # LS compares what ELS does, so that they differ in their dictionaries alone
    scales = scales_beside(network, machines["els"], training_set, sampling, boundary)
    plan = _plan(network, config, sampling.steps, scales)
    # a list of sigmas has its own number of steps, whatever was asked for
    plans = {
        len(steps): steps
        for steps in (_plan(network, config, count) for count in config.network_steps)
    }
    settings = replace(
        sampling,
        num=len(noise),
        **levels_settings(config.levels or network.levels(len(plan)), plan),
    )
    sizes = {step.sigma: step.patch_size for step in plan}
    stopwatch = _Stopwatch(noise.to(device), sampling.sampler, on_step)
    denoisers: dict[str, Denoiser] = {
        name: Follower(machine, label, sizes) for name, machine in machines.items()
    }
    # refuses a class that no image has, before the network is asked
    denoisers |= {name: BASELINES[name](images, label, device) for name in config.baselines}
    try_network(network, images, {s.sigma for some in plans.values() for s in some}, device)
    followed = of_class(network, label)
    outputs = {
        count: stopwatch.images(f"network in {count} steps", followed, steps)
        for count, steps in plans.items()
    }
    tell_outside(outputs)
    predicted = {name: stopwatch.images(name, by, plan) for name, by in denoisers.items()}
    nearest = {count: nearest_of(found, images, label) for count, found in outputs.items()}
    predictions = {
        count: compare_images(predicted | {_NEAREST: nearest[count]}, found)
        for count, found in outputs.items()
    }
    result = CompareResult(
        config=CompareSettings(
            **asdict(settings), network_steps=tuple(plans), baselines=config.baselines
        ),
        network=_named(network),
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
    return Comparison(
        noise=noise, outputs=outputs, predicted=predicted, nearest=nearest,
        predictions=predictions, result=result,
    )  # fmt: skip


def _plan(
    network: NetworkDenoiser, config: CompareConfig, steps: int, scales: ChosenScales | None = None
) -> list[Step]:
    """The noise levels of so many steps, and the patch sizes that belong to them."""
    levels = network.levels(steps) if config.levels is None else config.levels
    if scales is None:
        return plan_steps((None,), steps, levels)
    return plan_steps(scales.patch_sizes, steps, levels, sigmas=scales.sigmas)


def _named(network: NetworkDenoiser) -> NamedNetwork | NamedDenoiser:
    """The network as a result names it."""
    if network.config is None:
        return NamedDenoiser(
            name=network.name,
            image_shape=network.image_shape,
            num_classes=network.num_classes,
            boundary=network.boundary,
        )
    config = network.config
    values = {part.name: getattr(config, part.name) for part in fields(config)}
    return NamedNetwork(name=network.name, **values)


@dataclass(slots=True, eq=False)
class _Stopwatch:
    """Makes images of the same noise by several denoisers, tells of each step, and times each.

    Attributes:
        seconds: of each denoiser so far, by name.
    """

    noise: Images
    sampler: str
    on_step: _OnStep | None
    seconds: dict[str, float] = field(default_factory=dict)

    def images(self, name: str, denoiser: Denoiser, steps: list[Step]) -> Images:
        """The denoiser's images, on the host."""
        start = perf_counter()

        def tell(share: float) -> None:
            if self.on_step is not None:
                self.on_step(name, share * len(steps), len(steps))

        with watched(tell):
            found = reverse(denoiser, self.noise, steps, sampler=self.sampler)
        self.seconds[name] = perf_counter() - start
        return found.cpu()


def theory(
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


def _published_rows(images: ImageSet, network: NetworkDenoiser) -> dict[str, tuple[float, ...]]:
    """The paper's medians for such a network by network steps: ELS, LS, IS, share ELS > IS."""
    config = network.config
    if config is None:
        return {}
    key = paper_name(images.name, config.architecture, config.padding)
    table = yaml.safe_load(data_file("table1.yaml").read_text())
    rows = {name.removeprefix("network_steps_"): found.get(key) for name, found in table.items()}
    return {steps: tuple(row) for steps, row in rows.items() if row is not None}
