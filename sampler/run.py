"""A run: plan it from its settings, then carry it out; `results.run_result` says what it leaves."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from patchindex import Boundary, ImageSet, PatchIndex
from patchindex.device import CPU, describe_device
from patchindex.environment import library_versions
from sampler.errors import SamplerConfigError
from sampler.estimator import KeptHead, parts_for
from sampler.machines import ELSMachine, ISMachine, LSMachine
from sampler.noise import initial_noise, load_noise
from sampler.results.checkpoint import Checkpoint
from sampler.results.run_result import RunResult, RunStep, SamplerConfig
from sampler.results.source_result import ClusterResult, ScalesResult, SourceResult
from sampler.results.trace import SOURCES_PER_PIXEL, TraceWriter
from sampler.scales import ChosenScales, choose_scales
from sampler.schedule import NoiseLevels, Step, plan_steps
from sampler.score_machine import ScoreMachine
from sampler.trajectory import Begun, StepReport, follow, report_step

logger = logging.getLogger(__name__)


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
    device: torch.device = CPU,
) -> RunPlan:
    """Machine, scales and noise of a run as `config` says, before any work is done.

    Args:
        device: where everything is computed.

    Raises:
        UserError: a setting, file or label that these images do not admit.
    """
    machine = make_machine(training_set, config)
    boundary = boundary_of(training_set, config)
    machine.images.count(config.label)  # refuses a label that no image has
    scales = choose_scales(machine, training_set, config.scales, boundary=boundary)
    steps_of(config, scales)  # called only to report a bad schedule or number of steps early
    noise = noise_of(config, machine.images).to(device)
    return RunPlan(
        training_set=training_set,
        config=config,
        machine=machine,
        boundary=boundary,
        scales=scales,
        noise=noise,
    )


def exact_where_no_slower(plan: RunPlan) -> RunPlan:
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
    return plan_run(plan.training_set, config, device=plan.noise.device)


def carry_out(
    plan: RunPlan,
    on_step: Callable[[StepReport], None] | None = None,
    trace_path: Path | None = None,
    checkpoint: Checkpoint | None = None,
) -> Run:
    """Sample as planned.

    Args:
        trace_path: record the sources of every pixel at every step there.
        checkpoint: go on from what it holds, and keep every step there.
    """
    config = plan.config
    num_steps = config.steps - int(config.reference_steps)  # which leave out the first step
    begun, reports = _begun(plan, checkpoint)
    trace = None
    if trace_path is not None:
        trace = TraceWriter(
            trace_path,
            plan.machine.images,
            num_steps,
            done=begun.steps,
            total=checkpoint.trace_total if checkpoint else None,
            label=config.label,
            complete=_parts_of(plan.machine) is None,  # all patches are summed
        )
    if on_step:
        for report in reports:
            on_step(report)

    samples = begun.reached
    for done in follow(
        plan.machine,
        plan.noise,
        steps_of(config, plan.scales),
        label=config.label,
        sampler=config.sampler,
        num_sources=SOURCES_PER_PIXEL if trace else 0,
        begun=begun,
    ):
        if trace:
            trace.write(done.xt, done.answer)
        samples = done.reached
        reports.append(report_step(done))
        if checkpoint:
            checkpoint.save(done, reports, trace.total if trace else None)
        if on_step:
            on_step(reports[-1])
    result = RunResult(
        config=replace(
            config, boundary=plan.boundary, num=len(plan.noise), parts=_parts_of(plan.machine)
        ),
        scales=ScalesResult.of(plan.scales),
        source=describe_source(plan.training_set),
        device=describe_device(plan.noise.device),
        seconds=sum(report.seconds for report in reports),
        steps=_with_asked_sizes(reports, plan),
        trace=None if trace is None else trace.result(),
        cluster=ClusterResult.of(plan.machine.images.crew),
        versions=library_versions(),
    )
    return Run(samples=samples, result=result, trace_path=trace_path)


def job_of(plan: RunPlan, *, traced: bool = False) -> dict[str, Any]:
    """All that determines what a run leaves: a checkpoint of another one does not serve."""
    index = None if isinstance(plan.training_set, ImageSet) else plan.training_set
    return {
        "config": asdict(plan.config),
        "boundary": plan.boundary,
        "scales": list(plan.scales.patch_sizes),
        "sigmas": plan.scales.sigmas,
        "parts": _parts_of(plan.machine),
        "images": describe_source(plan.training_set).sha256,
        "index": None if index is None else index.digest,
        "noise": hashlib.sha256(plan.noise.cpu().numpy().tobytes()).hexdigest(),
        "traced": traced,
        "versions": library_versions(),
    }


def _begun(plan: RunPlan, checkpoint: Checkpoint | None) -> tuple[Begun, list[StepReport]]:
    """Where the run stands, and the reports of what is done."""
    if checkpoint is None:
        return Begun(reached=plan.noise), []
    crew = plan.machine.images.crew
    keep = checkpoint.heads if crew.shares(checkpoint.heads) else None
    if keep is None:
        logger.warning(
            "workers do not see %s, so what they find travels through this process at every step: "
            "give an --out that all of them share",
            checkpoint.heads,
        )
    if checkpoint.begun is None:
        return Begun(reached=plan.noise, keep=keep), []
    logger.info("going on after step %d", checkpoint.begun.steps)
    reached, known = checkpoint.begun.reached.to(plan.noise.device), checkpoint.begun.known
    if isinstance(known, KeptHead) and keep is None:
        known = known.load(CPU)
    begun = replace(checkpoint.begun, reached=reached, known=known, keep=keep)
    return begun, list(checkpoint.reports)


def _parts_of(machine: ScoreMachine) -> int | None:
    """Into how many parts the machine divides its index; None if it retrieves nothing."""
    return machine.parts if isinstance(machine, ELSMachine) else None


def _with_asked_sizes(reports: Sequence[StepReport], plan: RunPlan) -> tuple[RunStep, ...]:
    """The steps as `run.json` has them, each with the patch size that was asked for."""
    config = plan.config
    asked = plan.scales.asked if not plan.machine.compares_whole_images else (None,)
    steps = steps_of(config, replace(plan.scales, patch_sizes=asked))
    return tuple(
        RunStep(**asdict(report), asked_patch_size=step.patch_size)
        for report, step in zip(reports, steps, strict=True)
    )


def steps_of(config: SamplerConfig, scales: ChosenScales) -> list[Step]:
    """The noise levels of a run, and the patch sizes that belong to them.

    Raises:
        SamplerConfigError: a bad schedule, or number of steps.
    """
    return plan_steps(
        scales.patch_sizes, config.steps, config.levels,
        reference_steps=config.reference_steps, sigmas=scales.sigmas,
    )  # fmt: skip


def levels_settings(levels: NoiseLevels, plan: Sequence[Step]) -> dict[str, Any]:
    """Noise levels as settings hold them: a schedule by its name, or the sigmas of the plan."""
    if isinstance(levels, str):
        return {"schedule": levels, "sigmas": None, "steps": len(plan)}
    return {"sigmas": tuple(step.sigma for step in plan)}


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
        parts=config.parts or parts_for(training_set),
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
