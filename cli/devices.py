"""Which device a command computes on, and how much of its memory it may keep."""

from collections.abc import Callable
from functools import wraps
from math import isfinite
from typing import Any

import click
import torch

from patchindex.device_memory import set_device_memory
from patchindex.devices import share_scans
from patchindex.kernels.backend import has_triton
from sampler.errors import SamplerConfigError

GIGABYTE = 1e9

device_option = click.option(
    "--device", metavar="auto|cpu|cuda[:N]", default="auto", show_default=True,
    help="Where to compute; auto takes a GPU if there is one, cuda shares exact scans among all.",
)  # fmt: skip
memory_option = click.option(
    "--device-memory", type=float, metavar="GB",
    help="Images and lists that may stay on the GPU; the rest is streamed. "
    "[default: 70 % of what is free]",
)  # fmt: skip


def device_options(command: Callable[..., None]) -> Callable[..., None]:
    """Both options; the command is given the torch.device, and memory is shared out before."""

    @wraps(command)
    def opened(*, device: str, device_memory: float | None, **settings: Any) -> None:
        if device_memory is not None:
            set_device_memory(memory_bytes(device_memory))
        command(device=open_device(device, kernels=True), **settings)

    return device_option(memory_option(opened))


def open_device(name: str, *, kernels: bool = False) -> torch.device:
    """The device.

    Args:
        kernels: not torch alone computes there, but our kernels too; where these cannot, auto
            takes no GPU.

    Raises:
        SamplerConfigError: no such device, or none here.
    """
    if name == "auto":
        usable = torch.cuda.is_available() and (has_triton() or not kernels)
        return torch.device("cuda", 0) if usable else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in {"cpu", "cuda"}:
        raise SamplerConfigError(f"device is {name!r}. Give auto, cpu or cuda.")
    if device.type == "cpu":
        return device
    shared, device = device.index is None, torch.device("cuda", device.index or 0)
    if device.index >= torch.cuda.device_count():
        raise SamplerConfigError(
            f"device {name} was asked for, but torch finds {torch.cuda.device_count() or 'no'} GPU "
            "here. Give --device cpu."
        )
    everything = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    share_scans(everything if shared else [])
    return device


def memory_bytes(gigabytes: float) -> int:
    """So many gigabytes of device memory.

    Raises:
        SamplerConfigError: a negative number, or none at all.
    """
    if not (isfinite(gigabytes) and gigabytes >= 0):
        raise SamplerConfigError(
            f"device memory is {gigabytes:g} GB. Give 0, to keep nothing on the GPU, or more."
        )
    return round(gigabytes * GIGABYTE)
