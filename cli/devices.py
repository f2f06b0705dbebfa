"""The device that a command's options choose."""

from collections.abc import Callable
from functools import wraps
from math import isfinite
from typing import Any, get_args

import torch

from patchindex.choices import ListSearchKind, Precision
from patchindex.device import Device
from patchindex.kernels.backend import has_triton
from sampler.errors import SamplerConfigError

GIGABYTE = 1e9


def with_device(work: Callable[..., Any]) -> Callable[..., Any]:
    """The work, given the `Device` in place of the options that say what it is.

    Where an index is opened, `list_search_given` asks for who searches its lists.
    """

    @wraps(work)
    def opened(*, device: str, device_memory: float | None, precision: str, **settings: Any) -> Any:
        check_list_search(settings.pop("list_search", "auto"))
        memory = None if device_memory is None else memory_bytes(device_memory)
        chosen = checked_precision(precision)
        opened = open_device(device, memory=memory, precision=chosen, kernels=True)
        return work(device=opened, **settings)

    return opened


def open_device(
    name: str,
    *,
    memory: int | None = None,
    precision: Precision = "auto",
    kernels: bool = False,
) -> Device:
    """The device.

    Args:
        memory: bytes of images and lists that may stay there; None for the default.
        precision: of exact scans on a GPU.
        kernels: not torch alone computes there, but our kernels too; where these cannot, auto
            takes no GPU.

    Raises:
        SamplerConfigError: no such device, or none here.
    """
    if name == "auto":
        usable = torch.cuda.is_available() and (has_triton() or not kernels)
        return Device("cuda" if usable else "cpu", memory=memory, precision=precision)
    try:
        place = torch.device(name)
    except RuntimeError:
        place = None
    if place is None or place.type not in {"cpu", "cuda"}:
        raise SamplerConfigError(f"device is {name!r}. Give auto, cpu or cuda.")
    if place.type == "cpu":
        return Device(place, memory=memory, precision=precision)
    if (place.index or 0) >= torch.cuda.device_count():
        raise SamplerConfigError(
            f"device {name} was asked for, but torch finds {torch.cuda.device_count() or 'no'} GPU "
            "here. Give --device cpu."
        )
    everything = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    sharing = everything if place.index is None else ()
    return Device(place, memory=memory, sharing=sharing, precision=precision)


def checked_precision(name: str) -> Precision:
    """The precision of exact scans that is called so.

    Raises:
        SamplerConfigError: there is none.
    """
    for precision in get_args(Precision):
        if name == precision:
            return precision  # type: ignore[no-any-return] # one of them
    raise SamplerConfigError(
        f"precision is {name!r}. Give one of {', '.join(get_args(Precision))}."
    )


def check_list_search(name: str) -> None:
    """Refuse what searches no lists, also where a command opens no index.

    Raises:
        SamplerConfigError: there is none that is called so.
    """
    if name not in get_args(ListSearchKind):
        raise SamplerConfigError(
            f"list search is {name!r:.99}. Give one of these: "
            f"{', '.join(get_args(ListSearchKind))}."
        )


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
