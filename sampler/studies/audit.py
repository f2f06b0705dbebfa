"""Audit retrieval by pixels: exact sums for a few random ones, on its own trajectory.

`verify` scans whole states exactly, which takes hours where there are hundreds of thousands of
images. A few pixels of each step say how far retrieval is from exact at any size.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from math import sqrt
from time import perf_counter
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped, UInt8
from torch import Tensor

from patchindex import PatchIndex
from patchindex.crew import unwatched
from patchindex.device import CPU, describe_device, wait_for
from patchindex.environment import library_versions
from patchindex.kernels import exact_scan
from sampler.choices import VERIFY_SAMPLES
from sampler.errors import SamplerConfigError
from sampler.estimator import LARGEST_K_HAT
from sampler.exact import sum_exactly
from sampler.machines import checked_patch_size
from sampler.posterior import Posterior
from sampler.results.audit_result import AuditedStep, AuditResult, AuditSettings, AuditSummary
from sampler.results.run_result import SamplerConfig
from sampler.results.source_result import ScalesResult
from sampler.results.study_results import TARGET_R2
from sampler.run import describe_source, steps_of
from sampler.scales import ChosenScales
from sampler.schedule import Step, noise_level
from sampler.score_machine import ScoreMachine
from sampler.studies.verify import (
    VerifyConfig,
    compare_posteriors,
    plan_verification,
    worst_and_median,
)
from sampler.trajectory import Transition, follow

_FOUR_SAMPLES = SamplerConfig(num=VERIFY_SAMPLES)
_PIXEL_STREAM = 2  # third seed entry, so that pixels are independent of noise and draws
_TIMED_IMAGES = 64  # of an exact scan whose time is extrapolated: some registers full


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditConfig:
    """What is compared with exact sums.

    Attributes:
        sampling: settings of retrieval and of its trajectory.
        pixels: per step, drawn anew at each from all pixels of all samples; if there are no more
            than these, all are compared.
    """

    sampling: SamplerConfig = _FOUR_SAMPLES
    pixels: int = 64

    def __post_init__(self) -> None:
        if self.pixels < 1:
            raise SamplerConfigError(
                f"pixels is {self.pixels}. Give a number of pixels per step, at least 1."
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AuditPlan:
    """Everything that an audit needs, checked.

    Attributes:
        scales: what is compared.
        noise: initial states.
    """

    index: PatchIndex
    config: AuditConfig
    scales: ChosenScales
    noise: Float[Tensor, "b c h w"]
    retrieval: ScoreMachine


def plan_audit(index: PatchIndex, config: AuditConfig, device: torch.device = CPU) -> AuditPlan:
    """Machine, scales and noise, before any work is done.

    Args:
        device: where everything is computed.

    Raises:
        UserError: a setting, file or label that this index does not admit.
    """
    verification = plan_verification(index, VerifyConfig(sampling=config.sampling), device)
    return AuditPlan(
        index=index,
        config=config,
        scales=verification.scales,
        noise=verification.noise,
        retrieval=verification.retrieval,
    )


def audit(plan: AuditPlan, on_row: Callable[[AuditedStep], None] | None = None) -> AuditResult:
    """Follow retrieval's own trajectory; `on_row` is called with each row as soon as it is known.

    Example:
        >>> done = audit(plan_audit(PatchIndex.open(path), AuditConfig(pixels=64)))
        >>> done.summary.R2.lowest
    """
    sampling = plan.config.sampling
    rows: list[AuditedStep] = []
    start = perf_counter()
    for done in follow(
        plan.retrieval, plan.noise, steps_of(sampling, plan.scales),
        label=sampling.label, sampler=sampling.sampler,
    ):  # fmt: skip
        rng = np.random.default_rng([sampling.seed, len(rows), _PIXEL_STREAM])
        with unwatched():  # which knows of the trajectory
            rows.append(_audit_step(plan, done, draw_places(done.xt, plan.config.pixels, rng)))
        if on_row is not None:
            on_row(rows[-1])
    return AuditResult(
        config=AuditSettings(
            **asdict(replace(sampling, boundary=plan.index.boundary)), pixels=plan.config.pixels
        ),
        scales=ScalesResult.of(plan.scales),
        source=describe_source(plan.index),
        device=describe_device(plan.noise.device),
        seconds=perf_counter() - start,
        steps=tuple(rows),
        summary=summarize_audit(rows),
        versions=library_versions(),
    )


def draw_places(
    xt: Float[Tensor, "b c h w"], count: int, rng: np.random.Generator
) -> Int[Tensor, "q 3"]:
    """State, row and column of distinct pixels, each as likely as any other, ascending."""
    shape = (len(xt), *xt.shape[2:])
    total = int(np.prod(shape))
    chosen = np.sort(rng.choice(total, min(count, total), replace=False))
    return torch.from_numpy(np.stack(np.unravel_index(chosen, shape), axis=1))


def _audit_step(
    plan: AuditPlan, done: Transition[Posterior], places: Int[Tensor, "q 3"]
) -> AuditedStep:
    """The row of a step that retrieval has done."""
    step, label = done.step, plan.config.sampling.label
    pixels = plan.index.images.pixels_on(done.xt.device, label)
    start = perf_counter()
    exact = exact_at(plan, done, places)
    wait_for(done.xt.device)
    audit_seconds = perf_counter() - start
    found = at_places(done.answer, places)
    return AuditedStep(
        **compare_posteriors(step, exact, found),
        num_pixels=len(places),
        unreliable=float((found.k_hat >= LARGEST_K_HAT).double().mean()),
        audit_seconds=audit_seconds,
        retrieval_seconds=done.seconds,
        exact_seconds=_extrapolated_seconds(plan, pixels, done),
    )


def exact_at(plan: AuditPlan, done: Transition[Posterior], places: Int[Tensor, "q 3"]) -> Posterior:
    """The exact posterior of some pixels of a step's states; each is an image of one pixel."""
    step = done.step
    geometry = plan.index.geometry(checked_patch_size(step.patch_size))
    y, sigma = _data_units(done.xt, step), noise_level(step.alpha_bar)
    label = plan.config.sampling.label
    record = sum_exactly(plan.index.images, y, sigma, geometry, label, places=places)
    return Posterior.from_record(record.map(lambda values: values[:, None, None]))


