"""Train a network into a folder, or go on where an earlier training stopped."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from patchindex.environment import library_versions
from sampler.errors import NetworkError
from sampler.networks import (
    WEIGHTS,
    Network,
    NetworkConfig,
    load_network,
    num_parameters,
    receptive_field,
    weight_file,
)
from sampler.results.json_files import write_json
from sampler.results.output import reserve_output, write_whole
from sampler.training.checkpoint import CHECKPOINT, PARTIAL
from sampler.training.loop import TrainingState
from sampler.training.recipe import TrainConfig
from sampler.training.steps import TrainingJob, Watch, run_steps, state_to_go_on_from

logger = logging.getLogger(__name__)

_DESCRIPTION, _LOSSES = "network.json", "loss.png"
_FINAL_STEPS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetResult:
    """The images that a network learned from."""

    name: str
    num_images: int
    crop: str | None
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """What the file beside the weights holds; see `sampler.networks.weights.Description`.

    Attributes:
        parameters: how many numbers were learned.
        receptive_field: height and width.
        final_loss: mean of the last steps.
        device: that computed.
    """

    schema_version: int = 1
    network: NetworkConfig
    schedule: str
    training: TrainConfig
    dataset: DatasetResult
    versions: Mapping[str, str]
    parameters: int
    receptive_field: tuple[int, int]
    final_loss: float
    seconds: float
    device: str
    weights_sha256: str


def _is_complete(folder: Path, job: dict[str, Any]) -> bool:
    """Whether the folder holds the result of this very training.

    Raises:
        NetworkError: it holds that of another one, or weights that are damaged or gone.
    """
    path = folder / _DESCRIPTION
    if not path.exists():
        return False
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        same = (found["network"], found["training"], found["dataset"]["sha256"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise NetworkError(
            f"{folder} already holds another network, whose {_DESCRIPTION} cannot be read "
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Training:
    """A finished training.

    Attributes:
        losses: of every step.
        result: what the file beside the weights holds.
    """

    network: Network
    losses: tuple[float, ...]
    result: TrainingResult


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
    """Leave weights, their description and loss curve in the folder; None if all is there.

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
        if not overwrite and _is_complete(job.folder, job.key()):
            logger.info("%s is complete already; nothing to do", job.folder)
            return None
        state = state_to_go_on_from(job, device, overwrite=overwrite)
        run_steps(state, job, watch or Watch())
        if state.step < job.config.steps:
            return Stopped(step=state.step)
        return _finished(state, job, device, half=half)


def _finished(
    state: TrainingState, job: TrainingJob, device: torch.device, *, half: bool
) -> Training:
    """The training whose steps are all done, once its result is in the folder."""
    module = state.result().cpu().eval().requires_grad_(requires_grad=False)
    network = Network(module, job.network, schedule=job.config.schedule, name=str(job.folder))
    weights, checksum = weight_file(module, half=half)
    images = job.images
    result = TrainingResult(
        network=job.network,
        schedule=job.config.schedule,
        training=job.config,
        dataset=DatasetResult(
            name=images.name, num_images=len(images), crop=images.crop, sha256=images.sha256
        ),
        versions=library_versions(),
        parameters=num_parameters(module),
        receptive_field=receptive_field(network),
        final_loss=fmean(state.losses[-_FINAL_STEPS:]),
        seconds=state.seconds,
        device=device.type,
        weights_sha256=checksum,
    )
    _write_network(job.folder, weights, result, state.losses)
    return Training(network=network, losses=tuple(state.losses), result=result)


def _write_network(
    folder: Path, weights: bytes, result: TrainingResult, losses: Sequence[float]
) -> None:
    """Write weights, loss curve and, last, the description that marks the folder complete.

    The checkpoint, which nobody needs any more, vanishes in the same stroke.

    Raises:
        OutputError: the disk is full or the folder went away.
    """
    # matplotlib takes most of a second to import, which no other command should wait for
    from sampler.results.study_figures import write_loss_curve  # noqa: PLC0415

    title = f"{result.network.architecture} on {result.dataset.name}"
    files: dict[str, Callable[[Path], object]] = {
        WEIGHTS: lambda path: path.write_bytes(weights),
        _LOSSES: lambda path: write_loss_curve(losses, title, path),
        _DESCRIPTION: lambda path: write_json(result, path),
    }
    write_whole(files, folder, last=_DESCRIPTION, gone=(CHECKPOINT, PARTIAL))
