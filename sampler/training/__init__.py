"""Training the networks that the theory is compared with."""

from sampler.training.loop import Metric, MetricCallback
from sampler.training.recipe import TrainConfig, recipe
from sampler.training.run import Stopped, Training, train_network
from sampler.training.steps import TrainingJob, Watch, network_for

__all__ = [
    "Metric",
    "MetricCallback",
    "Stopped",
    "TrainConfig",
    "Training",
    "TrainingJob",
    "Watch",
    "network_for",
    "recipe",
    "train_network",
]
