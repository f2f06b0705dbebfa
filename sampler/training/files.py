"""What training leaves in its folder: weights, what they are, and the loss curve."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from sampler.errors import NetworkError
from sampler.networks import load_network, weight_files
from sampler.networks.pretrained import WEIGHTS
from sampler.output import write_whole
from sampler.training.checkpoint import CHECKPOINT, PARTIAL

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
    from sampler.training.loss_plot import write_loss_curve  # noqa: PLC0415

    weights, text = weight_files(module, account, half=half)
    title = f"{account['network']['architecture']} on {account['dataset']['name']}"
    files: dict[str, Callable[[Path], object]] = {
        WEIGHTS: lambda path: path.write_bytes(weights),
        LOSSES: lambda path: write_loss_curve(losses, title, path),
        ACCOUNT: lambda path: path.write_bytes(text),
    }
    write_whole(files, folder, account=ACCOUNT, gone=(CHECKPOINT, PARTIAL))
