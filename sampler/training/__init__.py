"""Training the networks that the theory is compared with."""

from sampler.training.recipe import TrainConfig, recipe
from sampler.training.run import Training, TrainingJob, network_for, train_network

__all__ = ["TrainConfig", "Training", "TrainingJob", "network_for", "recipe", "train_network"]
