"""The device that is measured: what it is, what it could do, and how long work takes there."""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import torch

from patchindex.device import wait_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """What limits a GPU.

    Attributes:
        clock_hz: the highest that its multiprocessors run at.
    """

    name: str
    memory_bytes: int
    multiprocessors: int
    clock_hz: float

    @property
    def slots_per_second(self) -> float:
        """Instructions that its warps can issue, four a clock and multiprocessor."""
        return 4 * self.multiprocessors * self.clock_hz


H200 = Chip(name="H200", memory_bytes=141_000_000_000, multiprocessors=132, clock_hz=1.98e9)


def chip_of(device: torch.device) -> Chip | None:
    """The GPU; None for a processor."""
    if device.type != "cuda":
        return None
    from triton.runtime import driver  # noqa: PLC0415 - needs a GPU

    facts = driver.active.utils.get_device_properties(device.index or 0)
    properties = torch.cuda.get_device_properties(device)
    return Chip(
        name=properties.name,
        memory_bytes=properties.total_memory,
        multiprocessors=properties.multi_processor_count,
        clock_hz=1e3 * facts["sm_clock_rate"],
    )


def seconds_of(run: Callable[[], object], device: torch.device, repeats: int) -> list[float]:
    """Seconds of each run, from an idle device to an idle device."""
    seconds = []
    for _ in range(repeats):
        wait_for(device)
        start = perf_counter()
        run()
        wait_for(device)
        seconds.append(perf_counter() - start)
    return seconds


def copied_bytes_per_second(device: torch.device, num_bytes: int) -> float:
    """Bytes read and written by the fastest of some copies within the device's memory."""
    source = torch.zeros(num_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    run = lambda: target.copy_(source)  # noqa: E731
    seconds_of(run, device, 1)
    return 2 * num_bytes / min(seconds_of(run, device, 5))
