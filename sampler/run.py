"""A run: which machine over which images, with what settings, and everything it leaves behind."""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from patchindex import Boundary, ImageSet, PatchIndex
from patchindex.devices import CPU, describe_device
from sampler.errors import SamplerConfigError
from sampler.estimator.estimate import Retrieval, check_numbers
from sampler.machines import ELSMachine, ISMachine, LSMachine, ScoreMachine, checked_finder
from sampler.noise import check_num, initial_noise, load_noise
from sampler.results.run_account import SCHEMA_VERSION, known_values
from sampler.results.trace import SOURCES_PER_PIXEL, TraceWriter
from sampler.scales import ChosenScales, choose_scales
from sampler.schedule import check_steps, plan_steps
from sampler.trajectory import SampleResult, StepReport, report_step, sample_steps

logger = logging.getLogger(__name__)

MachineName = Literal["els", "ls", "is"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerConfig:
    """Everything that determines the samples, besides the images.

    Attributes:
        machine: els, ls or is.
        exact: sum over every patch instead of retrieving; LS and IS always do.
        boundary: of a machine without an index; None means zeros.
        k, tail, nprobe, tolerance, strict_scales: see `sampler.estimator.estimate.Retrieval`.
        scales: published name, file, or list; None: see `sampler.scales.default_scales`.
        num, seed, noise: how much noise and from where; a noise file overrides the other two.
        label: class to sample; None for all.
        schedule, steps, reference_steps: see `sampler.trajectory.sample`.
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
        check_numbers(
            k=self.k, tail=self.tail, nprobe=self.nprobe, tolerance=self.tolerance, seed=self.seed
        )
        check_num(self.num)
        check_steps(self.steps, fewest=2 if self.reference_steps else 1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunPlan:
    """Everything that a run needs, checked.

    Attributes:
        noise: the states that it begins with, where everything is computed.
    """

    source: ImageSet | PatchIndex
    config: SamplerConfig
    machine: ScoreMachine
    boundary: Boundary
    scales: ChosenScales
    noise: Float[Tensor, "b c h w"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A finished run: its noise, its samples, the account that `run.json` holds, and its trace."""

    noise: Float[Tensor, "b c h w"]
    result: SampleResult
    account: dict[str, Any]
    trace_path: Path | None


def plan_run(
    source: ImageSet | PatchIndex,
    config: SamplerConfig,
    *,
    traced: bool = False,
    device: torch.device = CPU,
) -> RunPlan:
    """Machine, scales and noise of a run as `config` says, before any work is done.

    Args:
        traced: the sources of every pixel will be recorded.
        device: where everything is computed.

    Raises:
        UserError: a setting, file or label that these images do not admit.
    """
    machine = make_machine(source, config)
    boundary = boundary_of(source, config)
    machine.images.members(config.label)
    scales = choose_scales(machine, source, config.scales, boundary=boundary)
    # which no one reads yet; it says what is wrong with the schedule
    plan_steps(
        scales.patch_sizes, config.steps, config.schedule, reference_steps=config.reference_steps
    )
    if traced:
        check_traceable(source, config, scales)
    noise = noise_of(config, machine.images).to(device)
    return RunPlan(
        source=source, config=config, machine=machine, boundary=boundary, scales=scales, noise=noise
    )


def carry_out(
    plan: RunPlan,
    on_step: Callable[[StepReport], None] | None = None,
    trace_path: Path | None = None,
) -> Run:
    """Sample as planned.

    Args:
        trace_path: record the sources of every pixel at every step there.
    """
    config, images = plan.config, plan.machine.images
    num_steps = config.steps - config.reference_steps  # which begin one later
    trace = None if trace_path is None else TraceWriter(trace_path, images, num_steps)

    start, reports = perf_counter(), []
    samples = plan.noise
    for done in sample_steps(
        plan.machine,
        plan.noise,
        scales=plan.scales.patch_sizes,
        steps=config.steps,
        schedule=config.schedule,
        label=config.label,
        reference_steps=config.reference_steps,
        num_sources=SOURCES_PER_PIXEL if trace else 0,
    ):
        if trace:
            trace.write(done.xt, done.answer)
        samples = done.reached
        reports.append(report_step(done))
        if on_step:
            on_step(reports[-1])
    result = SampleResult(images=samples, steps=tuple(reports))
    account = {
        "schema_version": SCHEMA_VERSION,
        "config": asdict(config) | {"boundary": plan.boundary, "num": len(plan.noise)},
        "scales": plan.scales.account(),
        "source": describe_source(plan.source, images),
        "device": describe_device(plan.noise.device),
        "seconds": perf_counter() - start,
        "steps": step_accounts(result, plan),
        "trace": None if trace is None else trace.account(),
    }
    return Run(noise=plan.noise, result=result, account=account, trace_path=trace_path)


def step_accounts(result: SampleResult, plan: RunPlan) -> list[dict[str, Any]]:
    """The steps as `run.json` has them: what was asked for stands beside what was compared."""
    config = plan.config
    asked = plan.scales.asked if not plan.machine.compares_whole_images else (None,)
    steps = plan_steps(asked, config.steps, config.schedule, reference_steps=config.reference_steps)
    return [
        known_values(report) | {"asked_patch_size": step.patch_size}
        for report, step in zip(result.steps, steps, strict=True)
    ]


def noise_of(config: SamplerConfig, images: ImageSet) -> Float[Tensor, "b c h w"]:
    """The states that a run begins with, from its noise file or its seed."""
    if config.noise:
        return load_noise(Path(config.noise), images)
    return initial_noise(config.num, images, config.seed)


def check_traceable(
    source: ImageSet | PatchIndex, config: SamplerConfig, scales: ChosenScales
) -> None:
    """Raise SamplerConfigError unless the machine can name sources at every step."""
    if config.machine == "is":
        return
    finder = None if isinstance(source, ImageSet) or config.machine == "ls" else source
    if config.exact or finder is None:
        checked_finder(finder, [size for size in scales.patch_sizes if size is not None])


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
