"""Weights of networks: files that training wrote, and those that come with the package."""

import json
from collections.abc import Mapping
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor, nn

from patchindex.paths import data_root
from sampler.errors import NetworkError
from sampler.networks.config import NetworkConfig
from sampler.networks.network import Network, make_network
from sampler.schedule import SCHEDULES

DTYPES = ("F16", "F32")
WEIGHTS = "network.safetensors"
DEFAULT_NETWORK = "fashion_mnist_resnet_zeros_small"


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

    Nothing is made in memory before the file is known to hold such a network's weights.

    Raises:
        NetworkError: a file is not there or damaged, the weights fit another network, or are no
            finite numbers.
    """
    account = _read_account(path.with_suffix(".json"))
    config = NetworkConfig.from_values(account["network"], str(path.with_suffix(".json")))
    try:
        _check_header(path, config)
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
    _check_numbers(tensors, path)
    module = make_network(config)
    module.load_state_dict({name: value.float() for name, value in tensors.items()})
    module.requires_grad_(requires_grad=False).eval()
    return Network(module, config, schedule=account["schedule"], name=str(path))


def _check_header(path: Path, config: NetworkConfig) -> None:
    """Raise NetworkError unless the file holds tensors of the network's names and shapes."""
    with safe_open(path, framework="pt") as file:
        parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        shapes = {name: tuple(part.get_shape()) for name, part in parts.items()}
        strange = {part.get_dtype() for part in parts.values()}.difference(DTYPES)
    if strange:
        raise NetworkError(
            f"weights {path} are stored as {', '.join(sorted(strange))}. Give weights stored as "
            f"{' or '.join(DTYPES)}, as `sampler train` writes them."
        )
    if shapes != _expected_shapes(config, num_tensors=len(shapes), num_numbers=_total(shapes)):
        raise NetworkError(
            f"weights {path} do not fit the {config.architecture} with sizes {config.sizes} that "
            f"{path.with_suffix('.json').name} describes. Give the pair that was written together."
        )


def _expected_shapes(
    config: NetworkConfig, *, num_tensors: int, num_numbers: int
) -> dict[str, tuple[int, ...]] | None:
    """Shapes of a network's tensors by name; None if so few numbers cannot hold its weights.

    Takes no memory for weights, and little else: a deeper network than there are tensors is not
    even described.
    """
    sizes = config.sizes
    # each is the length of a tensor at least
    longest = max(*sizes.widths, sizes.embedding, config.num_classes, config.channels)
    if longest > num_numbers or sizes.depth > num_tensors:
        return None
    with torch.device("meta"):
        module = make_network(config)
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def _total(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """How many numbers tensors of these shapes hold."""
    return sum(prod(shape) for shape in shapes.values())


def _check_numbers(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise NetworkError unless all weights are finite."""
    for name, value in tensors.items():
        if not bool(value.isfinite().all()):
            raise NetworkError(
                f"weights {path} hold NaN or infinite numbers in {name}, so the network can say "
                "nothing. Train it again, with a lower --learning-rate or --precision float32."
            )


def _read_account(path: Path) -> dict[str, Any]:
    """What the file beside the weights says.

    Raises:
        NetworkError: it is not there, or is no such file.
    """
    try:
        account = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
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


def bundled_networks() -> dict[str, Path]:
    """The networks that come with the installation, by name."""
    found = sorted(data_root().joinpath("networks").glob("*.safetensors"))
    return {path.stem: path for path in found}


def open_network(name: str) -> Network:
    """A bundled network by name, or one from a .safetensors file or a folder that training wrote.

    Raises:
        NetworkError: there is none, or it cannot be read.
    """
    bundled = bundled_networks()
    if name in bundled:
        return load_network(bundled[name])
    path = Path(name).expanduser()
    if path.is_dir():
        path = path / WEIGHTS
    if not path.is_file():
        known = ", ".join(bundled) or "none"
        raise NetworkError(
            f"network {name!r} is neither a file nor bundled (bundled: {known}). "
            "Give a .safetensors file, or the folder that `sampler train` wrote."
        )
    return load_network(path)
