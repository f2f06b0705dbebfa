"""Any network by what a user calls it: a name, a file, a folder, or where it comes from."""

import importlib
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import FunctionType

from torch import nn

from patchindex.paths import at_home
from sampler.choices import NETWORKS
from sampler.errors import NetworkError, reason
from sampler.networks.adapters import NetworkDenoiser, as_network
from sampler.networks.diffusers_model import DiffusersDenoiser
from sampler.networks.edm import edm_checkpoint
from sampler.networks.paper import paper_checkpoint, paper_scales, scales_beside
from sampler.networks.weights import WEIGHTS, bundled_networks, load_network


def open_network(spec: str) -> NetworkDenoiser:
    """The network that a text names.

    A bundled network by its name; a .safetensors file or a folder of `sampler train`;
    `diffusers:FOLDER_OR_ID`, `paper:FILE` (a backbone_*.pt of the paper's authors), `edm:FILE`
    (weights of an EDM network), or `python:MODULE:FUNCTION`, which is called without arguments and
    returns a `NetworkDenoiser` or any function (y, sigma) -> mean of x0 given y = x0 + sigma eps.

    Raises:
        NetworkError: there is none, or it cannot be read.

    Example:
        >>> open_network("diffusers:google/ddpm-cifar10-32")
    """
    kind, colon, rest = spec.partition(":")
    if colon and kind in _OPENERS:
        if not rest:
            raise NetworkError(f"network {spec!r} names nothing. Give one of {NETWORKS}.")
        return _OPENERS[kind](rest)
    bundled = bundled_networks()
    if spec in bundled:
        network = load_network(bundled[spec]).denoiser
        network.name = spec  # and not where the package happens to lie
        return network
    path = at_home(spec)
    if path.is_dir():
        path = path / WEIGHTS
    if not path.is_file():
        known = ", ".join(bundled) or "none"
        raise NetworkError(
            f"network {spec!r} is neither a file nor bundled (bundled: {known}). Give a "
            ".safetensors file, the folder that `sampler train` wrote, or one of "
            f"{', '.join(f'{name}:...' for name in _OPENERS)}."
        )
    return load_network(path).denoiser


def _from_python(source: str) -> NetworkDenoiser:
    """What a function of the user's own returns."""
    module, colon, name = source.rpartition(":")
    if not colon or not module or not name:
        raise NetworkError(
            f"python:{source} names no function. Give python:MODULE:FUNCTION, such as "
            "python:my_networks:denoiser for a file my_networks.py in this folder."
        )
    here = str(Path.cwd())
    sys.path.insert(0, here)  # as `python -m` does
    try:
        made = _made_by(module, name)
    finally:
        if here in sys.path:
            sys.path.remove(here)
    if not callable(made) or isinstance(made, nn.Module):
        raise NetworkError(
            f"python:{source} returned a {type(made).__name__}, which is no denoiser. Return a "
            "NoisePredictor, VelocityPredictor or DataPredictor of it, or a function (y, sigma) -> "
            "mean."
        )
    if isinstance(made, NetworkDenoiser):
        return made
    network = as_network(made)
    network.name = f"python:{source}"
    return network


def _made_by(module: str, name: str) -> object:
    """What a function of a module returns; what is no function or class itself."""
    try:
        home = importlib.import_module(module)
    except Exception as error:  # whatever its own code does
        raise NetworkError(
            f"module {module} cannot be imported ({type(error).__name__}: {reason(error)}). Give a "
            "module of this folder, or one that is installed."
        ) from error
    if not hasattr(home, name):
        raise NetworkError(
            f"module {module} has no {name}. Give a function that returns a denoiser."
        )
    factory = getattr(home, name)
    if not isinstance(factory, type | FunctionType | partial):
        return factory
    try:
        return factory()
    except Exception as error:
        raise NetworkError(
            f"{module}:{name}() failed ({type(error).__name__}: {reason(error)}). Give a function "
            "that takes no arguments and returns a denoiser."
        ) from error


def _from_paper(source: str) -> NetworkDenoiser:
    """A network of the paper's authors, with the scales that lie beside it."""
    path = at_home(source)
    network, beside = paper_checkpoint(path), scales_beside(path)
    network.scales = None if beside is None else paper_scales(beside)
    return network


_OPENERS: Mapping[str, Callable[[str], NetworkDenoiser]] = {
    "diffusers": DiffusersDenoiser.load,
    "paper": _from_paper,
    "edm": lambda source: edm_checkpoint(at_home(source)),
    "python": _from_python,
}
