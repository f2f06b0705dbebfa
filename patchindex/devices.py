"""Devices that tensors lie on: their names, who shares work, and when it is done."""

from collections.abc import Sequence

import torch

CPU = torch.device("cpu")
_sharing: list[torch.device] = []


def describe_device(device: torch.device) -> str:
    """Name for accounts, such as "cpu" or "cuda:0 NVIDIA H200"."""
    return str(device) if device.type == "cpu" else f"{device} {torch.cuda.get_device_name(device)}"


def wait_for(device: torch.device) -> None:
    """Return when the device has done all that was asked of it; only then has time a meaning."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def share_scans(devices: Sequence[torch.device]) -> None:
    """Let all these devices take part in exact scans for states on any of them; none ends it."""
    _sharing[:] = devices


def scan_devices(device: torch.device) -> list[torch.device]:
    """The devices that scan for states on this one: it alone, unless it shares."""
    return _sharing if device in _sharing else [device]