def at_places(posterior: Posterior, places: Int[Tensor, "q 3"]) -> Posterior:
    """The posterior of some pixels; each is an image of one pixel."""
    states, rows, cols = places.to(posterior.mean.device).unbind(-1)

    def chosen(values: Shaped[Tensor, "b *c h w"]) -> Shaped[Tensor, "q *c 1 1"]:
        return values[states, ..., rows, cols][..., None, None]

    tensors: dict[str, Any] = {
        field.name: chosen(getattr(posterior, field.name))
        for field in fields(Posterior)
        if field.name not in ("mse_deviation", "sources", "head")
    }
    return Posterior(**tensors, mse_deviation=posterior.mse_deviation[states])


def _extrapolated_seconds(
    plan: AuditPlan, pixels: UInt8[Tensor, "n c h w"], done: Transition[Posterior]
) -> float:
    """What an exact scan of the whole states would take: a few images, times how many there are."""
    step, place = done.step, done.xt.device
    geometry = plan.index.geometry(checked_patch_size(step.patch_size))
    few = pixels[:_TIMED_IMAGES]
    start = perf_counter()
    exact_scan(
        few, _data_units(done.xt, step), noise_level(step.alpha_bar), geometry,
        precision=plan.index.device.precision,
    )  # fmt: skip
    wait_for(place)
    return (perf_counter() - start) * len(pixels) / len(few)


def _data_units(xt: Float[Tensor, "b c h w"], step: Step) -> Float[Tensor, "b c h w"]:
    """States as the machines see them."""
    return xt.float() / sqrt(step.alpha_bar)


def summarize_audit(rows: Sequence[AuditedStep]) -> AuditSummary:
    """Worst and middle of the steps, and the seconds of all."""
    return AuditSummary(
        R2=worst_and_median(rows, "R2"),
        coverage=worst_and_median(rows, "coverage"),
        steps_below_target_R2=sum(row.R2 < TARGET_R2 for row in rows),
        exact_seconds=sum(row.exact_seconds for row in rows),
        retrieval_seconds=sum(row.retrieval_seconds for row in rows),
        audit_seconds=sum(row.audit_seconds for row in rows),
    )
