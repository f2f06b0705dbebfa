"""Where states are computed, and the training data that is kept there or streamed there.

Kernels take their images and lists where they find them: resident ones are read at once, others are
copied to the device block by block. The budget is for what stays; the workspace of a step comes on
top of it, so that a share of the memory is left free.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache, cached_property, partial
from typing import Any, Generic, TypeVar, get_args

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from patchindex.choices import Precision
from patchindex.errors import KernelError

CPU = torch.device("cpu")
RESIDENT_SHARE = 0.7  # of the memory that is free when a device is first used

Kept = TypeVar("Kept")


def describe_device(place: torch.device) -> str:
    """Name for people and results, such as "cpu" or "cuda:0 NVIDIA H200"."""
    return str(place) if place.type == "cpu" else f"{place} {torch.cuda.get_device_name(place)}"


def wait_for(place: torch.device) -> None:
    """Return when the device has done all that was asked of it; only then has time a meaning."""
    if place.type == "cuda":
        torch.cuda.synchronize(place)


@dataclass(frozen=True, slots=True, eq=False)
class _Resident:
    """What lies on a device, its size, and whether it is training images."""

    num_bytes: int
    value: object
    images: bool


class Device:
    """A torch device with a byte-budgeted LRU cache of training images and inverted lists.

    Image sets and indices hold one, so that whoever computes with them need not be told: it is made
    once, given to `ImageSet.with_device` or `PatchIndex.open`, and asked by those who copy data.
    What holds the same one shares its budget; what is given none shares `default_device`. States
    may lie on any torch device, as `at` knows the `Device` of each.

        device = Device("cuda:1", memory=8 * 10**9)
        machine = ELSMachine(PatchIndex.open(path, device=device))
        machine.posterior(xt.to(device.place), 0.5, 9)

    Args:
        place: torch device, or its name.
        memory: bytes of images and lists that may stay there; None for 70 % of what is free when
            it is first used, and for nothing on the processor, whose memory holds them already.
        sharing: torch devices that all take part in exact scans for states on any of them.
        precision: `float32` keeps exact scans on a GPU from its tensor cores; see
            `patchindex.kernels.exact_scan`.

    Raises:
        KernelError: memory is negative, or there is no such precision.
    """

    def __init__(
        self,
        place: torch.device | str = CPU,
        *,
        memory: int | None = None,
        sharing: Sequence[torch.device] = (),
        precision: Precision = "auto",
    ) -> None:
        if memory is not None and memory < 0:
            raise KernelError(
                f"device memory is {memory} bytes. Give 0, to keep nothing there, or more."
            )
        if precision not in get_args(Precision):
            raise KernelError(
                f"precision is {precision!r}. Give one of {', '.join(get_args(Precision))}."
            )
        self.place, self.precision = _numbered(torch.device(place)), precision
        self._memory, self._sharing = memory, tuple(sharing)
        self._kept: OrderedDict[Hashable, _Resident] = OrderedDict()
        self._places = {self.place: self}  # of this and of all that were made by `at`

    def __repr__(self) -> str:
        return f"Device({str(self.place)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what it is, not what is kept there."""
        if self is default_device():
            return default_device, ()
        settings = partial(
            Device, memory=self._memory, sharing=self._sharing, precision=self.precision
        )
        return settings, (self.place,)

    def at(self, place: torch.device) -> "Device":
        """The device where these states lie: itself, or one with the same settings."""
        place = _numbered(place)
        if place not in self._places:
            other = Device(
                place, memory=self._memory, sharing=self._sharing, precision=self.precision
            )
            other._places = self._places
            self._places[place] = other
        return self._places[place]

    @property
    def scanning(self) -> tuple[torch.device, ...]:
        """The torch devices that scan for states on this one: it alone, unless it shares."""
        return self._sharing if self.place in self._sharing else (self.place,)

    @cached_property
    def budget(self) -> int:
        """Bytes that may stay there."""
        return default_budget(self.place) if self._memory is None else self._memory

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
        if not self.has_room(key, num_bytes, images=images):
            return None
        if key not in self._kept:
            leaving = self._movable(images=images)
            while self.used + num_bytes > self.budget:
                del self._kept[leaving.pop(0)]
            self._kept[key] = _Resident(num_bytes, load(), images)
        self._kept.move_to_end(key)
        kept: Kept = self._kept[key].value  # type: ignore[assignment] # a key has one kind of value
        return kept

    def has_room(self, key: Hashable, num_bytes: int, *, images: bool = False) -> bool:
        """Whether `keep` would have it there."""
        movable = sum(self._kept[other].num_bytes for other in self._movable(images=images))
        return key in self._kept or self.used - movable + num_bytes <= self.budget

    def _movable(self, *, images: bool) -> list[Hashable]:
        """What may make way, in the order in which it does; lists go before images."""
        movable = [other for other in self._kept if images or not self._kept[other].images]
        return sorted(movable, key=lambda other: self._kept[other].images)


