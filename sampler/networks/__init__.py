"""Trained denoisers, to hold the theory's machines against."""

from sampler.networks.adapters import NetworkDenoiser, as_network
from sampler.networks.asking import NetworkCallError
from sampler.networks.config import (
    NetworkConfig,
    NetworkSizes,
    Prediction,
    checked_choice,
    preset_sizes,
)
from sampler.networks.diffusers_model import DiffusersDenoiser
from sampler.networks.edm import EDMDenoiser, edm_checkpoint
from sampler.networks.network import (
    Network,
    check_fit,
    make_network,
    matching_boundary,
    num_parameters,
)
from sampler.networks.open import open_network
from sampler.networks.paper import paper_checkpoint, paper_scales, scales_beside
from sampler.networks.predictors import (
    DataPredictor,
    NoisePredictor,
    Predictor,
    VelocityPredictor,
)
from sampler.networks.receptive_field import effective_width, gradient_map, receptive_field
from sampler.networks.weights import (
    WEIGHTS,
    load_network,
    weight_file,
)

__all__ = [
    "WEIGHTS",
    "DataPredictor",
    "DiffusersDenoiser",
    "EDMDenoiser",
    "Network",
    "NetworkCallError",
    "NetworkConfig",
    "NetworkDenoiser",
    "NetworkSizes",
    "NoisePredictor",
    "Prediction",
    "Predictor",
    "VelocityPredictor",
    "as_network",
    "check_fit",
    "checked_choice",
    "edm_checkpoint",
    "effective_width",
    "gradient_map",
    "load_network",
    "make_network",
    "matching_boundary",
    "num_parameters",
    "open_network",
    "paper_checkpoint",
    "paper_scales",
    "preset_sizes",
    "receptive_field",
    "scales_beside",
    "weight_file",
]
