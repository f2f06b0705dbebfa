"""A run: plan it from its settings, then carry it out; `results.run_result` says what it leaves."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter

import torch
from jaxtyping import Float
from torch import Tensor

from patchindex import Boundary, ImageSet, PatchIndex
from patchindex.device import CPU, describe_device
from patchindex.environment import library_versions
from sampler.errors import SamplerConfigError
from sampler.machines import ELSMachine, ISMachine, LSMachine, ScoreMachine
from sampler.noise import initial_noise, load_noise
from sampler.results.run_result import (
    RunResult,
    RunStep,
    SamplerConfig,
    ScalesResult,
    SourceResult,
)
from sampler.results.trace import SOURCES_PER_PIXEL, TraceWriter
from sampler.scales import ChosenScales, choose_scales
from sampler.schedule import plan_steps
from sampler.trajectory import StepReport, report_step, sample_steps


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunPlan:
    """Everything that a run needs, checked.

    Attributes:
        boundary: resolved, never None.
        noise: the initial states, on the device of the run.
    """

    training_set: ImageSet | PatchIndex
    config: SamplerConfig
    machine: ScoreMachine
    boundary: Boundary
    scales: ChosenScales
    noise: Float[Tensor, "b c h w"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """A finished run: its samples, about in [-1, 1], what `run.json` holds, and its trace."""

    samples: Float[Tensor, "b c h w"]
    result: RunResult
    trace_path: Path | None


def plan_run(
    training_set: ImageSet | PatchIndex,
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
    machine = make_machine(training_set, config)
    boundary = boundary_of(training_set, config)
    machine.images.label_indices(config.label)
    scales = choose_scales(machine, training_set, config.scales, boundary=boundary)
    # called only to report a bad schedule or number of steps early
    plan_steps(
        scales.patch_sizes, config.steps, config.schedule, reference_steps=config.reference_steps
    )
    if traced:
        machine.check_sources(scales.patch_sizes)
    noise = noise_of(config, machine.images).to(device)
    return RunPlan(
        training_set=training_set,
        config=config,
        machine=machine,
        boundary=boundary,
        scales=scales,
        noise=noise,
    )


def exact_where_no_slower(plan: RunPlan, *, traced: bool = False) -> RunPlan:
    """The plan, summing every patch where that takes no longer than to retrieve.

    Only where the index has all scales: a run must not compare other patches for that.
    """
    machine, scales = plan.machine, plan.scales
    if (
        not isinstance(machine, ELSMachine)
        or isinstance(plan.training_set, ImageSet)
        or plan.config.exact
        or tuple(scales.asked) != tuple(scales.patch_sizes)
        or not machine.exact_is_no_slower(scales.patch_sizes, plan.config.label)
    ):
        return plan
    config = replace(plan.config, exact=True)
    return plan_run(plan.training_set, config, traced=traced, device=plan.noise.device)


def carry_out(
    plan: RunPlan,
    on_step: Callable[[StepReport], None] | None = None,
    trace_path: Path | None = None,
) -> Run:
    """Sample as planned.

    Args:
        trace_path: record the sources of every pixel at every step there.
    """
    config = plan.config
    num_steps = config.steps - int(config.reference_steps)  # which leave out the first step
    trace = None if trace_path is None else TraceWriter(trace_path, plan.machine.images, num_steps)

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
    result = RunResult(
        config=replace(config, boundary=plan.boundary, num=len(plan.noise)),
        scales=ScalesResult.of(plan.scales),
        source=describe_source(plan.training_set),
        device=describe_device(plan.noise.device),
        seconds=perf_counter() - start,
        steps=_with_asked_sizes(reports, plan),
        trace=None if trace is None else trace.result(),
        versions=library_versions(),
    )
    return Run(samples=samples, result=result, trace_path=trace_path)


def _with_asked_sizes(reports: Sequence[StepReport], plan: RunPlan) -> tuple[RunStep, ...]:
    """The steps as `run.json` has them, each with the patch size that was asked for."""
    config = plan.config
    asked = plan.scales.asked if not plan.machine.compares_whole_images else (None,)
    steps = plan_steps(asked, config.steps, config.schedule, reference_steps=config.reference_steps)
    return tuple(
        RunStep(**asdict(report), asked_patch_size=step.patch_size)
        for report, step in zip(reports, steps, strict=True)
    )


def noise_of(config: SamplerConfig, images: ImageSet) -> Float[Tensor, "b c h w"]:
    """The states that a run begins with, from its noise file or its seed."""
    if config.noise:
        return load_noise(Path(config.noise), images)
    return initial_noise(config.num, images, config.seed)


def make_machine(training_set: ImageSet | PatchIndex, config: SamplerConfig) -> ScoreMachine:
    """The machine over an index, or over images alone, which is always exact."""
    boundary = boundary_of(training_set, config)
    if config.machine == "is":
        return ISMachine(training_set.images)
    if config.machine == "ls":
        return LSMachine(training_set.images, boundary)
    return ELSMachine(
        training_set,
        boundary,
        exact=config.exact,
        k=config.k,
        tail=config.tail,
        nprobe=config.nprobe,
        tolerance=config.tolerance,
        seed=config.seed,
        strict_scales=config.strict_scales,
    )


def boundary_of(training_set: ImageSet | PatchIndex, config: SamplerConfig) -> Boundary:
    """The boundary rule of the run: the index's; without an index the configured one, or zeros.

    Raises:
        SamplerConfigError: another one was asked for than the index has.
    """
    if isinstance(training_set, ImageSet):
        return config.boundary or "zeros"
    if config.boundary not in (None, training_set.boundary):
        raise SamplerConfigError(
            f"boundary {config.boundary} was asked for, but the index was built for "
            f"{training_set.boundary}. Leave it out, or build an index with --boundary "
            f"{config.boundary}."
        )
    return training_set.boundary


def describe_source(training_set: ImageSet | PatchIndex) -> SourceResult:
    """What samples were made from, enough to find it again."""
    images = training_set.images
    index = None if isinstance(training_set, ImageSet) else training_set
    return SourceResult(
        index=None if index is None else str(index.path),
        index_scales=None if index is None else tuple(index.scales),
        dataset=images.name,
        num_images=len(images),
        shape=(images.channels, images.height, images.width),
        crop=images.crop,
        sha256=images.sha256,
    )
