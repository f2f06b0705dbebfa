"""Verify retrieval against the exact scan, along the exact machine's own trajectory.

What cannot be known is nan: coverage without an interval, recall that was not measured, head mass
where patches were left out.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite, nan, sqrt
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from patchindex import PatchIndex
from patchindex.crew import unwatched
from patchindex.device import CPU, describe_device, wait_for
from patchindex.environment import library_versions
from sampler.choices import RECALL_PIXELS, VERIFY_SAMPLES
from sampler.errors import SamplerConfigError
from sampler.estimator import LARGEST_K_HAT, CarriedHead
from sampler.machines import checked_patch_size
from sampler.noise import initial_noise
from sampler.posterior import Posterior
from sampler.results.run_result import SamplerConfig
from sampler.results.source_result import ScalesResult
from sampler.results.study_results import (
    TARGET_R2,
    FinalComparison,
    PosteriorComparison,
    StepComparison,
    VerifyResult,
    VerifySettings,
    VerifySummary,
    WorstAndMedian,
)
from sampler.run import describe_source, make_machine, steps_of
from sampler.scales import ChosenScales, choose_scales
from sampler.schedule import Step, noise_level
from sampler.score_machine import ScoreMachine
from sampler.studies.metrics import coefficient_of_determination, pearson_r
from sampler.studies.recall import random_pixels, search_recall
from sampler.trajectory import Transition, follow

_FOUR_SAMPLES = SamplerConfig(num=VERIFY_SAMPLES)
_STANDARD_ERRORS = 1.96
# the exact scan skips up to 1e-6 of a pixel's mass, and means are float32
_ROUNDING = 1e-6


def compare_step(
    step: Step,
    exact: Posterior,
    found: Posterior,
    *,
    exact_seconds: float,
    retrieval_seconds: float,
    recall: float = nan,
) -> StepComparison:
    """The row of one step, from both machines' posteriors of the same states."""
    return StepComparison(
        **compare_posteriors(step, exact, found),
        recall=recall,
        exact_seconds=exact_seconds,
        retrieval_seconds=retrieval_seconds,
    )


def compare_posteriors(step: Step, exact: Posterior, found: Posterior) -> dict[str, Any]:
    """The fields of a `PosteriorComparison`, but for seconds."""
    sizes = exact.effective_sample_size.double().flatten()
    low, middle, high = sizes.quantile(sizes.new_tensor([0.1, 0.5, 0.9])).tolist()
    r2 = pooled_r2(found.mean, exact.mean)
    return {
        "t": step.t,
        "patch_size": step.patch_size,
        "sigma": noise_level(step.alpha_bar),
        "R2": r2 if isfinite(r2) else nan,  # of values that are all equal there is none
        "rmse": root_mean_square(found.mean - exact.mean),
        "standard_error": root_mean_square(found.standard_error),
        "coverage": coverage(found, exact),
        "head_mass": float(found.head_mass.median()),
        "effective_sample_size": middle,
        "effective_sample_size_10": low,
        "effective_sample_size_90": high,
        "estimated_effective_sample_size": float(found.effective_sample_size.median()),
        "num_scored": float(found.num_scored.double().mean()),
    }


def compare_finals(
    own: Float[Tensor, "b c h w"], exact: Float[Tensor, "b c h w"]
) -> FinalComparison:
    """Final images of retrieval's own trajectories beside those of the exact machine."""
    r = pearson_r(own, exact)
    return FinalComparison(
        r=tuple(r.tolist()),
        r_median=float(r.quantile(0.5)),
        r_lowest=float(r.min()),
        r2_median=float(r.square().quantile(0.5)),
        R2_median=float(coefficient_of_determination(own, exact).quantile(0.5)),
    )


def pooled_r2(estimate: Float[Tensor, "b c h w"], exact: Float[Tensor, "b c h w"]) -> float:
    """R2 over all values of all samples together."""
    return float(coefficient_of_determination(estimate.flatten()[None], exact.flatten()[None]))


def root_mean_square(values: Float[Tensor, "*shape"]) -> float:
    """Root of the mean square over all values."""
    return float(values.double().square().mean().sqrt())


def coverage(found: Posterior, exact: Posterior) -> float:
    """Share of the values whose 95 % interval holds the exact one, of those that have one."""
    inside = (found.mean - exact.mean).abs() <= _STANDARD_ERRORS * found.standard_error + _ROUNDING
    stated = _has_interval(found)
    return float(inside[stated].double().mean()) if stated.any() else nan


def _has_interval(found: Posterior) -> Bool[Tensor, "b c h w"]:
    """Where the posterior states an error that it vouches for.

    Not where it is exact, nor where it is biased (nan), nor where few weights carry the tail.
    """
    return (found.standard_error > 0) & (found.k_hat < LARGEST_K_HAT)[:, None]


def summarize(rows: Sequence[StepComparison]) -> VerifySummary:
    """Worst and middle of the steps, and the seconds of all."""
    return VerifySummary(
        **{name: worst_and_median(rows, name) for name in ("R2", "coverage", "recall")},
        steps_below_target_R2=sum(row.R2 < TARGET_R2 for row in rows),
        exact_seconds=sum(row.exact_seconds for row in rows),
        retrieval_seconds=sum(row.retrieval_seconds for row in rows),
    )


