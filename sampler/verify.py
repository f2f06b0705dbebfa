"""A verification: retrieval asked at every state of the exact machine's own trajectory."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from math import sqrt
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from patchindex import PatchIndex
from patchindex.devices import CPU, describe_device, wait_for
from sampler.chosen_scales import ChosenScales, choose_scales
from sampler.errors import SamplerConfigError
from sampler.estimator.recall import random_pixels, search_recall
from sampler.machines import ScoreMachine, checked_patch_size
from sampler.noise import initial_noise
from sampler.posterior import Posterior
from sampler.reverse import Step, StepReport, plan_steps, sample
from sampler.run import SamplerConfig, describe_source, make_machine
from sampler.run_account import known_values
from sampler.verification import (
    FinalComparison,
    StepComparison,
    compare_finals,
    compare_step,
    summarize,
)

FOUR_SAMPLES = SamplerConfig(num=4)


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

    sampling: SamplerConfig = FOUR_SAMPLES
    recall_pixels: int = 32
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """A finished verification: a row per step, and the account that `verify.json` holds."""

    rows: tuple[StepComparison, ...]
    finals: FinalComparison | None
    account: dict[str, Any]

    @property
    def title(self) -> str:
        """What was compared, in one line."""
        config, source = self.account["config"], self.account["source"]
        return (
            f"{Path(source['dataset']).name}, {source['num_images']:,} images: "
            f"retrieval (k {config['k']:,}, tail {config['tail']:,}, nprobe {config['nprobe']:,}) "
            "against the exact scan"
        )


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
    index.images.members(sampling.label)
    retrieval = make_machine(index, sampling)
    scales = choose_scales(retrieval, index, sampling.scales, boundary=index.boundary)
    plan_steps(scales.patch_sizes, sampling.steps, sampling.schedule)  # refuses what is no schedule
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
) -> Verification:
    """Follow the exact trajectory; `on_row` is called with each row as soon as it is known."""
    sampling = plan.config.sampling
    rows: list[StepComparison] = []
    process: dict[str, Any] = {
        "scales": plan.scales.patch_sizes,
        "steps": sampling.steps,
        "schedule": sampling.schedule,
        "label": sampling.label,
    }

    def compare(step: Step, xt: Tensor, posterior: Posterior, report: StepReport) -> None:
        recall = mean_recall(plan, step, xt, np.random.default_rng([sampling.seed, len(rows)]))
        rows.append(
            ask_beside(
                plan.retrieval, step, xt, posterior, report, label=sampling.label, recall=recall
            )
        )
        if on_row is not None:
            on_row(rows[-1])

    start = perf_counter()
    exact = sample(plan.exact, plan.noise, callback=compare, **process)
    finals = None
    if plan.config.finals:
        finals = compare_finals(sample(plan.retrieval, plan.noise, **process).images, exact.images)
    account = {
        "config": asdict(sampling)
        | {"boundary": plan.index.boundary}
        | {"recall_pixels": plan.config.recall_pixels, "finals": plan.config.finals},
        "scales": plan.scales.account(),
        "source": describe_source(plan.index, plan.index.images),
        "device": describe_device(plan.noise.device),
        "seconds": perf_counter() - start,
        "steps": [known_values(row) for row in rows],
        "summary": summarize(rows),
        "finals": None if finals is None else known_values(finals),
    }
    return Verification(rows=tuple(rows), finals=finals, account=account)


def ask_beside(
    retrieval: ScoreMachine,
    step: Step,
    xt: Float[Tensor, "b c h w"],
    exact: Posterior,
    report: StepReport,
    *,
    label: int | None = None,
    recall: float = float("nan"),
) -> StepComparison:
    """The row of a step that the exact machine has just done: retrieval asked at the same state."""
    start = perf_counter()
    found = retrieval.posterior(xt, step.alpha_bar, step.patch_size, label=label)
    wait_for(xt.device)
    return compare_step(
        step,
        exact,
        found,
        recall=recall,
        exact_seconds=report.seconds,
        retrieval_seconds=perf_counter() - start,
    )


def mean_recall(
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
