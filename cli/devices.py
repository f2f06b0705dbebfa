"""Which device a network runs on."""

import click
import torch

from sampler.errors import SamplerConfigError

device_option = click.option(
    "--device", metavar="auto|cpu|cuda", default="auto", show_default=True,
    help="Where the network runs; auto takes a GPU if there is one.",
)  # fmt: skip


def open_device(name: str) -> torch.device:
    """The device.

    Raises:
        SamplerConfigError: no such device, or none here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in {"cpu", "cuda"}:
        raise SamplerConfigError(f"device is {name!r}. Give auto, cpu or cuda.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SamplerConfigError(
            f"device {name} was asked for, but torch finds {torch.cuda.device_count() or 'no'} GPU "
            "here. Give --device cpu."
        )
    return device
