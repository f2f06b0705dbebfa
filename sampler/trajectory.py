"""The deterministic reverse process: from noise to an image along posterior means."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from time import perf_counter
from typing import Generic, TypeVar, get_args

from jaxtyping import Float
from torch import Tensor

from patchindex.crew import portion, tell_share, watched
from patchindex.device import wait_for
from patchindex.images import to_uint8
from patchindex.png import first_of, html_block, png_bytes
from patchindex.progress import Progress, telling
from sampler.choices import DEFAULT_STEPS, Sampler
from sampler.denoiser import Denoiser, of_class
from sampler.errors import SamplerConfigError
from sampler.estimator import CarriedHead
from sampler.networks import NetworkDenoiser
from sampler.posterior import Posterior
from sampler.scales import Scales, find_scales
from sampler.schedule import NoiseLevels, Step, plan_steps
from sampler.score_machine import ScoreMachine

CORRECTED = "{}-heun"  # folder of what the second half of a step finds

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

    def __repr__(self) -> str:
        step, states = self.step, len(self.xt)
        return f"Transition(t={step.t:.3g}, sigma={step.sigma:.3g}, {states} states)"


def trajectory(
    denoiser: Callable[[Float[Tensor, "b c h w"], float], Answer],
    noise: Float[Tensor, "b c h w"],
    steps: Iterable[Step],
    *,
    sampler: str = "ddim",
    corrector: Denoiser | None = None,
) -> Iterator[Transition[Answer]]:
    """The reverse process of any denoiser (arXiv 2412.20292, equations 1, 48, 49), step by step.

    Each step is one of DDIM with eta = 0: the noise that the denoiser sees in the state,
    `eps = (xt - sqrt(alpha_bar) mean) / sqrt(1 - alpha_bar)`, stays and its share falls,
    `xt' = sqrt(alpha_bar') mean + sqrt(1 - alpha_bar') eps`. The last step returns the mean.
    `heun` looks at the state that this leads to, and goes on from where it was by the mean of both
    slopes, but for the last step (arXiv 2206.00364, algorithm 1).

    Whoever watches (`patchindex.crew.watched`) learns how much of all steps is done.

    Args:
        denoiser: takes states in data units and sigma; returns their posterior mean, or a
            `Posterior`.
        noise: the states xt at the first step's time; they determine all that follows.
        corrector: asked in the second half of Heun's steps; None for the denoiser itself.

    Example:
        >>> for done in trajectory(denoiser, noise, plan_steps([3, 5], 20, "cosine")):
        ...     print(done.step.t, done.reached.std())
    """
    if sampler not in get_args(Sampler):
        raise SamplerConfigError(
            f"sampler is {sampler!r}. Give one of {', '.join(get_args(Sampler))}."
        )
    xt, planned = noise.float(), tuple(steps)
    halves = 2 if sampler == "heun" else 1
    for number, step in enumerate(planned):
        start = perf_counter()
        with portion(halves * number, halves * len(planned)):
            answer = denoiser(in_data_units(xt, step.alpha_bar), step.sigma)
        mean = _mean_of(answer)
        reached = _step_down(xt, mean, step)
        if sampler == "heun" and step.alpha_bar_next < 1:
            # a denoiser may overwrite what it is given
            with portion(halves * number + 1, halves * len(planned)):
                again = (corrector or denoiser)(
                    in_data_units(reached, step.alpha_bar_next), step.sigma_next
                )
            y = in_data_units(reached, step.alpha_bar_next)
            slope = (y - _mean_of(again)) / step.sigma_next
            # the mean whose step down has both slopes' mean: half is its own, half the other's
            other = in_data_units(xt, step.alpha_bar) - step.sigma * slope
            reached = _step_down(xt, (mean + other) / 2, step)
        wait_for(xt.device)
        seconds = perf_counter() - start
        tell_share((number + 1) / len(planned))  # the last step of Heun's has no second half
        yield Transition(step=step, xt=xt, answer=answer, reached=reached, seconds=seconds)
        xt = reached


def in_data_units(xt: Float[Tensor, "b c h w"], alpha_bar: float) -> Float[Tensor, "b c h w"]:
    """The states y = x0 + sigma eps that are xt = sqrt(alpha_bar) y."""
    return xt / sqrt(alpha_bar)


def _mean_of(answer: Tensor | Posterior) -> Float[Tensor, "b c h w"]:
    return answer.mean if isinstance(answer, Posterior) else answer


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
    """Finished samples, about in [-1, 1], and the report of every step in order.

    Only machines tell what they did: of other denoisers there are no reports.
    """

    images: Float[Tensor, "b c h w"]
    steps: tuple[StepReport, ...]

    def __repr__(self) -> str:
        b, c, h, w = self.images.shape
        took = ""
        if self.steps:
            took = f", {len(self.steps)} steps in {sum(step.seconds for step in self.steps):.1f} s"
        return f"SampleResult({b:,} images of {c} x {h} x {w}{took})"

    def _repr_png_(self) -> bytes:
        """The first images, as notebooks show them."""
        return png_bytes(first_of(to_uint8(self.images)))

    def _repr_html_(self) -> str:
        """A line, and the first images."""
        return html_block(repr(self), {"": first_of(to_uint8(self.images))})


def sample(
    denoiser: ScoreMachine | Denoiser,
    noise: Float[Tensor, "b c h w"],
    *,
    scales: str | Scales | Sequence[int | None] | None = None,
    steps: int = DEFAULT_STEPS,
    schedule: NoiseLevels = "cosine",
    label: int | None = None,
    reference_steps: bool = False,
    sampler: str = "ddim",
    progress: Progress | None = None,
) -> SampleResult:
    """Denoise standard normal noise in equal steps of t; equations as for `trajectory`.

    Args:
        denoiser: a machine, or any function (y, sigma) -> mean of x0 given y = x0 + sigma eps.
        noise: the state at t = 1; it determines the sample. All is computed where it lies.
        scales: of a machine: patch sizes from the lowest noise level to the highest, evenly spaced
            in t; or a name, a file, a list as text or `Scales`, as `SamplerConfig` takes. An index
            that lacks one uses the nearest that it has. None for the machine's own.
        steps: how many; a list of sigmas has its own number.
        schedule: of the noise: a name, a function t -> alpha_bar, or a falling list of sigmas.
        label: class to sample, of a machine over images with labels or a network with classes.
        reference_steps: repeat the reference code's off-by-one: start at t = 1 - 1/steps and use
            the scale of the next noisier level.
        sampler: `ddim` or `heun`.
        progress: a class of bars, as of `from tqdm.auto import tqdm`, or a callback that is told
            a stage, how many steps are done, and of how many.

    Raises:
        SamplerConfigError: noise of the wrong shape or not finite, or no step or scale.

    Example:
        >>> sample(machine, noise, progress=tqdm)
        >>> sample(ELSMachine(images), noise, schedule=[80.0, 10.0, 2.0, 0.5, 0.1], sampler="heun")
        >>> sample(lambda y, sigma: y / (1 + sigma**2), noise, steps=50)
    """
    images, reports = noise, []
    if not isinstance(denoiser, ScoreMachine):
        if isinstance(denoiser, NetworkDenoiser):
            denoiser, label = of_class(denoiser, label), None
        if scales is not None or label is not None:
            raise SamplerConfigError(
                "scales and label belong to machines, but the denoiser is another function. Leave "
                "them out; give it labels with functools.partial."
            )
        plan = plan_steps((None,), steps, schedule, reference_steps=reference_steps)
        with _steps_told(progress, len(plan)):
            return SampleResult(images=reverse(denoiser, noise, plan, sampler=sampler), steps=())
    sizes, sigmas = _placed(denoiser.scales or (None,) if scales is None else scales)
    plan = plan_steps(
        denoiser.compared_sizes(sizes), steps, schedule,
        reference_steps=reference_steps, sigmas=sigmas,
    )  # fmt: skip
    with _steps_told(progress, len(plan)):
        for done in follow(denoiser, noise, plan, label=label, sampler=sampler):
            images = done.reached
            reports.append(report_step(done))
    return SampleResult(images=images, steps=tuple(reports))


def _placed(
    scales: str | Scales | Sequence[int | None],
) -> tuple[Sequence[int | None], tuple[float, ...] | None]:
    """Patch sizes, and the noise level of each; None where they are spaced over the run's steps."""
    found = find_scales(scales) if isinstance(scales, str) else scales
    return (found.patch_sizes, found.sigmas) if isinstance(found, Scales) else (found, None)


