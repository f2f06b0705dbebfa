"""Training the networks that the theory is compared with."""

from sampler.training.job import TrainingJob, network_for
from sampler.training.recipe import TrainConfig, recipe
from sampler.training.run import Stopped, Training, train_network
from sampler.training.steps import Watch

__all__ = [
    "Stopped",
    "TrainConfig",
    "Training",
    "TrainingJob",
    "Watch",
    "network_for",
    "recipe",
    "train_network",
]
