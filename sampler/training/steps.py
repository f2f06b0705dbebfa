"""A training job: checked before any work, run step by step, saved at checkpoints."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Any

import torch
from torch import nn

from patchindex import ImageSet
from patchindex.progress import ProgressCallback, no_progress
from sampler.errors import NetworkError, TrainingDivergedError
from sampler.networks import NetworkConfig, Prediction, preset_sizes
from sampler.training.checkpoint import (
    CHECKPOINT,
    DAMAGE,
    discard_checkpoint,
    read_checkpoint,
    unreadable,
    write_checkpoint,
)
from sampler.training.loop import (
    METRIC_STEPS,
    Metric,
    MetricCallback,
    TrainingState,
    append_metric,
    fresh_state,
    no_report,
    train,
    write_metrics,
)
from sampler.training.recipe import TrainConfig

LARGEST_NUM_CLASSES = 10**6
# noise as published; velocity where few steps must do
PREDICTIONS: dict[str, Prediction] = {"paper": "noise", "small": "velocity"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingJob:
    """What is trained, on what, how, and where the result goes.

    Raises:
        NetworkError: images that do not suit the network or the recipe.
    """

    images: ImageSet
    network: NetworkConfig
    config: TrainConfig
    folder: Path

    def __post_init__(self) -> None:
        check_images(self.images, self.network, self.config)

    def key(self) -> dict[str, Any]:
        """All that decides the result; equal keys mean the same training."""
        return {
            "network": self.network.values(),
            "training": self.config.values(),
            "images": self.images.sha256,
        }


def network_for(
    images: ImageSet, architecture: str, preset: str, padding: str, *, conditional: bool
) -> NetworkConfig:
    """A network of a preset's sizes that suits the images.

    Raises:
        NetworkError: no such network, images that it cannot halve, or no labels for
            `conditional`, or larger ones than classes can have.
    """
    if conditional and images.labels is None:
        raise NetworkError(
            f"the images of {images.name} have no labels to train a conditional network with. "
            "Leave out --conditional, or give images with labels."
        )
    if conditional and images.num_classes > LARGEST_NUM_CLASSES:
        raise NetworkError(
            f"labels of {images.name} run to {images.num_classes - 1}, and every number up to it "
            f"would be a class with weights of its own. Number at most {LARGEST_NUM_CLASSES:,} "
            "classes from 0 on, or leave out --conditional."
        )
    return NetworkConfig(
        sizes=preset_sizes(architecture, preset),
        architecture=architecture,  # type: ignore[arg-type]  # checked where it is stored
        padding=padding,  # type: ignore[arg-type]  # as above
        channels=images.channels,
        height=images.height,
        width=images.width,
        num_classes=images.num_classes if conditional else 0,
        prediction=PREDICTIONS[preset],
    )


def check_images(images: ImageSet, network: NetworkConfig, config: TrainConfig) -> None:
    """Raise NetworkError unless the network can learn from these images by this recipe."""
    shape = (images.channels, images.height, images.width)
    if shape != network.image_shape:
        raise NetworkError(
            f"the network is made for images of {network.image_shape}, but those of {images.name} "
            f"are {shape}. Give a network of their shape."
        )
    if len(images) < config.batch_size:
        raise NetworkError(
            f"{images.name} has {len(images)} images, fewer than a batch of {config.batch_size}. "
            f"Give a --batch-size of at most {len(images)}, or more images."
        )
    if network.num_classes and not 0 < images.num_classes <= network.num_classes:
        raise NetworkError(
            f"the network knows {network.num_classes} classes, but {images.name} has "
            f"{images.num_classes}. Give a network for as many."
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