@contextmanager
def _steps_told(progress: Progress | None, total: int) -> Iterator[None]:
    """Within, what a user gave learns how many steps are done, and how much of the next."""
    if progress is None:  # others may watch
        yield
        return
    with telling(progress) as tell, watched(lambda share: tell("sampling", share * total, total)):
        tell("sampling", 0, total)
        yield


def sample_steps(
    machine: ScoreMachine,
    noise: Float[Tensor, "b c h w"],
    *,
    scales: str | Scales | Sequence[int | None],
    steps: int = DEFAULT_STEPS,
    schedule: NoiseLevels = "cosine",
    label: int | None = None,
    num_sources: int = 0,
    begun: Begun | None = None,
) -> Iterator[Transition[Posterior]]:
    """`sample`, step by step; see also `follow`.

    Args:
        scales: as for `sample`.
    """
    sizes, sigmas = _placed(scales)
    plan = plan_steps(machine.compared_sizes(sizes), steps, schedule, sigmas=sigmas)
    return follow(machine, noise, plan, label=label, num_sources=num_sources, begun=begun)


def follow(
    machine: ScoreMachine,
    noise: Float[Tensor, "b c h w"],
    steps: Sequence[Step],
    *,
    label: int | None = None,
    sampler: str = "ddim",
    num_sources: int = 0,
    begun: Begun | None = None,
) -> Iterator[Transition[Posterior]]:
    """Denoise standard normal noise along planned steps; yields each when it is done.

    Args:
        noise: the states at the first step; they determine the sample. All is computed where they
            lie.
        steps: of `plan_steps`, with patch sizes that the machine compares.
        label: class to sample, for training images with labels.
        sampler: `ddim` or `heun`, see `trajectory`.
        num_sources: also return so many of the heaviest training patches of each pixel.
        begun: go on from there, and not from `noise`.

    Raises:
        SamplerConfigError: noise of the wrong shape or not finite.
    """
    sizes = {step.sigma: step.patch_size for step in steps}
    begun = begun or Begun(reached=noise)
    number, known, keep = begun.steps, begun.known, begun.keep

    def ask(y: Float[Tensor, "b c h w"], sigma: float, folder: str, num_sources: int) -> Posterior:
        return machine.posterior_of(
            y, sigma, sizes[sigma], label=label, num_sources=num_sources, known=known,
            keep=None if keep is None else keep / folder,
        )  # fmt: skip

    def posterior(y: Float[Tensor, "b c h w"], sigma: float) -> Posterior:
        nonlocal known, number
        number += 1
        machine.images.crew.begin(f"step {number} of {len(steps)}")
        answer = ask(y, sigma, f"{number}", num_sources)
        known = answer.head
        return answer

    def corrector(y: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b c h w"]:
        # what it finds is not carried on: a run that is resumed would not have it
        return ask(y, sigma, CORRECTED.format(number), 0).mean

    return trajectory(
        posterior, begun.reached, steps[number:], sampler=sampler, corrector=corrector
    )


def reverse(
    denoiser: Denoiser,
    noise: Float[Tensor, "b c h w"],
    steps: Sequence[Step],
    *,
    sampler: str = "ddim",
) -> Float[Tensor, "b c h w"]:
    """The final images that any denoiser makes of this noise; arguments as for `trajectory`."""
    images = noise.float()
    for done in trajectory(denoiser, noise, steps, sampler=sampler):
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
        sigma=step.sigma,
        effective_sample_size=float(posterior.effective_sample_size.median()),
        head_mass=float(posterior.head_mass.median()),
        standard_error=float(posterior.standard_error.square().mean().sqrt()),
        mse_deviation=float(posterior.mse_deviation.mean()),
        num_scored=float(posterior.num_scored.double().mean()),
        estimated_again=float((posterior.rounds == 1).double().mean()),
        summed_exactly=float((posterior.rounds == 2).double().mean()),
        seconds=done.seconds,
    )
