"""The steps of a training run: done, looked at, noted, and saved so that none is lost."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from statistics import fmean
from time import perf_counter

import torch
from torch import nn

from patchindex.progress import ProgressCallback, no_progress
from sampler.errors import NetworkError, TrainingDivergedError
from sampler.training.checkpoint import (
    CHECKPOINT,
    DAMAGE,
    discard_checkpoint,
    read_checkpoint,
    unreadable,
    write_checkpoint,
)
from sampler.training.job import TrainingJob
from sampler.training.loop import TrainingState, fresh_state, train
from sampler.training.metrics import (
    METRIC_STEPS,
    Metric,
    MetricCallback,
    append_metric,
    no_report,
    write_metrics,
)

logger = logging.getLogger(__name__)


def never() -> bool:
    """Whether to stop: no."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Watch:
    """Who looks on while training goes on.

    Attributes:
        progress: told of steps done.
        report: told of each line of the metrics.
        stopping: asked after every step; once it says True, that step was the last.
    """

    progress: ProgressCallback = no_progress
    report: MetricCallback = no_report
    stopping: Callable[[], bool] = never


def state_to_go_on_from(
    job: TrainingJob, device: torch.device, *, overwrite: bool
) -> TrainingState:
    """That of the folder's checkpoint, or a fresh one.

    Args:
        overwrite: begin anew over a checkpoint that cannot be used, which is removed.

    Raises:
        NetworkError: the checkpoint is damaged, or of another training.
    """
    state = fresh_state(job.network, job.config, device)
    try:
        values = read_checkpoint(job.folder, job.key())
        if values is not None:
            restore(state, values, job.folder / CHECKPOINT)
    except NetworkError:
        if not overwrite:
            raise
        discard_checkpoint(job.folder)
        return fresh_state(job.network, job.config, device)  # the other may be half restored
    if state.step:
        logger.info("going on from step %d of %d", state.step, job.config.steps)
    return state


def restore(state: TrainingState, values: dict[str, object], path: Path) -> None:
    """Become the state that the checkpoint holds, or raise NetworkError."""
    try:
        state.restore(values)
        sound = numbers(state.losses) and weights_finite(state.module)
    except DAMAGE as error:
        raise unreadable(path, type(error).__name__) from error
    if not sound:
        raise unreadable(path, "its numbers are not finite")


def run_steps(state: TrainingState, job: TrainingJob, watch: Watch) -> None:
    """Do the steps that are left, or those until `watch` stops them.

    A checkpoint is written at every interval, and after the last step before a stop.

    Raises:
        TrainingDivergedError: losses or weights are no numbers any more.
        OutputError: the disk is full or the folder went away.
    """
    begun, before, saved = perf_counter(), state.seconds, state.step
    steps, every = job.config.steps, job.config.save_every
    watch.progress("train", state.step, steps)
    if watch.stopping():
        return
    write_metrics(state.metrics, job.folder)
    for losses in train(state, job.images, job.network, job.config, watch.stopping):
        state.seconds = before + perf_counter() - begun
        check_finite(losses, state, saved, job.folder)
        watch.progress("train", state.step, steps)
        if state.step % METRIC_STEPS == 0 or state.step == steps:
            state.metrics.append(latest_metric(state, job))
            append_metric(state.metrics[-1], job.folder)
            watch.report(state.metrics[-1])
        if state.step // every > saved // every:
            write_checkpoint(job.folder, job.key(), state.values())
            saved = state.step
    if saved < state.step < steps:
        write_checkpoint(job.folder, job.key(), state.values())


def latest_metric(state: TrainingState, job: TrainingJob) -> Metric:
    """How training stands now; the same wherever it was interrupted before, the seconds apart."""
    since = (state.step - 1) // METRIC_STEPS * METRIC_STEPS
    return Metric(
        step=state.step,
        loss=fmean(state.losses[since:]),
        learning_rate=job.config.rate_at(state.step - 1),
        seconds=round(state.seconds, 3),
    )


def check_finite(losses: Sequence[float], state: TrainingState, saved: int, folder: Path) -> None:
    """Raise TrainingDivergedError unless losses and weights are numbers."""
    if all(isfinite(loss) for loss in losses) and weights_finite(state.module):
        return
    kept = (
        f"The checkpoint of step {saved} in {folder} is kept"
        if (folder / CHECKPOINT).exists()
        else "No checkpoint had been written yet"
    )
    raise TrainingDivergedError(
        f"training diverged: the loss is not finite any more before step {state.step}. {kept}. "
        "Give a lower --learning-rate or --precision float32, with another --out."
    )


def numbers(losses: Sequence[float]) -> bool:
    """Whether losses that were read are what losses are."""
    return all(type(loss) is float and isfinite(loss) for loss in losses)


def weights_finite(module: nn.Module) -> bool:
    """Whether all weights are numbers."""
    # one answer, for which a GPU is waited for once
    return bool(torch.stack([weight.isfinite().all() for weight in module.parameters()]).all())