@cache
def default_device() -> Device:
    """The one of all image sets and indices that are given none: a process has each GPU once."""
    return Device()


def _numbered(place: torch.device) -> torch.device:
    """The same device as the tensors that lie there name it."""
    unnumbered = place.type == "cuda" and place.index is None
    return torch.device("cuda", 0) if unnumbered else place


def default_budget(place: torch.device) -> int:
    """RESIDENT_SHARE of what is free; of a processor's memory nothing is kept twice."""
    if place.type != "cuda":
        return 0
    free, _ = torch.cuda.mem_get_info(place)
    return int(RESIDENT_SHARE * free)


def blocks_on(
    pixels: UInt8[Tensor, "n c h w"], device: torch.device, num_images: int
) -> Iterator[UInt8[Tensor, "m c h w"]]:
    """The images in blocks, on a device; the next block comes while one is used."""
    coming: deque[PendingCopy] = deque()
    used: deque[torch.cuda.Event] = deque()
    for block in pixels.split(num_images):
        if len(used) > 1:
            # else a host that is ahead of its device would fill its memory, and its own pinned
            used.popleft().synchronize()
        coming.append(PendingCopy(block, device))
        if len(coming) > 1:
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
    return PendingCopy(pixels[numbers.to(pixels.device)], device).tensor()


class PendingCopy:
    """A tensor that is copied to a device beside other work, if it is not there already."""

    def __init__(self, source: Tensor, device: torch.device) -> None:
        self._stream: torch.cuda.Stream | None = None
        if source.device == device or device.type != "cuda":
            self._tensor = source.to(device)
            return
        # only pinned memory is copied beside other work; torch keeps it until the copy is done
        pinned = source if source.is_cuda else source.pin_memory()
        self._stream = _copy_stream(device)
        with torch.cuda.stream(self._stream):
            self._tensor = pinned.to(device, non_blocking=True)

    def tensor(self) -> Tensor:
        """The copy; work that is queued from now on waits for it."""
        if self._stream is not None:
            user = torch.cuda.current_stream(self._tensor.device)
            user.wait_stream(self._stream)
            self._tensor.record_stream(user)
        return self._tensor


class PendingWork(Generic[Kept]):
    """Work that a device does beside what is queued after it, on a stream of its own.

    Example:
        >>> sums = PendingWork(lambda: exact_scan(pixels, y, sigma, geometry), y.device)
        >>> sums.result()  # after other work was queued
    """

    def __init__(self, work: Callable[[], Kept], device: torch.device) -> None:
        self._stream: Any = None  # a torch.cuda.Stream
        if device.type != "cuda":
            self._done = work()
            return
        self._stream, self._device = _work_stream(device), device
        self._stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(self._stream):
            self._done = work()

    def result(self) -> Kept:
        """What the work gave; work that is queued from now on waits for it."""
        if self._stream is not None:
            user = torch.cuda.current_stream(self._device)
            user.wait_stream(self._stream)
            for tensor in _tensors_in(self._done):
                tensor.record_stream(user)
        return self._done


def _tensors_in(held: object) -> Iterator[Tensor]:
    """All tensors that lists and dataclasses hold."""
    if isinstance(held, Tensor):
        yield held
    elif isinstance(held, list | tuple):
        for part in held:
            yield from _tensors_in(part)
    elif is_dataclass(held):
        for each in fields(held):
            yield from _tensors_in(getattr(held, each.name))


@cache
def _work_stream(device: torch.device) -> Any:
    """The one stream of all work that is done beside other work."""
    return torch.cuda.Stream(device)


@cache
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    """The one stream of all copies: torch keeps the freed memory of each stream apart."""
    return torch.cuda.Stream(device)
