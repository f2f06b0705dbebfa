"""Initial noise: seeded one sample at a time, so that a sample is the same in any batch."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from patchindex import ImageSet
from patchindex.npy import read_npy
from sampler.errors import SamplerConfigError


def initial_noise(num: int, images: ImageSet, seed: int) -> Float[Tensor, "b c h w"]:
    """Standard normal states at t = 1; sample i depends on (seed, i) alone.

    Raises:
        SamplerConfigError: no sample is asked for, or the seed is negative.
    """
    if num < 1:
        raise SamplerConfigError(f"num is {num}. Give at least 1 sample.")
    if seed < 0:
        raise SamplerConfigError(f"seed is {seed}. Give a whole number, 0 or more.")
    shape = (images.channels, images.height, images.width)
    samples = [np.random.default_rng([seed, i]).standard_normal(shape, "f4") for i in range(num)]
    return torch.from_numpy(np.stack(samples))


def load_noise(path: Path, images: ImageSet) -> Float[Tensor, "b c h w"]:
    """Noise [b, c, h, w] from a .npy file.

    Raises:
        SamplerConfigError: the file cannot be read, has another shape, or values that are not
            finite.
    """
    try:
        noise = read_npy(path)
    except (OSError, ValueError) as error:
        raise SamplerConfigError(
            f"noise file {path} cannot be read ({error}). Give a .npy file of float32 numbers."
        ) from error
    shape = (images.channels, images.height, images.width)
    if noise.ndim != 4 or noise.shape[1:] != shape:
        raise SamplerConfigError(
            f"noise file {path} has shape {noise.shape}, but the images are "
            f"{'x'.join(map(str, shape))}. Give shape [samples, {', '.join(map(str, shape))}]."
        )
    if not np.issubdtype(noise.dtype, np.floating) or not len(noise):
        raise SamplerConfigError(
            f"noise file {path} holds {len(noise)} samples of {noise.dtype}. "
            "Give at least one sample of standard normal float32 numbers."
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
        values = noise.astype(np.float32)
    if not np.isfinite(values).all():
        raise SamplerConfigError(
            f"noise file {path} holds values that are not finite (nan or inf). "
            "Give finite numbers; noise is standard normal."
        )
    return torch.from_numpy(values)
