"""Devices that tensors lie on: their names, and when their work is done."""

import torch

CPU = torch.device("cpu")


def describe_device(device: torch.device) -> str:
    """Name for accounts, such as "cpu" or "cuda:0 NVIDIA H200"."""
    return str(device) if device.type == "cpu" else f"{device} {torch.cuda.get_device_name(device)}"


def wait_for(device: torch.device) -> None:
    """Return when the device has done all that was asked of it; only then has time a meaning."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
