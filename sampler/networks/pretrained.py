"""Networks by name: those that come with the installation, else a file that training wrote."""

from pathlib import Path

from patchindex.resources import data_root
from sampler.errors import NetworkError
from sampler.networks.network import Network
from sampler.networks.weights import load_network

WEIGHTS = "network.safetensors"
DEFAULT_NETWORK = "fashion_mnist_resnet_zeros_small"


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
