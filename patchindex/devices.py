"""Where tensors live: names of devices, and a byte-budgeted LRU cache of index data on a GPU.

Kernels take their images and lists where they find them: resident ones are read at once, others are
copied to the device block by block. The budget is for what stays; the workspace of a step comes on
top of it, so that a share of the memory is left free.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import UInt8
from torch import Tensor

from patchindex.errors import KernelError
from patchindex.images import ImageSet

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


RESIDENT_SHARE = 0.7  # of the memory that is free when a device is first used

Kept = TypeVar("Kept")


@dataclass(frozen=True, slots=True, eq=False)
class Resident:
    """What lies on a device, its size, and whether it is training images."""

    num_bytes: int
    value: object
    images: bool


class DeviceMemory:
    """The ledger of one device.

    Attributes:
        budget: bytes that may stay there.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._kept: OrderedDict[Hashable, Resident] = OrderedDict()

    @property
    def used(self) -> int:
        """Bytes that stay there now."""
        return sum(resident.num_bytes for resident in self._kept.values())

    def keep(
        self, key: Hashable, num_bytes: int, load: Callable[[], Kept], *, images: bool = False
    ) -> Kept | None:
        """What `load` brought to the device, now or earlier; None if there is no room for it.

        What was not used for longest makes way, but images for nothing but images: every step
        needs them, and lists that drove them out would be driven out by them in turn.
        """
        if key not in self._kept:
            leaving = [other for other in self._kept if images or not self._kept[other].images]
            # lists go before images
            leaving.sort(key=lambda other: self._kept[other].images)
            staying = self.used - sum(self._kept[other].num_bytes for other in leaving)
            if staying + num_bytes > self.budget:
                return None
            while self.used + num_bytes > self.budget:
                del self._kept[leaving.pop(0)]
            self._kept[key] = Resident(num_bytes, load(), images)
        self._kept.move_to_end(key)
        kept: Kept = self._kept[key].value  # type: ignore[assignment] # a key has one kind of value
        return kept


_memories: dict[torch.device, DeviceMemory] = {}
_budgets: list[int] = []  # the one that the user gave, if any


def memory_of(device: torch.device) -> DeviceMemory:
    """The ledger of a device, made when it is first asked for."""
    if device not in _memories:
        _memories[device] = DeviceMemory(_budgets[0] if _budgets else default_budget(device))
    return _memories[device]


def default_budget(device: torch.device) -> int:
    """RESIDENT_SHARE of what is free; of a processor's memory nothing is kept twice."""
    if device.type != "cuda":
        return 0
    free, _ = torch.cuda.mem_get_info(device)
    return int(RESIDENT_SHARE * free)


def set_device_memory(num_bytes: int) -> None:
    """Let so many bytes of images and lists stay on each device; what stayed until now goes.

    Raises:
        KernelError: a negative number.
    """
    if num_bytes < 0:
        raise KernelError(
            f"device memory is {num_bytes} bytes. Give 0, to keep nothing there, or more."
        )
    _budgets[:] = [num_bytes]
    _memories.clear()


def images_on(
    images: ImageSet, device: torch.device, label: int | None = None
) -> UInt8[Tensor, "n c h w"]:
    """The pixels of all images, or of a class: on the device, or on the host if they do not fit.

    Raises:
        DatasetError: no image has the label.
    """
    if device.type == "cpu":
        return images.with_label(label).tensor
    num_bytes = len(images.label_indices(label)) * images.pixels[0].nbytes
    kept = memory_of(device).keep(
        (images, label),
        num_bytes,
        lambda: images.with_label(label).tensor.to(device),
        images=True,
    )
    return images.with_label(label).tensor if kept is None else kept
