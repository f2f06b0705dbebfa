"""Trained denoisers, to hold the theory's machines against."""

from sampler.networks.config import NetworkConfig, NetworkSizes, preset_sizes
from sampler.networks.network import Network, make_network, network_denoiser, num_parameters
from sampler.networks.receptive_field import receptive_field
from sampler.networks.weights import load_network, weight_file

__all__ = [
    "Network",
    "NetworkConfig",
    "NetworkSizes",
    "load_network",
    "make_network",
    "network_denoiser",
    "num_parameters",
    "preset_sizes",
    "receptive_field",
    "weight_file",
]
