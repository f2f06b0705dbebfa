"""Initial noise: seeded one sample at a time, so that a sample is the same in any batch."""

from math import prod
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from patchindex import ImageSet
from patchindex.environment import main_memory
from patchindex.npy import read_npy
from sampler.errors import SamplerConfigError

LARGEST_SEED = 2**64 - 1
STATES_HELD = 4  # the noise, a step's state and mean, and the state that it leads to


def initial_noise(num: int, images: ImageSet, seed: int) -> Float[Tensor, "b c h w"]:
    """Standard normal states at t = 1; sample i depends on (seed, i) alone.

    Raises:
        SamplerConfigError: no sample is asked for, more than fit into memory, or the seed is out of
            range.
    """
    check_num(num)
    check_seed(seed)
    shape = (images.channels, images.height, images.width)
    _check_memory(num, shape)
    try:
        samples = np.empty((num, *shape), np.float32)
    except (MemoryError, OverflowError, ValueError):  # the latter beyond any address
        raise _too_many(num, shape, "there is not so much") from None
    for i in range(num):
        np.random.default_rng([seed, i]).standard_normal(dtype=np.float32, out=samples[i])
    return torch.from_numpy(samples)


def check_num(num: int) -> None:
    """Raise SamplerConfigError unless there can be so many samples."""
    if num < 1:
        raise SamplerConfigError(f"num is {num}. Give at least 1 sample.")


def check_seed(seed: int) -> None:
    """Raise SamplerConfigError unless the number can be a seed."""
    if not 0 <= seed <= LARGEST_SEED:
        raise SamplerConfigError(
            f"seed is {seed}. Give a whole number, 0 or more, of at most {LARGEST_SEED}."
        )


def _check_memory(num: int, shape: tuple[int, ...]) -> None:
    """Raise SamplerConfigError if the states of a run are sure not to fit into memory."""
    there = main_memory()
    if there is not None and _state_bytes(num, shape) > there:
        raise _too_many(num, shape, f"this machine has {there / 1e9:,.1f} GB")


def _too_many(num: int, shape: tuple[int, ...], there: str) -> SamplerConfigError:
    """The error of more samples than fit into memory."""
    needed = _state_bytes(num, shape) / 1e9
    return SamplerConfigError(
        f"num is {num}: so many samples of {'x'.join(map(str, shape))} need {needed:,.1f} GB "
        f"of memory at the least, but {there}. Give fewer, and other seeds for the rest."
    )


def _state_bytes(num: int, shape: tuple[int, ...]) -> int:
    """Bytes of the states that a run holds at once."""
    return STATES_HELD * num * prod(shape) * np.dtype(np.float32).itemsize


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
