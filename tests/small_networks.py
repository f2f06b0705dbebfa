"""Networks that train in a second, and real images of eight pixels a side to train them on."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from patchindex import ImageSet
from sampler.networks import Network, NetworkConfig, NetworkSizes, make_network
from sampler.training import TrainConfig, TrainingJob

SIDE = 8


def network_config(
    architecture: str = "resnet",
    padding: str = "zeros",
    *,
    widths: tuple[int, ...] = (12,),
    depth: int = 1,
    side: int = SIDE,
    channels: int = 1,
    num_classes: int = 0,
) -> NetworkConfig:
    return NetworkConfig(
        architecture=architecture,
        padding=padding,
        channels=channels,
        height=side,
        width=side,
        sizes=NetworkSizes(widths=widths, depth=depth, embedding=10),
        num_classes=num_classes,
    )


def random_network(config: NetworkConfig, seed: int = 0) -> Network:
    """With weights that matter everywhere: a fresh network predicts no noise at all."""
    module = make_network(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
            parameter.normal_(generator=generator).mul_(fan_in**-0.5)
    return Network(module.requires_grad_(requires_grad=False), config)


def few_images(num: int = 48) -> ImageSet:
    """The first bundled images, labelled, shrunk."""
    return ImageSet.load("sample", limit=num, resolution=SIDE)


def small_job(
    folder: Path, images: ImageSet, network: NetworkConfig | None = None, **settings: Any
) -> TrainingJob:
    """Twelve steps with a checkpoint at every third."""
    config = {"steps": 12, "batch_size": 8, "save_every": 3, "learning_rate": 1e-2}
    return TrainingJob(
        images=images,
        network=network or network_config(),
        config=TrainConfig(**(config | {"precision": "float32"} | settings)),
        folder=folder,
    )


def equal_weights(one: nn.Module, other: nn.Module) -> bool:
    """Bit for bit."""
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(ours[name].equal(theirs[name]) for name in ours)


class InterruptAt:
    """A progress callback that stops training at its n-th call; counts the steps told."""

    def __init__(self, call: int) -> None:
        self.left = call
        self.done: list[int] = []

    def __call__(self, _stage: str, done: int, _total: int) -> None:
        self.done.append(done)
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
