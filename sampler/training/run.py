"""A training run: from images to a folder with weights, resumed where it was interrupted."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch

from patchindex.environment import library_versions
from sampler.networks import Network, num_parameters, receptive_field
from sampler.output import reserve_output
from sampler.training.files import is_complete, write_network
from sampler.training.job import TrainingJob
from sampler.training.loop import TrainingState
from sampler.training.steps import Watch, run_steps, state_to_go_on_from

logger = logging.getLogger(__name__)

FINAL_STEPS = 200


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """A training that was stopped before its end.

    Attributes:
        step: steps done, of which the folder's checkpoint holds all; 0 if nothing was trained.
    """

    step: int


def train_network(
    job: TrainingJob,
    *,
    device: torch.device,
    half: bool = False,
    overwrite: bool = False,
    watch: Watch | None = None,
) -> Training | Stopped | None:
    """Train, and leave weights, account and loss curve in the folder; None if all is there already.

    Args:
        half: store the weights as float16.
        overwrite: replace what the folder holds, once there is something better; a checkpoint of
            this very training is still gone on from.
        watch: who is told of the steps, and can stop them.

    Raises:
        UserError: a folder of another training or one that another process writes in, a checkpoint
            that is damaged, or a loss that is no number any more.
    """
    with reserve_output(job.folder, overwrite=True):  # what may be replaced is known here
        if not overwrite and is_complete(job.folder, job.key()):
            logger.info("%s is complete already; nothing to do", job.folder)
            return None
        state = state_to_go_on_from(job, device, overwrite=overwrite)
        run_steps(state, job, watch or Watch())
        if state.step < job.config.steps:
            return Stopped(step=state.step)
        return finished(state, job, device, half=half)


def finished(
    state: TrainingState, job: TrainingJob, device: torch.device, *, half: bool
) -> Training:
    """The training whose steps are all done, once its result is in the folder."""
    module = state.result().cpu().eval().requires_grad_(requires_grad=False)
    network = Network(module, job.network, schedule=job.config.schedule, name=str(job.folder))
    about = describe(network, job, state.losses)
    account = about | {"seconds": state.seconds, "device": device.type}
    write_network(job.folder, module, account, state.losses, half=half)
    return Training(network=network, losses=tuple(state.losses), account=account)


def describe(network: Network, job: TrainingJob, losses: Sequence[float]) -> dict[str, Any]:
    """What the weights are, and what they were learned from."""
    images = job.images
    return {
        "network": network.config.values(),
        "schedule": network.schedule,
        "training": job.config.values(),
        "dataset": {
            "name": images.name,
            "num_images": len(images),
            "crop": images.crop,
            "sha256": images.sha256,
        },
        "versions": library_versions(),
        "parameters": num_parameters(network.module),
        "receptive_field": receptive_field(network),
        "final_loss": fmean(losses[-FINAL_STEPS:]),
    }
