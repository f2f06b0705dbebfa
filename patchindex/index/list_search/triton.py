"""List search on a GPU: lists stay there or pass through; Triton ranks their codes.

Of equal distances the patch that lies first on disk is nearer, which in a list is the one with the
smaller id. Rank and place are one number, so that no two are equal and every run finds the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from torch import Tensor

from patchindex.device import Device, PendingCopy
from patchindex.index.scale import IndexLists, ScaleArrays
from patchindex.index.trained import CODE_LEVELS
from patchindex.kernels.nearest_codes import nearest_ranks
from patchindex.kernels.triton_lists import (
    MIDDLE,
    MOST_PLACES,
    NONE,
    DeviceLists,
    ListQueries,
    QueryDigits,
    aligned,
    code_norms,
)

ID_BYTES, NORM_BYTES = 8, 4
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


def groups_on_device(
    arrays: ScaleArrays, lists: Int[Tensor, "q nprobe"], device: Device
) -> Iterator[ListGroup]:
    """Every visited list, where the visits lie: all at once, or in groups in the order of lists."""
    whole = None
    if arrays.offsets[-1] < MOST_PLACES:
        whole = device.keep(
            (arrays, "lists"), list_bytes(arrays), lambda: whole_lists(arrays, lists.device)
        )
    if whole is None:
        yield from passing_groups(arrays, lists)
    elif lists.numel():
        sizes = whole.offsets.diff()[lists.clamp(min=0)].where(lists >= 0, 0)
        yield ListGroup(inverted=whole, lists=lists, width=int(sizes.sum(1).max()))


def list_bytes(arrays: ScaleArrays) -> int:
    """What all lists of a scale take on a device, with ids of 8 bytes."""
    members, nlist = int(arrays.offsets[-1]), len(arrays.count)
    return members * code_bytes(arrays) + ID_BYTES * (nlist + 1)


def code_bytes(arrays: ScaleArrays) -> int:
    """What a code takes on a device, with its norm and id."""
    return aligned(len(arrays.pca)) + NORM_BYTES + ID_BYTES


def whole_lists(arrays: ScaleArrays, device: torch.device) -> DeviceLists:
    """All lists of a scale, of which some at a time are read and copied."""
    members, dims = int(arrays.offsets[-1]), len(arrays.pca)
    ids = torch.empty(members, dtype=torch.int64, device=device)
    codes = torch.zeros((members, aligned(dims)), dtype=torch.uint8, device=device)
    for numbers in list_groups(arrays, np.arange(len(arrays.count)), LOAD_BYTES):
        place = slice(int(arrays.offsets[numbers[0]]), int(arrays.offsets[numbers[-1] + 1]))
        parts = zip((ids, codes[:, :dims]), arrays.read_lists(numbers), strict=True)
        for target, values in parts:
            source = torch.from_numpy(values)
            on_gpu = device.type == "cuda"
            target[place].copy_(source.pin_memory() if on_gpu else source, non_blocking=True)
    return device_lists(arrays, codes, ids, on(arrays.offsets, device))


def device_lists(
    arrays: ScaleArrays,
    codes: UInt8[Tensor, "p stride"],
    ids: Int[Tensor, " p"],
    offsets: Int[Tensor, " lists_plus_1"],
) -> DeviceLists:
    """Lists of a scale that lie on a device, and what their codes stand for."""
    span = arrays.code_span.astype(np.float64)
    step = on(span / CODE_LEVELS, codes.device)
    return DeviceLists(
        codes=codes,
        norms=code_norms(codes, step),
        ids=ids,
        offsets=offsets,
        code_middle=on(arrays.code_min + (MIDDLE + 0.5) / CODE_LEVELS * span, codes.device),
        code_step=step,
    )


def list_groups(
    arrays: ScaleArrays, lists: Int[ndarray, " m"], most_bytes: int
) -> list[Int[ndarray, " _"]]:
    """The lists in groups of at most so many bytes, but for the last list of each."""
    bytes_each = arrays.count[lists] * code_bytes(arrays)
    starts = np.flatnonzero(np.diff((bytes_each.cumsum() - bytes_each) // most_bytes)) + 1
    return np.split(lists, starts) if len(lists) else []


def passing_groups(arrays: ScaleArrays, lists: Int[Tensor, "q nprobe"]) -> Iterator[ListGroup]:
    """The visited lists, read from disk group by group while the one before is searched."""
    visits = lists.cpu().numpy()
    coming: list[PassingLists] = []
    for numbers in list_groups(arrays, np.unique(visits[visits >= 0]), GROUP_BYTES):
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
        ids, codes = arrays.read_lists(numbers)
        self._arrays, self._numbers, self._device = arrays, numbers, device
        self._codes = PendingCopy(torch.from_numpy(codes), device)
        self._ids = PendingCopy(torch.from_numpy(ids), device)

    def group(self, visits: Int[ndarray, "q nprobe"]) -> ListGroup:
        """They, once they are there, and the visits to them."""
        at = np.searchsorted(self._numbers, visits).clip(max=len(self._numbers) - 1)
        lists = np.where(self._numbers[at] == visits, at, -1)
        sizes = self._arrays.count[self._numbers]
        width = np.where(lists >= 0, sizes[lists], 0).sum(axis=1).max()
        codes = self._codes.tensor()
        filled = torch.nn.functional.pad(codes, (0, aligned(codes.shape[1]) - codes.shape[1]))
        offsets = on(np.concatenate([[0], sizes.cumsum()]), self._device)
        return ListGroup(
            inverted=device_lists(self._arrays, filled, self._ids.tensor(), offsets),
            lists=on(lists, self._device),
            width=int(width),
        )


def on(array: ndarray, device: torch.device) -> Tensor:
    """A small array on the device."""
    return torch.from_numpy(array).to(device)


WORK_SHARE = 1 / 16  # of a device's memory, for what is found for a block of queries
LEAST_WORK_BYTES = 2**28  # on the processor, too
CACHED_LABELS = 16


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """The nearest so far, nearest first.

    Attributes:
        keys: ascend as distances do; the same for all groups of lists.
        ids: -1 behind the last.
    """

    keys: Int[Tensor, "q k"]
    ids: Int[Tensor, "q k"]

    def with_more(self, more: "Found") -> "Found":
        """The k nearest of both; of equal ones first those that were there."""
        k = self.keys.shape[1]
        keys, order = torch.cat([self.keys, more.keys], dim=1).sort(dim=1, stable=True)
        ids = torch.cat([self.ids, more.ids], dim=1).gather(1, order[:, :k])
        return Found(keys=keys[:, :k], ids=ids)


class TritonListSearch:
    """Reads a list once for all queries; lists of a whole scale stay on the device if they fit."""

    def __init__(self, index: IndexLists) -> None:
        self._index = index
        self._image_mask = lru_cache(CACHED_LABELS)(self._flag_images)

    def nearest(
        self,
        patch_size: int,
        vectors: Float[Tensor, "q r"],
        lists: Int[Tensor, "q nprobe"],
        k: int,
        label: int | None,
    ) -> Int[Tensor, "q k"]:
        """See `ListSearch`."""
        images = self._index.images
        device = images.device.at(vectors.device)
        found: Found | None = None
        for group in groups_on_device(self._index.scales[patch_size], lists, device):
            asked = ListQueries(
                digits=QueryDigits.of(vectors, group.inverted),
                visits=group.lists,
                image_mask=None if label is None else self._image_mask(label, vectors.device),
                patches_per_image=images.height * images.width,
            )
            more = nearest_in_group(group, asked, k)
            found = more if found is None else found.with_more(more)
        if found is None:
            return torch.full((len(vectors), k), -1, device=vectors.device)
        return found.ids

    def _flag_images(self, label: int, device: torch.device) -> UInt8[Tensor, " n"]:
        return torch.from_numpy(self._index.has_label(label)).to(device, torch.uint8)


def nearest_in_group(group: ListGroup, asked: ListQueries, k: int) -> Found:
    """The k nearest in these lists."""
    inverted = group.inverted
    if not group.width:
        none = torch.full((len(asked), k), -1, device=inverted.ids.device)
        return Found(keys=torch.full_like(none, NONE >> 32), ids=none)
    memory = work_bytes(inverted.ids.device)
    ranks = nearest_ranks(inverted, asked, k, width=group.width, memory=memory)
    places = (ranks & (MOST_PLACES - 1)).clamp(max=len(inverted.ids) - 1)
    return Found(keys=ranks >> 32, ids=inverted.ids[places].where(ranks < NONE, -1))


def work_bytes(device: torch.device) -> int:
    """For what is found for a block of queries; one query takes what it takes."""
    if device.type != "cuda":
        return LEAST_WORK_BYTES
    total = torch.cuda.get_device_properties(device).total_memory
    return max(LEAST_WORK_BYTES, int(WORK_SHARE * total))
