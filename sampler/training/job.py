"""What is trained, on what and how: checked before any work."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patchindex import ImageSet
from sampler.errors import NetworkError
from sampler.networks import NetworkConfig, preset_sizes
from sampler.networks.config import Prediction
from sampler.training.recipe import TrainConfig

LARGEST_NUM_CLASSES = 10**6
# noise as published; velocity where few steps must do
PREDICTIONS: dict[str, Prediction] = {"paper": "noise", "small": "velocity"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingJob:
    """What is trained, on what, how, and where the result goes.

    Raises:
        NetworkError: images that do not suit the network or the recipe.
    """

    images: ImageSet
    network: NetworkConfig
    config: TrainConfig
    folder: Path

    def __post_init__(self) -> None:
        check_images(self.images, self.network, self.config)

    def key(self) -> dict[str, Any]:
        """All that decides the result; equal keys mean the same training."""
        return {
            "network": self.network.values(),
            "training": self.config.values(),
            "images": self.images.sha256,
        }


def network_for(
    images: ImageSet, architecture: str, preset: str, padding: str, *, conditional: bool
) -> NetworkConfig:
    """A network of a preset's sizes that suits the images.

    Raises:
        NetworkError: no such network, images that it cannot halve, or no labels for
            `conditional`, or larger ones than classes can have.
    """
    if conditional and images.labels is None:
        raise NetworkError(
            f"the images of {images.name} have no labels to train a conditional network with. "
            "Leave out --conditional, or give images with labels."
        )
    if conditional and images.num_classes > LARGEST_NUM_CLASSES:
        raise NetworkError(
            f"labels of {images.name} run to {images.num_classes - 1}, and every number up to it "
            f"would be a class with weights of its own. Number at most {LARGEST_NUM_CLASSES:,} "
            "classes from 0 on, or leave out --conditional."
        )
    return NetworkConfig(
        sizes=preset_sizes(architecture, preset),
        architecture=architecture,  # type: ignore[arg-type]  # checked where it is stored
        padding=padding,  # type: ignore[arg-type]  # as above
        channels=images.channels,
        height=images.height,
        width=images.width,
        num_classes=images.num_classes if conditional else 0,
        prediction=PREDICTIONS[preset],
    )


def check_images(images: ImageSet, network: NetworkConfig, config: TrainConfig) -> None:
    """Raise NetworkError unless the network can learn from these images by this recipe."""
    shape = (images.channels, images.height, images.width)
    if shape != network.image_shape:
        raise NetworkError(
            f"the network is made for images of {network.image_shape}, but those of {images.name} "
            f"are {shape}. Give a network of their shape."
        )
    if len(images) < config.batch_size:
        raise NetworkError(
            f"{images.name} has {len(images)} images, fewer than a batch of {config.batch_size}. "
            f"Give a --batch-size of at most {len(images)}, or more images."
        )
    if network.num_classes and not 0 < images.num_classes <= network.num_classes:
        raise NetworkError(
            f"the network knows {network.num_classes} classes, but {images.name} has "
            f"{images.num_classes}. Give a network for as many."
        )
