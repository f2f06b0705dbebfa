"""What each training image is said to have contributed to each generated one: ours, and others.

All are [g, n] or, by noise level, [l, g, n]; higher means more.
"""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from benchmarks.attribution.subsets import SHARES, Config, kept_array, noisy
from patchindex import ImageSet, IndexConfig, build_index
from patchindex.images import to_unit
from sampler import ELSMachine
from sampler.networks import Network
from sampler.schedule import alpha_bar

LISTED = 8  # sources of a pixel; image shares count more than these
BLOCK = 64  # images that a network is asked about at once
FEATURE_TIME = 0.1  # the little noise that the network believes to be in clean images


def image_shares(
    images: ImageSet, generated: Float[Tensor, "g c h w"], config: Config, work: Path
) -> dict[str, Float[ndarray, "l g n"]]:
    """Our image shares at each level, averaged over draws of noise; kept level by level.

    `named` are those of patches that a search over the index names; `exact` those of a machine
    that sums every patch, with its own patch size at each level, or with one at all.
    """
    index = build_index(images, IndexConfig(scales=config.scales), work / "index")
    exact = ELSMachine(index, exact=True)
    asked: dict[str, tuple[ELSMachine, int | None]] = {
        "named": (ELSMachine(index), None),
        "exact": (exact, None),
    } | {f"exact, P = {size}": (exact, size) for size in config.scales}
    return {
        f"patch shares, {kind}": np.stack(
            [
                kept_array(
                    work / f"{kind.replace(', P = ', '_P')}-{level:g}.npy",
                    partial(_shares_at, machine, size, generated, level, config),
                )
                for level in config.levels
            ]
        )
        for kind, (machine, size) in asked.items()
    }


def _shares_at(
    machine: ELSMachine,
    patch_size: int | None,
    generated: Float[Tensor, "g c h w"],
    level: float,
    config: Config,
) -> Float[ndarray, "g n"]:
    """Shares in the posteriors of the noisy images; None for the machine's own patch size."""
    num_images = len(machine.images)
    total = np.zeros((len(generated), num_images))
    for draw in range(config.share_draws):
        y, sigma = noisy(generated, level, draw, SHARES, config.seed)
        sources = machine.posterior_of(y, sigma, patch_size, num_sources=LISTED).sources
        if sources is None:
            raise AssertionError("a machine that was asked for sources names them")
        total += sources.image_shares.dense(num_images).numpy() / config.share_draws
    return total


def baselines(
    images: ImageSet, generated: Float[Tensor, "g c h w"], network: Network
) -> dict[str, Float[ndarray, "g n"]]:
    """Similarities that know no patches: of raw pixels, and of what a network makes of an image."""
    training = to_unit(np.asarray(images.pixels))
    return {
        "pixel L2": -torch.cdist(generated.flatten(1), training.flatten(1)).square().numpy(),
        "pixel cosine": cosine(generated.flatten(1), training.flatten(1)),
        "network feature cosine": cosine(features(network, generated), features(network, training)),
    }


def cosine(rows: Float[Tensor, "g d"], others: Float[Tensor, "n d"]) -> Float[ndarray, "g n"]:
    """Cosine of the angles between rows, from the mean of the others."""
    center = others.mean(0)
    first = torch.nn.functional.normalize(rows - center, dim=1)
    similarity: Float[ndarray, "g n"] = (
        first @ torch.nn.functional.normalize(others - center, dim=1).T
    ).numpy()
    return similarity


def features(network: Network, x0: Float[Tensor, "n c h w"]) -> Float[Tensor, "n w"]:
    """What the network's last layer sees of each image, averaged over the pixels."""
    seen: list[Tensor] = []
    last: torch.nn.Module = network.module.last  # type: ignore[assignment]  # a convolution
    hook = last.register_forward_pre_hook(lambda _, args: seen.append(args[0].mean((2, 3))))
    signal = alpha_bar(FEATURE_TIME, network.schedule) ** 0.5
    try:
        for block in x0.split(BLOCK):
            network.module(signal * block, torch.full((len(block),), FEATURE_TIME), None)
    finally:
        hook.remove()
    return torch.cat(seen).detach()
