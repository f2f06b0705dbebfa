"""Trained denoisers, to hold the theory's machines against."""

from sampler.networks.config import (
    NetworkConfig,
    NetworkSizes,
    Prediction,
    checked_choice,
    preset_sizes,
)
from sampler.networks.network import (
    Network,
    check_fit,
    make_network,
    matching_boundary,
    network_denoiser,
    num_parameters,
)
from sampler.networks.receptive_field import effective_width, gradient_map, receptive_field
from sampler.networks.weights import (
    DEFAULT_NETWORK,
    WEIGHTS,
    load_network,
    open_network,
    weight_file,
)

__all__ = [
    "DEFAULT_NETWORK",
    "WEIGHTS",
    "Network",
    "NetworkConfig",
    "NetworkSizes",
    "Prediction",
    "check_fit",
    "checked_choice",
    "effective_width",
    "gradient_map",
    "load_network",
    "make_network",
    "matching_boundary",
    "network_denoiser",
    "num_parameters",
    "open_network",
    "preset_sizes",
    "receptive_field",
    "weight_file",
]
