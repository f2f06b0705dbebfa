"""A training run: from images to a folder with weights, resumed where it was interrupted."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Any

import torch
from torch import nn

from patchindex import ImageSet
from patchindex.environment import library_versions
from patchindex.progress import ProgressCallback, no_progress
from sampler.errors import NetworkError, TrainingDivergedError
from sampler.networks import (
    Network,
    NetworkConfig,
    num_parameters,
    preset_sizes,
    receptive_field,
)
from sampler.networks.config import Prediction
from sampler.training.checkpoint import CHECKPOINT, read_checkpoint, write_checkpoint
from sampler.training.files import is_complete, write_network
from sampler.training.loop import TrainingState, fresh_state, train
from sampler.training.recipe import TrainConfig

logger = logging.getLogger(__name__)

FINAL_STEPS = 200
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Training:
    """A finished training.

    Attributes:
        losses: of every step.
        account: what the file beside the weights holds.
    """

    network: Network
    losses: tuple[float, ...]
    account: dict[str, Any]


def network_for(
    images: ImageSet, architecture: str, preset: str, padding: str, *, conditional: bool
) -> NetworkConfig:
    """A network of a preset's sizes that suits the images.

    Raises:
        NetworkError: no such network, images that it cannot halve, or no labels for `conditional`.
    """
    if conditional and images.labels is None:
        raise NetworkError(
            f"the images of {images.name} have no labels to train a conditional network with. "
            "Leave out --conditional, or give images with labels."
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


def train_network(
    job: TrainingJob,
    *,
    device: torch.device,
    half: bool = False,
    overwrite: bool = False,
    progress: ProgressCallback = no_progress,
) -> Training | None:
    """Train, and leave weights, account and loss curve in the folder; None if all is there already.

    Args:
        half: store the weights as float16.
        overwrite: replace what the folder holds, once there is something better; a checkpoint of
            this very training is still gone on from.

    Raises:
        UserError: a folder of another training, a checkpoint that is damaged, or a loss that is no
            number any more.
    """
    if not overwrite and is_complete(job.folder, job.key()):
        logger.info("%s is complete already; nothing to do", job.folder)
        return None
    state, seconds = fresh_state(job.network, job.config, device), 0.0
    found = own_checkpoint(job, overwrite=overwrite)
    if found is not None:
        seconds = found.pop("seconds")
        state.restore(found)
        logger.info("going on from step %d of %d", state.step, job.config.steps)
    seconds += run_steps(state, job, seconds, progress)
    module = state.result().cpu().eval().requires_grad_(requires_grad=False)
    network = Network(module, job.network, schedule=job.config.schedule, name=str(job.folder))
    account = describe(network, job, state.losses) | {"seconds": seconds, "device": device.type}
    write_network(job.folder, module, account, state.losses, half=half)
    (job.folder / CHECKPOINT).unlink(missing_ok=True)
    return Training(network=network, losses=tuple(state.losses), account=account)


def own_checkpoint(job: TrainingJob, *, overwrite: bool) -> dict[str, Any] | None:
    """The state to go on from, or None; with `overwrite` none that cannot be used is left over."""
    try:
        return read_checkpoint(job.folder, job.key())
    except NetworkError:
        if not overwrite:
            raise
        (job.folder / CHECKPOINT).unlink()
        return None


def run_steps(
    state: TrainingState, job: TrainingJob, seconds_before: float, progress: ProgressCallback
) -> float:
    """Do the steps that are left, with a checkpoint at every interval; the seconds they took."""
    start, saved, every = perf_counter(), state.step, job.config.save_every
    progress("train", state.step, job.config.steps)
    for losses in train(state, job.images, job.network, job.config):
        check_finite(losses, state, saved, job.folder)
        progress("train", state.step, job.config.steps)
        if state.step // every > saved // every:
            seconds = seconds_before + perf_counter() - start
            write_checkpoint(job.folder, job.key(), state.values() | {"seconds": seconds})
            saved = state.step
            logger.info(
                "step %d of %d: loss %.4f, %.0f s",
                saved, job.config.steps, fmean(losses), seconds,
            )  # fmt: skip
    return perf_counter() - start


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


def weights_finite(module: nn.Module) -> bool:
    """Whether all weights are numbers."""
    return all(bool(parameter.isfinite().all()) for parameter in module.parameters())


def describe(network: Network, job: TrainingJob, losses: Sequence[float]) -> dict[str, Any]:
    """What the weights are, and what they were learned from."""
    images = job.images
    return {
        "network": network.config.values(),
        "schedule": network.schedule,
        "training": job.config.values(),
        "dataset": {"name": images.name, "num_images": len(images), "sha256": images.sha256},
        "versions": library_versions(),
        "parameters": num_parameters(network.module),
        "receptive_field": receptive_field(network),
        "final_loss": fmean(losses[-FINAL_STEPS:]),
    }
