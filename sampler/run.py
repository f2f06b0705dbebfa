"""A run: which machine over which images, with what settings, and everything it leaves behind."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from patchindex import Boundary, ImageSet, PatchIndex
from patchindex.devices import CPU, describe_device
from patchindex.geometry import nearest_scale
from sampler.errors import SamplerConfigError
from sampler.estimator.retrieval import Retrieval
from sampler.exact import checked_finder
from sampler.machines import ELSMachine, ISMachine, LSMachine, ScoreMachine
from sampler.noise import initial_noise, load_noise
from sampler.posterior import Posterior
from sampler.reverse import SampleResult, Step, StepReport, plan_steps, sample
from sampler.scales import default_scales, resolve_scales
from sampler.trace import SOURCES_PER_PIXEL, TraceWriter
from sampler.verification import FinalComparison, StepComparison

logger = logging.getLogger(__name__)

MachineName = Literal["els", "ls", "is"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerConfig:
    """Everything that determines the samples, besides the images.

    Attributes:
        machine: els, ls or is.
        exact: sum over every patch instead of retrieving; LS and IS always do.
        boundary: of a machine without an index; None means zeros.
        k, tail, nprobe, tolerance, strict_scales: see `sampler.estimator.retrieval.Retrieval`.
        scales: published name, file, or list; None takes the published ones of the dataset.
        num, seed, noise: how much noise and from where; a noise file overrides the other two.
        label: class to sample; None for all.
        schedule, steps, reference_steps: see `sampler.reverse.sample`.
    """

    machine: MachineName = "els"
    exact: bool = False
    boundary: Boundary | None = None
    k: int = Retrieval.k
    tail: int = Retrieval.tail
    nprobe: int = Retrieval.nprobe
    tolerance: float | None = Retrieval.tolerance
    strict_scales: bool = Retrieval.strict_scales
    scales: str | None = None
    num: int = 16
    seed: int = 0
    noise: str | None = None
    label: int | None = None
    schedule: str = "cosine"
    steps: int = 20
    reference_steps: bool = False

    def __post_init__(self) -> None:
        if self.machine not in get_args(MachineName):
            raise SamplerConfigError(
                f"machine is {self.machine!r}. Give one of {', '.join(get_args(MachineName))}."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A finished run: its noise, its samples, the account that `run.json` holds, and its trace."""

    noise: Float[Tensor, "b c h w"]
    result: SampleResult
    account: dict[str, Any]
    trace_path: Path | None


def carry_out(
    source: ImageSet | PatchIndex,
    config: SamplerConfig,
    on_step: Callable[[StepReport], None] | None = None,
    trace_path: Path | None = None,
    *,
    device: torch.device = CPU,
) -> Run:
    """Sample as `config` says.

    Args:
        device: where everything is computed.
        trace_path: record the sources of every pixel at every step there.

    Raises:
        UserError: a setting, file or label that these images do not admit.
    """
    machine = make_machine(source, config)
    boundary = boundary_of(source, config)
    images = machine.images
    images.members(config.label)  # a label that does not exist should fail before any work
    scales_name = config.scales or default_scales(images.name, boundary)
    scales = resolve_scales(scales_name)
    noise = noise_of(config, images).to(device)
    if trace_path is not None:
        check_traceable(source, config, scales)
    num_steps = config.steps - config.reference_steps  # which begin one later
    trace = None if trace_path is None else TraceWriter(trace_path, images, num_steps)

    def after_step(
        _: Step, xt: Float[Tensor, "b c h w"], posterior: Posterior, report: StepReport
    ) -> None:
        if trace:
            trace.write(xt, posterior)
        if on_step:
            on_step(report)

    start = perf_counter()
    result = sample(
        machine,
        noise,
        scales=scales,
        steps=config.steps,
        schedule=config.schedule,
        label=config.label,
        reference_steps=config.reference_steps,
        num_sources=SOURCES_PER_PIXEL if trace else 0,
        callback=after_step,
    )
    account = {
        "config": asdict(config) | {"boundary": boundary, "num": len(noise)},
        "scales": {"name": scales_name, "patch_sizes": list(scales)},
        "source": describe_source(source, images),
        "device": describe_device(device),
        "seconds": perf_counter() - start,
        "steps": [known_values(report) for report in result.steps],
        "trace": None if trace is None else trace.account(),
    }
    return Run(noise=noise, result=result, account=account, trace_path=trace_path)


