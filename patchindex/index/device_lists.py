"""Inverted lists on a device: a scale stays there if it fits, else visited lists pass through."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from torch import Tensor

from patchindex.device_memory import memory_of
from patchindex.images import shared_tensor
from patchindex.index.search import ScaleArrays
from patchindex.index.trained import CODE_LEVELS
from patchindex.kernels.streaming import Arriving
from patchindex.kernels.triton_lists import DeviceLists

LOAD_BYTES = 2**26  # pinned at once on the way to stay
GROUP_BYTES = 2**28  # of lists that pass through, but for the last list; two groups are there


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ListGroup:
    """Lists that lie on the device together.

    Attributes:
        lists: that each query visits, as positions in `inverted`; -1 for none.
        width: the most codes that a query visits.
    """

    inverted: DeviceLists
    lists: Int[Tensor, "q nprobe"]
    width: int


def groups_on_device(arrays: ScaleArrays, lists: Int[Tensor, "q nprobe"]) -> Iterator[ListGroup]:
    """Every visited list, where the visits lie: all at once, or in groups in the order of lists."""
    device = lists.device
    whole = memory_of(device).keep(
        (arrays, "lists"), list_bytes(arrays), lambda: whole_lists(arrays, device)
    )
    if whole is None:
        yield from passing_groups(arrays, lists)
    elif lists.numel():
        sizes = whole.offsets.diff()[lists.clamp(min=0)].where(lists >= 0, 0)
        yield ListGroup(inverted=whole, lists=lists, width=int(sizes.sum(1).max()))


def list_bytes(arrays: ScaleArrays) -> int:
    """What all lists of a scale take on a device."""
    return int(arrays.codes.nbytes + arrays.ids.nbytes + arrays.offsets.nbytes)


def whole_lists(arrays: ScaleArrays, device: torch.device) -> DeviceLists:
    """All lists of a scale, copied through pinned memory."""
    arrays.check(np.arange(len(arrays.count)))
    ids = copied(id_bytes(arrays.ids), device)
    return DeviceLists(
        codes=copied(arrays.codes, device),
        ids=ids.view(signed_type(arrays.ids)),
        offsets=torch.from_numpy(np.array(arrays.offsets)).to(device),
        **code_values(arrays, device),
    )


def passing_groups(arrays: ScaleArrays, lists: Int[Tensor, "q nprobe"]) -> Iterator[ListGroup]:
    """The visited lists, read from disk group by group while the one before is searched."""
    visits = lists.cpu().numpy()
    wanted = np.unique(visits[visits >= 0])
    bytes_each = np.asarray(arrays.count)[wanted] * (arrays.codes[:1].nbytes + arrays.ids.itemsize)
    starts = np.flatnonzero(np.diff((bytes_each.cumsum() - bytes_each) // GROUP_BYTES)) + 1
    coming: list[PassingLists] = []
    for numbers in np.split(wanted, starts) if len(wanted) else []:
        coming.append(PassingLists(arrays, numbers, lists.device))
        if len(coming) > 1:
            yield coming.pop(0).group(visits)
    for last in coming:
        yield last.group(visits)


class PassingLists:
    """Some lists on their way to a device."""

    def __init__(
        self, arrays: ScaleArrays, numbers: Int[ndarray, " m"], device: torch.device
    ) -> None:
        arrays.check(numbers)
        places = [slice(*arrays.offsets[number : number + 2]) for number in numbers]
        ids = np.concatenate([arrays.ids[place] for place in places])
        codes = np.concatenate([arrays.codes[place] for place in places])
        self._arrays, self._numbers, self._device = arrays, numbers, device
        self._codes = Arriving(torch.from_numpy(codes), device)
        self._ids = Arriving(torch.from_numpy(id_bytes(ids)), device)

    def group(self, visits: Int[ndarray, "q nprobe"]) -> ListGroup:
        """They, once they are there, and the visits to them."""
        at = np.searchsorted(self._numbers, visits).clip(max=len(self._numbers) - 1)
        lists = np.where(self._numbers[at] == visits, at, -1)
        sizes = np.asarray(self._arrays.count)[self._numbers]
        width = np.where(lists >= 0, sizes[lists], 0).sum(axis=1).max()
        return ListGroup(
            inverted=DeviceLists(
                codes=self._codes.tensor(),
                ids=self._ids.tensor().view(signed_type(self._arrays.ids)),
                offsets=on(np.concatenate([[0], sizes.cumsum()]), self._device),
                **code_values(self._arrays, self._device),
            ),
            lists=on(lists, self._device),
            width=int(width),
        )


def code_values(arrays: ScaleArrays, device: torch.device) -> dict[str, Float[Tensor, " r"]]:
    """What code 0 stands for, and how far the next is."""
    span = arrays.code_span.astype(np.float64)
    first = (arrays.code_min + span / (2 * CODE_LEVELS)).astype(np.float32)
    step = (span / CODE_LEVELS).astype(np.float32)
    return {"code_first": on(first, device), "code_step": on(step, device)}


def id_bytes(ids: ndarray) -> UInt8[ndarray, " bytes"]:
    """The ids as bytes: torch can do little with unsigned numbers of 4 or 8."""
    found: UInt8[ndarray, " bytes"] = np.asarray(ids).view(np.uint8)
    return found


def signed_type(ids: ndarray) -> torch.dtype:
    """The signed type of the same width."""
    return torch.int32 if ids.itemsize == 4 else torch.int64


def copied(array: UInt8[ndarray, "p *rest"], device: torch.device) -> UInt8[Tensor, "p *rest"]:
    """An array on the device, whose blocks are read while the one before is copied."""
    source = shared_tensor(array)
    target = torch.empty(source.shape, dtype=torch.uint8, device=device)
    step = max(1, LOAD_BYTES // max(1, source[:1].numel()))
    for to, block in zip(target.split(step), source.split(step), strict=True):
        to.copy_(block.pin_memory() if device.type == "cuda" else block, non_blocking=True)
    return target


def on(array: ndarray, device: torch.device) -> Tensor:
    """A small array on the device."""
    return torch.from_numpy(array).to(device)
