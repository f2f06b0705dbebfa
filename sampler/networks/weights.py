"""Weights of networks: files that training wrote, and those that come with the package."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from math import prod
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor, nn

from patchindex.paths import data_root
from sampler.errors import NetworkError
from sampler.networks.config import NetworkConfig
from sampler.networks.network import Network, make_network
from sampler.schedule import SCHEDULES

WEIGHTS = "network.safetensors"
_DTYPES = ("F16", "F32")


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What the file beside weights says of them.

    Attributes:
        schedule: of the noise that the network was trained with.
        weights_sha256: checksum of the weights' file; None from the first version.
    """

    network: NetworkConfig
    schedule: str
    weights_sha256: str | None


def weight_file(module: nn.Module, *, half: bool) -> tuple[bytes, str]:
    """Contents of the file of weights, and their SHA-256.

    Args:
        half: store float16, which is half as large.
    """
    dtype = torch.float16 if half else torch.float32
    tensors = {
        name: value.detach().to("cpu", dtype).contiguous()
        for name, value in module.state_dict().items()
    }
    weights = save(tensors)
    return weights, sha256(weights).hexdigest()


def load_network(path: Path) -> Network:
    """The network whose weights are at `path` (.safetensors), ready to be asked.

    Nothing is made in memory before the file is known to hold such a network's weights.

    Raises:
        NetworkError: a file is not there or damaged, the weights fit another network, or are no
            finite numbers.
    """
    described = read_description(path.with_suffix(".json"))
    config = described.network
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
    if described.weights_sha256 not in (None, found):
        raise NetworkError(
            f"weights {path} are not those that {path.with_suffix('.json').name} was written with, "
            "or are damaged: their checksum differs. Give the pair that was written together."
        )
    _check_numbers(tensors, path)
    module = make_network(config)
    module.load_state_dict({name: value.float() for name, value in tensors.items()})
    module.requires_grad_(requires_grad=False).eval()
    return Network(module, config, schedule=described.schedule, name=str(path))


def _check_header(path: Path, config: NetworkConfig) -> None:
    """Raise NetworkError unless the file holds tensors of the network's names and shapes."""
    with safe_open(path, framework="pt") as file:
        parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        shapes = {name: tuple(part.get_shape()) for name, part in parts.items()}
        strange = {part.get_dtype() for part in parts.values()}.difference(_DTYPES)
    if strange:
        raise NetworkError(
            f"weights {path} are stored as {', '.join(sorted(strange))}. Give weights stored as "
            f"{' or '.join(_DTYPES)}, as `sampler train` writes them."
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


def read_description(path: Path) -> Description:
    """What the file beside weights says.

    Raises:
        NetworkError: it is not there, or describes no network.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise NetworkError(
            f"{path}, which says what the weights are of, cannot be read ({error}). "
            "Give a .safetensors file with its .json beside it."
        ) from error
    if not isinstance(values, dict) or not isinstance(values.get("network"), dict):
        raise NetworkError(f"{path} describes no network. Give one that `sampler train` wrote.")
    schedule, checksum = values.get("schedule"), values.get("weights_sha256")
    if schedule not in tuple(SCHEDULES):  # what cannot be hashed is not in it either
        raise NetworkError(
            f"{path} names the schedule {schedule!r}. It must be one of {', '.join(SCHEDULES)}."
        )
    if "weights_sha256" in values and not isinstance(checksum, str):
        checksum = ""  # which is that of no file
    network = NetworkConfig.from_values(values["network"], str(path))
    return Description(network=network, schedule=schedule, weights_sha256=checksum)


def bundled_networks() -> dict[str, Path]:
    """The networks that come with the installation, by name."""
    found = sorted(data_root().joinpath("networks").glob("*.safetensors"))
    return {path.stem: path for path in found}
