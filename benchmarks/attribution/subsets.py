"""Networks that saw random halves of two classes of images, and their losses at generated ones."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor

from patchindex import ImageSet, UserError
from patchindex.paths import whole_file
from sampler import sample
from sampler.denoiser import Denoiser
from sampler.networks import WEIGHTS, Network, NetworkConfig, NetworkSizes, load_network
from sampler.noise import initial_noise
from sampler.schedule import alpha_bar, noise_level
from sampler.training import TrainConfig, TrainingJob, network_for, recipe, train_network

SAMPLING_STEPS, EMBEDDING = 20, 64
# streams of the seed, so that subsets, measuring noise and noise of shares are independent
SUBSETS, MEASURING, SHARES = range(3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What is measured.

    Attributes:
        classes: names of the two, `CLASS,CLASS` on the command line; none takes all images.
        per_class: images of each, the first ones.
        side: rows and columns that the images are resized to.
        networks: how many subsets; more may follow, of which each depends on its number alone.
        repeats: of how many of them another network is trained, from another seed.
        architecture: `resnet`, or `unet` with three scales of `width`, twice and four times as
            many channels, which sees the whole image.
        steps, batch_size, width, depth: of the training and of the network.
        generated: images of a network that saw everything, at which losses are measured.
        levels: times of the noise there.
        draws: of the noise of each generated image and level, for losses.
        share_draws: as many for shares.
        scales: patch sizes of the index.
    """

    dataset: str = "cifar10"
    classes: tuple[str, ...] = ("automobile", "horse")
    per_class: int = 50
    side: int = 16
    networks: int = 64
    repeats: int = 0
    architecture: str = "resnet"
    steps: int = 1000
    batch_size: int = 32
    width: int = 32
    depth: int = 6
    generated: int = 48
    levels: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    draws: int = 4
    share_draws: int = 1
    scales: tuple[int, ...] = (3, 5, 9)
    seed: int = 0


def two_classes(config: Config) -> ImageSet:
    """The first images of the classes, in the dataset's order.

    Raises:
        UserError: no such class, or no such images.
    """
    images = ImageSet.load(config.dataset, resolution=config.side)
    unknown = set(config.classes) - set(images.class_names)
    if unknown:
        raise UserError(
            f"{images.name} has no class {', '.join(sorted(unknown))}. Give two of "
            f"{', '.join(images.class_names)}."
        )
    numbers: list[int | None] = [images.class_names.index(name) for name in config.classes]
    chosen = np.sort(
        np.concatenate(
            [images.label_indices(number)[: config.per_class] for number in numbers or [None]]
        )
    )
    return only(images, chosen)


def only(images: ImageSet, chosen: Int[ndarray, " m"]) -> ImageSet:
    """Some of the images, without classes."""
    return replace(images, pixels=images.pixels[chosen], labels=None, names=None)


def members(number: int, num_images: int, seed: int) -> Bool[ndarray, " n"]:
    """Which images are in a subset: a random half, by the seed and the subset's number alone."""
    rng = np.random.default_rng([seed, SUBSETS, number])
    inside = np.zeros(num_images, dtype=np.bool_)
    inside[rng.permutation(num_images)[: num_images // 2]] = True
    return inside


def network_config(images: ImageSet, config: Config) -> NetworkConfig:
    """A network of the paper's kind, with fewer channels.

    Raises:
        NetworkError: no such architecture, or images that it cannot halve.
    """
    widths: tuple[int, ...] = (config.width,)
    if config.architecture != "resnet":
        widths = (config.width, 2 * config.width, 4 * config.width)
    like = network_for(images, config.architecture, "small", "zeros", conditional=False)
    sizes = NetworkSizes(widths=widths, depth=config.depth, embedding=EMBEDDING)
    return replace(like, sizes=sizes)


def training_config(config: Config, repeat: int) -> TrainConfig:
    """The same for all subsets: equal first weights, times and noise.

    What differs between two networks is then what they saw, and less what chance added. The moving
    average forgets within a twentieth of the steps.
    """
    return recipe(
        "small", 0, steps=config.steps, batch_size=config.batch_size, seed=config.seed + repeat,
        averaging=1 - 1 / max(2, config.steps / 20),
    )  # fmt: skip


def trained(folder: Path, images: ImageSet, config: Config, repeat: int = 0) -> Network:
    """The network of a folder, trained if it is not there yet, or to its end if it was cut.

    Args:
        images: all that it sees.
        repeat: 0 for the subset's own, higher for others on the same images.
    """
    job = TrainingJob(
        images=images,
        network=network_config(images, config),
        config=training_config(config, repeat),
        folder=folder,
    )
    train_network(job, device=torch.device("cpu"))
    return load_network(folder / WEIGHTS)


def generate(network: Network, images: ImageSet, config: Config) -> Float[ndarray, "g c h w"]:
    """Images that the network makes."""
    noise = initial_noise(config.generated, images, config.seed)
    made = sample(network.denoiser, noise, steps=SAMPLING_STEPS).images.clamp(-1, 1)
    generated: Float[ndarray, "g c h w"] = made.numpy()
    return generated


def noisy(
    generated: Float[Tensor, "g c h w"], level: float, draw: int, stream: int, seed: int
) -> tuple[Float[Tensor, "g c h w"], float]:
    """The images with a fixed draw of noise, in data units, and its sigma."""
    sigma = noise_level(alpha_bar(level, "cosine"))
    rng = np.random.default_rng([seed, stream, draw])
    eps = torch.from_numpy(rng.standard_normal(generated.shape, np.float32))
    return generated + sigma * eps, sigma


def losses(
    denoiser: Denoiser, generated: Float[Tensor, "g c h w"], config: Config
) -> Float[ndarray, "g l"]:
    """Diffusion loss at each image and level: the mean squared error of the predicted noise."""
    found = np.zeros((len(generated), len(config.levels)))
    for column, level in enumerate(config.levels):
        for draw in range(config.draws):
            y, sigma = noisy(generated, level, draw, MEASURING, config.seed)
            error = (denoiser(y, sigma) - generated).double().square().mean((1, 2, 3))
            found[:, column] += (error / sigma**2).numpy() / config.draws
    return found


def kept_array(path: Path, find: Callable[[], ndarray[Any, Any]]) -> ndarray[Any, Any]:
    """The array in a file, which is found and written whole if it is not there.

    Example:
        >>> kept_array(Path("squares.npy"), lambda: np.arange(10) ** 2)
    """
    if not path.exists():
        values = find()
        with whole_file(path) as partial, partial.open("wb") as file:
            np.save(file, values)
    loaded: ndarray[Any, Any] = np.load(path)
    return loaded
