"""Training images on their way to the devices that sum over them."""

from collections import deque
from collections.abc import Iterator, Sequence
from functools import cache

import torch
from jaxtyping import Int, UInt8
from torch import Tensor


def blocks_on(
    pixels: UInt8[Tensor, "n c h w"], devices: Sequence[torch.device], num_images: int
) -> Iterator[UInt8[Tensor, "m c h w"]]:
    """The images in blocks, on these devices in turn; the next blocks come while one is used."""
    coming: deque[Arriving] = deque()
    used: deque[torch.cuda.Event] = deque()
    for number, block in enumerate(pixels.split(num_images)):
        if len(used) > len(devices):
            # else a host that is ahead of its devices would fill their memory, and its own pinned
            used.popleft().synchronize()
        coming.append(Arriving(block, devices[number % len(devices)]))
        if len(coming) > len(devices):
            here = coming.popleft().tensor()
            yield here
            if here.is_cuda:
                used.append(torch.cuda.current_stream(here.device).record_event())
    for last in coming:
        yield last.tensor()


def chosen_on(
    pixels: UInt8[Tensor, "n c h w"], numbers: Int[Tensor, " m"], device: torch.device
) -> UInt8[Tensor, "m c h w"]:
    """The images with these numbers, on the device."""
    return Arriving(pixels[numbers.to(pixels.device)], device).tensor()


class Arriving:
    """A tensor that is copied to a device beside other work, if it is not there already."""

    def __init__(self, source: Tensor, device: torch.device) -> None:
        self._stream: torch.cuda.Stream | None = None
        if source.device == device or device.type != "cuda":
            self._tensor = source.to(device)
            return
        # only pinned memory is copied beside other work; torch keeps it until the copy is done
        pinned = source if source.is_cuda else source.pin_memory()
        self._stream = copy_stream(device)
        with torch.cuda.stream(self._stream):
            self._tensor = pinned.to(device, non_blocking=True)

    def tensor(self) -> Tensor:
        """The copy; work that is queued from now on waits for it."""
        if self._stream is not None:
            user = torch.cuda.current_stream(self._tensor.device)
            user.wait_stream(self._stream)
            self._tensor.record_stream(user)
        return self._tensor


@cache
def copy_stream(device: torch.device) -> torch.cuda.Stream:
    """The one stream of all copies: torch keeps the freed memory of each stream apart."""
    return torch.cuda.Stream(device)