def noise_of(config: SamplerConfig, images: ImageSet) -> Float[Tensor, "b c h w"]:
    """The states that a run begins with, from its noise file or its seed."""
    if config.noise:
        return load_noise(Path(config.noise), images)
    return initial_noise(config.num, images, config.seed)


def check_traceable(
    source: ImageSet | PatchIndex, config: SamplerConfig, scales: Sequence[int]
) -> None:
    """Raise SamplerConfigError unless the machine can name sources at every step."""
    steps = plan_steps(
        scales, config.steps, config.schedule, reference_steps=config.reference_steps
    )
    finder = None if isinstance(source, ImageSet) or config.machine == "ls" else source
    if config.machine != "is" and (config.exact or finder is None):
        checked_finder(finder, [step.patch_size for step in steps])


def make_machine(source: ImageSet | PatchIndex, config: SamplerConfig) -> ScoreMachine:
    """The machine over an index, or over images alone, which is always exact."""
    images = source if isinstance(source, ImageSet) else source.images
    boundary = boundary_of(source, config)
    if config.machine == "is":
        return ISMachine(images)
    if config.machine == "ls":
        return LSMachine(images, boundary)
    if config.exact or isinstance(source, ImageSet):
        finder = None if isinstance(source, ImageSet) else source
        return ELSMachine(images, boundary, finder=finder)
    return ELSMachine(
        source,
        k=config.k,
        tail=config.tail,
        nprobe=config.nprobe,
        tolerance=config.tolerance,
        seed=config.seed,
        strict_scales=config.strict_scales,
    )


def boundary_of(source: ImageSet | PatchIndex, config: SamplerConfig) -> Boundary:
    """The boundary rule of the run: the index's own, unless there is none.

    Raises:
        SamplerConfigError: another one was asked for than the index has.
    """
    if isinstance(source, ImageSet):
        return config.boundary or "zeros"
    if config.boundary not in (None, source.boundary):
        raise SamplerConfigError(
            f"boundary {config.boundary} was asked for, but the index was built for "
            f"{source.boundary}. Leave it out, or build an index with --boundary {config.boundary}."
        )
    return source.boundary


def is_retrieved(account: Mapping[str, Any]) -> bool:
    """Whether an index found the patches of a run."""
    config, source = account["config"], account["source"]
    return source["index"] is not None and config["machine"] == "els" and not config["exact"]


def served_scale(account: Mapping[str, Any], patch_size: int) -> int:
    """The patch size that the machine of a run compared where this one was asked for."""
    if not is_retrieved(account):
        return patch_size
    return nearest_scale(account["source"]["index_scales"], patch_size)


def known_values(row: StepReport | StepComparison | FinalComparison) -> dict[str, Any]:
    """The row's values; JSON has neither nan nor inf, so what is unknown is null."""
    return {name: known(value) for name, value in asdict(row).items()}


def known(value: int | float | tuple[float, ...]) -> int | float | list[Any] | None:
    """The number, or None if it is not finite; of several, each."""
    if isinstance(value, tuple):
        return [known(part) for part in value]
    return value if isfinite(value) else None


def describe_source(source: ImageSet | PatchIndex, images: ImageSet) -> dict[str, Any]:
    """What the samples were made from, enough to find it again."""
    return {
        "index": None if isinstance(source, ImageSet) else str(source.path),
        "index_scales": None if isinstance(source, ImageSet) else list(source.scales),
        "dataset": images.name,
        "num_images": len(images),
        "shape": list(images.pixels.shape[1:]),
        "crop": images.crop,
        "sha256": images.sha256,
    }
