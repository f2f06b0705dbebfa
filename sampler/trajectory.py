"""The deterministic reverse process: from noise to an image along posterior means."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from time import perf_counter
from typing import Generic, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchindex.device import wait_for
from sampler.estimator import CarriedHead
from sampler.machines import ScoreMachine
from sampler.posterior import Posterior
from sampler.schedule import Denoiser, Step, noise_level, plan_steps

LABEL_STREAM = 1  # third seed entry, so that labels and noise are independent

Answer = TypeVar("Answer", Tensor, Posterior)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Transition(Generic[Answer]):
    """A step of the reverse process after it was done, with its states; `StepReport` sums it up.

    Attributes:
        xt: the states before the step.
        answer: the denoiser's posterior mean of them, or `Posterior`.
        reached: the states after the step.
        seconds: time that the denoiser took.
    """

    step: Step
    xt: Float[Tensor, "b c h w"]
    answer: Answer
    reached: Float[Tensor, "b c h w"]
    seconds: float


def trajectory(
    denoiser: Callable[[Float[Tensor, "b c h w"], Step], Answer],
    noise: Float[Tensor, "b c h w"],
    steps: Iterable[Step],
) -> Iterator[Transition[Answer]]:
    """The reverse process of any denoiser (arXiv 2412.20292, equations 1, 48, 49), step by step.

    Each step is one of DDIM with eta = 0: the noise that the denoiser sees in the state,
    `eps = (xt - sqrt(alpha_bar) mean) / sqrt(1 - alpha_bar)`, stays and its share falls,
    `xt' = sqrt(alpha_bar') mean + sqrt(1 - alpha_bar') eps`. The last step returns the mean.

    Args:
        denoiser: takes states and step; returns their posterior mean, or a `Posterior`.
        noise: the states at the first step's time; they determine all that follows.

    Example:
        >>> for done in trajectory(denoiser, noise, plan_steps([3, 5], 20, "cosine")):
        ...     print(done.step.t, done.reached.std())
    """
    xt = noise.float()
    for step in steps:
        start = perf_counter()
        answer = denoiser(xt, step)
        wait_for(xt.device)
        seconds = perf_counter() - start
        mean = answer.mean if isinstance(answer, Posterior) else answer
        reached = _step_down(xt, mean, step)
        yield Transition(step=step, xt=xt, answer=answer, reached=reached, seconds=seconds)
        xt = reached


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Begun:
    """A trajectory that was begun.

    Attributes:
        reached: its states.
        steps: that are done.
        known: what retrieval has found for these states.
        keep: what retrieval finds at step n shall be put into the folder `n` of this one; None for
            memory.
    """

    reached: Float[Tensor, "b c h w"]
    steps: int = 0
    known: CarriedHead | None = None
    keep: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """What a step did, over all pixels of all samples.

    Attributes:
        patch_size: of the windows that were compared; None for whole images.
        sigma: noise in data units.
        effective_sample_size, head_mass: medians.
        standard_error: root mean square over pixels; nan where `tail=0` leaves it unknown.
        mse_deviation: standard deviation of an image's mean squared error, whose mean is
            `standard_error` squared: pixels share draws, so that their errors are correlated.
        num_scored: mean number of patches per pixel whose distance was computed.
        estimated_again, summed_exactly: shares of pixels accepted at the second estimate, and of
            those that were summed exactly after it; they exclude each other. 0 without a tolerance.
        seconds: wall time of the step.
    """

    t: float
    patch_size: int | None
    sigma: float
    effective_sample_size: float
    head_mass: float
    standard_error: float
    mse_deviation: float
    num_scored: float
    estimated_again: float
    summed_exactly: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleResult:
    """Finished samples, about in [-1, 1], and the report of every step in order."""

    images: Float[Tensor, "b c h w"]
    steps: tuple[StepReport, ...]


def sample(
    machine: ScoreMachine,
    noise: Float[Tensor, "b c h w"],
    *,
    scales: Sequence[int | None],
    steps: int = 20,
    schedule: str = "cosine",
    label: int | None = None,
    reference_steps: bool = False,
) -> SampleResult:
    """Denoise standard normal noise; arguments, errors and equations as for `sample_steps`."""
    images, reports = noise, []
    for done in sample_steps(
        machine, noise, scales=scales, steps=steps, schedule=schedule, label=label,
        reference_steps=reference_steps,
    ):  # fmt: skip
        images = done.reached
        reports.append(report_step(done))
    return SampleResult(images=images, steps=tuple(reports))


def sample_steps(
    machine: ScoreMachine,
    noise: Float[Tensor, "b c h w"],
    *,
    scales: Sequence[int | None],
    steps: int = 20,
    schedule: str = "cosine",
    label: int | None = None,
    reference_steps: bool = False,
    num_sources: int = 0,
    begun: Begun | None = None,
) -> Iterator[Transition[Posterior]]:
    """Denoise standard normal noise in equal steps of t; yields each step.

    Args:
        noise: the state at t = 1; it determines the sample. All is computed where it lies.
        scales: patch sizes from the lowest noise level to the highest, evenly spaced in t; an index
            that lacks one uses the nearest that it has.
        label: class to sample, for training images with labels.
        reference_steps: repeat the reference code's off-by-one: start at t = 1 - 1/steps and use
            the scale of the next noisier level.
        num_sources: also return so many of the heaviest training patches of each pixel.
        begun: go on from there, and not from `noise`.

    Raises:
        SamplerConfigError: noise of the wrong shape or not finite, or no step or scale.
    """
    compared = machine.compared_sizes(scales)
    plan = plan_steps(compared, steps, schedule, reference_steps=reference_steps)

    begun = begun or Begun(reached=noise)
    number, known, keep = begun.steps, begun.known, begun.keep

    def posterior(xt: Float[Tensor, "b c h w"], step: Step) -> Posterior:
        nonlocal known, number
        number += 1
        machine.images.crew.begin(f"step {number} of {len(plan)}")
        answer = machine.posterior(
            xt, step.alpha_bar, step.patch_size, label=label, num_sources=num_sources,
            known=known, keep=None if keep is None else keep / f"{number}",
        )  # fmt: skip
        known = answer.head
        return answer

    return trajectory(posterior, begun.reached, plan[number:])


def reverse(
    denoiser: Denoiser, noise: Float[Tensor, "b c h w"], steps: Sequence[Step]
) -> Float[Tensor, "b c h w"]:
    """The final images that any denoiser makes of this noise."""
    images = noise.float()
    for done in trajectory(denoiser, noise, steps):
        images = done.reached
    return images


def _step_down(
    xt: Float[Tensor, "b c h w"], mean: Float[Tensor, "b c h w"], step: Step
) -> Float[Tensor, "b c h w"]:
    """The state at the next time: the same noise, less of it."""
    if step.alpha_bar_next == 1:
        return mean
    eps = (xt - sqrt(step.alpha_bar) * mean) / sqrt(1 - step.alpha_bar)
    return sqrt(step.alpha_bar_next) * mean + sqrt(1 - step.alpha_bar_next) * eps


def report_step(done: Transition[Posterior]) -> StepReport:
    """The step's summary over all pixels."""
    step, posterior = done.step, done.answer
    return StepReport(
        t=step.t,
        patch_size=step.patch_size,
        sigma=noise_level(step.alpha_bar),
        effective_sample_size=float(posterior.effective_sample_size.median()),
        head_mass=float(posterior.head_mass.median()),
        standard_error=float(posterior.standard_error.square().mean().sqrt()),
        mse_deviation=float(posterior.mse_deviation.mean()),
        num_scored=float(posterior.num_scored.double().mean()),
        estimated_again=float((posterior.rounds == 1).double().mean()),
        summed_exactly=float((posterior.rounds == 2).double().mean()),
        seconds=done.seconds,
    )


