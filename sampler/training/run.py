"""Train a network into a folder, or go on where an earlier training stopped."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import nn

from patchindex.environment import library_versions
from sampler.errors import NetworkError
from sampler.networks import Network, load_network, num_parameters, receptive_field, weight_files
from sampler.networks.weights import WEIGHTS
from sampler.results.output import reserve_output, write_whole
from sampler.training.checkpoint import CHECKPOINT, PARTIAL
from sampler.training.loop import TrainingState
from sampler.training.steps import TrainingJob, Watch, run_steps, state_to_go_on_from

ACCOUNT, LOSSES = "network.json", "loss.png"


def is_complete(folder: Path, job: dict[str, Any]) -> bool:
    """Whether the folder holds the result of this very training.

    Raises:
        NetworkError: it holds that of another one, or weights that are damaged or gone.
    """
    path = folder / ACCOUNT
    if not path.exists():
        return False
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        same = (found["network"], found["training"], found["dataset"]["sha256"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise NetworkError(
            f"{folder} already holds another network, whose {ACCOUNT} cannot be read "
            f"({type(error).__name__}). Give another --out, or --overwrite to replace it."
        ) from error
    # through JSON, which turns tuples into lists
    if list(same) != json.loads(json.dumps([job["network"], job["training"], job["images"]])):
        raise NetworkError(
            f"{folder} already holds another network. "
            "Give another --out, or --overwrite to replace it."
        )
    try:
        load_network(folder / WEIGHTS)
    except NetworkError as error:
        raise NetworkError(
            f"{folder} holds this network, but {error} Or give --overwrite to train it again."
        ) from error
    return True


def write_network(
    folder: Path,
    module: nn.Module,
    account: dict[str, Any],
    losses: Sequence[float],
    *,
    half: bool,
) -> None:
    """Write weights, loss curve and, last, the account that marks the folder complete.

    The checkpoint, which nobody needs any more, vanishes in the same stroke.

    Raises:
        OutputError: the disk is full or the folder went away.
    """
    # matplotlib takes most of a second to import, which no other command should wait for
    from sampler.results.loss_figure import write_loss_curve  # noqa: PLC0415

    weights, text = weight_files(module, account, half=half)
    title = f"{account['network']['architecture']} on {account['dataset']['name']}"
    files: dict[str, Callable[[Path], object]] = {
        WEIGHTS: lambda path: path.write_bytes(weights),
        LOSSES: lambda path: write_loss_curve(losses, title, path),
        ACCOUNT: lambda path: path.write_bytes(text),
    }
    write_whole(files, folder, account=ACCOUNT, gone=(CHECKPOINT, PARTIAL))


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