def worst_and_median(rows: Sequence[PosteriorComparison], name: str) -> WorstAndMedian:
    """Lowest and median of a field over the steps where it is known."""
    known = [value for row in rows if isfinite(value := getattr(row, name))] or [nan]
    return WorstAndMedian(lowest=min(known), median=median(known))


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyConfig:
    """What is compared with exact, and how closely.

    Attributes:
        sampling: settings of retrieval and of the trajectory; the exact machine differs in nothing
            else than `exact`.
        recall_pixels: pixels per step whose true k nearest patches are found by brute force; 0
            leaves recall unknown.
        finals: let retrieval also follow its own trajectory, and compare the images it ends in.
    """

    sampling: SamplerConfig = _FOUR_SAMPLES
    recall_pixels: int = RECALL_PIXELS
    finals: bool = False

    def __post_init__(self) -> None:
        if self.recall_pixels < 0:
            raise SamplerConfigError(
                f"recall_pixels is {self.recall_pixels}. Give a number of pixels per step, "
                "or 0 to leave recall out."
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VerificationPlan:
    """Everything that a verification needs, checked.

    Attributes:
        scales: what retrieval compares; the exact machine compares the same.
        noise: initial states.
    """

    index: PatchIndex
    config: VerifyConfig
    scales: ChosenScales
    noise: Float[Tensor, "b c h w"]
    exact: ScoreMachine
    retrieval: ScoreMachine


def plan_verification(
    index: PatchIndex, config: VerifyConfig, device: torch.device = CPU
) -> VerificationPlan:
    """Machines, scales and noise, before any work is done.

    Args:
        device: where both machines compute.

    Raises:
        UserError: a setting, file or label that this index does not admit.
    """
    sampling = config.sampling
    index.images.label_indices(sampling.label)
    retrieval = make_machine(index, sampling)
    scales = choose_scales(retrieval, index, sampling.scales, boundary=index.boundary)
    steps_of(sampling, scales)  # refuses what is no schedule
    return VerificationPlan(
        index=index,
        config=config,
        scales=scales,
        noise=initial_noise(sampling.num, index.images, sampling.seed).to(device),
        exact=make_machine(index, replace(sampling, exact=True)),
        retrieval=retrieval,
    )


def verify(
    plan: VerificationPlan, on_row: Callable[[StepComparison], None] | None = None
) -> VerifyResult:
    """Follow the exact trajectory; `on_row` is called with each row as soon as it is known."""
    sampling = plan.config.sampling
    rows: list[StepComparison] = []
    process: dict[str, Any] = {
        "steps": steps_of(sampling, plan.scales),
        "label": sampling.label,
        "sampler": sampling.sampler,
    }

    start, exact = perf_counter(), plan.noise
    known: CarriedHead | None = None
    for done in follow(plan.exact, plan.noise, **process):
        with unwatched():  # which knows of the exact trajectory alone, that takes longest
            recall = _mean_recall(
                plan, done.step, done.xt, np.random.default_rng([sampling.seed, len(rows)])
            )
            row, known = ask_beside(
                plan.retrieval, done, known=known, label=sampling.label, recall=recall
            )
        rows.append(row)
        if on_row is not None:
            on_row(rows[-1])
        exact = done.reached
    finals = None
    if plan.config.finals:
        reached = plan.noise
        with unwatched():
            for done in follow(plan.retrieval, plan.noise, **process):
                reached = done.reached
        finals = compare_finals(reached, exact)
    return VerifyResult(
        config=VerifySettings(
            **asdict(replace(sampling, boundary=plan.index.boundary)),
            recall_pixels=plan.config.recall_pixels,
            finals=plan.config.finals,
        ),
        scales=ScalesResult.of(plan.scales),
        source=describe_source(plan.index),
        device=describe_device(plan.noise.device),
        seconds=perf_counter() - start,
        steps=tuple(rows),
        summary=summarize(rows),
        finals=finals,
        versions=library_versions(),
    )


def ask_beside(
    retrieval: ScoreMachine,
    done: Transition[Posterior],
    *,
    known: CarriedHead | None = None,
    label: int | None = None,
    recall: float = nan,
) -> tuple[StepComparison, CarriedHead | None]:
    """The row of a step that the exact machine has done: retrieval asked at the same states.

    Args:
        known: what retrieval found at the step before.

    Returns:
        The row, and what retrieval found.
    """
    step, start = done.step, perf_counter()
    found = retrieval.posterior(done.xt, step.alpha_bar, step.patch_size, label=label, known=known)
    wait_for(done.xt.device)
    row = compare_step(
        step,
        done.answer,
        found,
        recall=recall,
        exact_seconds=done.seconds,
        retrieval_seconds=perf_counter() - start,
    )
    return row, found.head


def _mean_recall(
    plan: VerificationPlan, step: Step, xt: Float[Tensor, "b c h w"], rng: np.random.Generator
) -> float:
    """Recall of the search over random pixels of a step; nan where none is searched."""
    sampling = plan.config.sampling
    patch_size = checked_patch_size(step.patch_size)
    geometry = plan.index.geometry(patch_size)
    pixels = random_pixels(geometry, len(xt), plan.config.recall_pixels, rng)
    y = xt / sqrt(step.alpha_bar)
    shares = search_recall(
        plan.index,
        y,
        patch_size,
        pixels,
        k=sampling.k,
        nprobe=sampling.nprobe,
        label=sampling.label,
    )
    return float(shares.mean())