def draw_labels(num: int, num_classes: int, seed: int) -> Int[Tensor, " b"]:
    """A class for each sample; that of sample i depends on (seed, i) alone."""
    drawn = [
        int(np.random.default_rng([seed, i, LABEL_STREAM]).integers(num_classes))
        for i in range(num)
    ]
    return torch.tensor(drawn)


def labels_for(
    num: int, num_classes: int, *, label: int | None, seed: int
) -> Int[Tensor, " b"] | None:
    """The class of each sample: the one asked for, else one drawn; None without classes."""
    if label is not None:
        return torch.full((num,), label)
    return draw_labels(num, num_classes, seed) if num_classes else None


def machine_denoiser(machine: ScoreMachine, label: Int[Tensor, " b"] | None) -> Denoiser:
    """The machine's posterior mean, each sample's over the images of its own class.

    Args:
        label: class of each sample; None for all images.
    """

    def mean(xt: Float[Tensor, "b c h w"], step: Step) -> Float[Tensor, "b c h w"]:
        if label is None:
            return machine.posterior(xt, step.alpha_bar, step.patch_size).mean
        means = torch.empty_like(xt)
        for value in label.unique().tolist():
            of_class = (label == value).to(xt.device)
            found = machine.posterior(xt[of_class], step.alpha_bar, step.patch_size, label=value)
            means[of_class] = found.mean
        return means

    return mean
