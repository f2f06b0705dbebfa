"""Weights on disk: NAME.safetensors, and NAME.json beside it that says what they are weights of."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from sampler.errors import NetworkError
from sampler.networks.config import NetworkConfig
from sampler.networks.network import Network, make_network
from sampler.schedules import SCHEDULES


def weight_files(module: nn.Module, account: dict[str, Any], *, half: bool) -> tuple[bytes, bytes]:
    """Contents of the two files.

    Args:
        account: what the second holds besides the first one's checksum; `network` must be the
            configuration's values.
        half: store float16, which is half as large.
    """
    dtype = torch.float16 if half else torch.float32
    tensors = {
        name: value.detach().to("cpu", dtype).contiguous()
        for name, value in module.state_dict().items()
    }
    weights = save(tensors)
    text = json.dumps(account | {"weights_sha256": sha256(weights).hexdigest()}, indent=1)
    return weights, f"{text}\n".encode()


def load_network(path: Path) -> Network:
    """The network whose weights are at `path` (.safetensors), ready to be asked.

    Raises:
        NetworkError: a file is not there or damaged, or the weights fit another network.
    """
    account = read_account(path.with_suffix(".json"))
    config = NetworkConfig.from_values(account["network"], str(path.with_suffix(".json")))
    module = make_network(config)
    try:
        weights = path.read_bytes()
        tensors = load(weights)
    except (OSError, SafetensorError) as error:
        raise NetworkError(
            f"weights {path} cannot be read ({error}). Give a .safetensors file that "
            "`sampler train` wrote."
        ) from error
    found = sha256(weights).hexdigest()
    if account.get("weights_sha256", found) != found:  # the first version wrote none
        raise NetworkError(
            f"weights {path} are not those that {path.with_suffix('.json').name} was written with, "
            "or are damaged: their checksum differs. Give the pair that was written together."
        )
    try:
        module.load_state_dict({name: value.float() for name, value in tensors.items()})
    except RuntimeError as error:
        raise NetworkError(
            f"weights {path} do not fit the {config.architecture} with sizes {config.sizes} that "
            f"{path.with_suffix('.json').name} describes. Give the pair that was written together."
        ) from error
    module.requires_grad_(requires_grad=False).eval()
    return Network(module, config, schedule=account["schedule"], name=str(path))


def read_account(path: Path) -> dict[str, Any]:
    """What the file beside the weights says.

    Raises:
        NetworkError: it is not there, or is no such file.
    """
    try:
        account = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise NetworkError(
            f"{path}, which says what the weights are of, cannot be read ({error}). "
            "Give a .safetensors file with its .json beside it."
        ) from error
    if not isinstance(account, dict) or not isinstance(account.get("network"), dict):
        raise NetworkError(f"{path} describes no network. Give one that `sampler train` wrote.")
    if account.get("schedule") not in tuple(SCHEDULES):  # what cannot be hashed is not in it either
        raise NetworkError(
            f"{path} names the schedule {account.get('schedule')!r}. "
            f"It must be one of {', '.join(SCHEDULES)}."
        )
    return account
