"""List search on a GPU: lists stay there or pass through; Triton compares, torch selects.

Of equal distances the patch that lies first on disk is nearer, which in a list is the one with the
smaller id. Where equal ones are cut off at k, it is up to `torch.topk` which are taken: its CUDA
kernels take the first of a row in every run, though its documentation promises nothing.
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
from patchindex.kernels.triton_lists import DeviceLists, Visits, list_distances

ID_BYTES = 8
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
    return members * (len(arrays.pca) + ID_BYTES) + ID_BYTES * (nlist + 1)


def whole_lists(arrays: ScaleArrays, device: torch.device) -> DeviceLists:
    """All lists of a scale, of which some at a time are read and copied."""
    members = int(arrays.offsets[-1])
    ids = torch.empty(members, dtype=torch.int64, device=device)
    codes = torch.empty((members, len(arrays.pca)), dtype=torch.uint8, device=device)
    for numbers in list_groups(arrays, np.arange(len(arrays.count)), LOAD_BYTES):
        place = slice(int(arrays.offsets[numbers[0]]), int(arrays.offsets[numbers[-1] + 1]))
        for target, values in zip((ids, codes), arrays.read_lists(numbers), strict=True):
            source = torch.from_numpy(values)
            on_gpu = device.type == "cuda"
            target[place].copy_(source.pin_memory() if on_gpu else source, non_blocking=True)
    return DeviceLists(
        codes=codes, ids=ids, offsets=on(arrays.offsets, device), **code_values(arrays, device)
    )


def list_groups(
    arrays: ScaleArrays, lists: Int[ndarray, " m"], most_bytes: int
) -> list[Int[ndarray, " _"]]:
    """The lists in groups of at most so many bytes, but for the last list of each."""
    bytes_each = arrays.count[lists] * (len(arrays.pca) + ID_BYTES)
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
        return ListGroup(
            inverted=DeviceLists(
                codes=self._codes.tensor(),
                ids=self._ids.tensor(),
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


def on(array: ndarray, device: torch.device) -> Tensor:
    """A small array on the device."""
    return torch.from_numpy(array).to(device)


# Of a device's memory, for the distances of a block of queries: the more queries there are in a
# block, the more of them share a list and what it takes to read and decode it.
WORK_SHARE = 1 / 16
LEAST_WORK_BYTES = 2**28  # on the processor, too
CACHED_LABELS = 16


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """The nearest so far, nearest first; behind the last, infinity and id -1."""

    dist_sq: Float[Tensor, "q m"]
    ids: Int[Tensor, "q m"]

    @classmethod
    def nothing(cls, vectors: Float[Tensor, "q r"]) -> "Found":
        """No neighbor at all."""
        dist_sq = vectors[:, :0]
        return cls(dist_sq=dist_sq, ids=dist_sq.long())

    def with_more(self, more: "Found", k: int) -> "Found":
        """The k nearest of both; of equal ones first those that were there."""
        dist_sq, at = smallest(torch.cat([self.dist_sq, more.dist_sq], dim=1), k)
        return Found(dist_sq=dist_sq, ids=torch.cat([self.ids, more.ids], dim=1).gather(1, at))


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
        image_mask = None if label is None else self._image_mask(label, vectors.device)
        found = Found.nothing(vectors)
        for group in groups_on_device(self._index.scales[patch_size], lists, device):
            more = nearest_in_group(group, vectors, k, image_mask, images.height * images.width)
            found = found.with_more(more, k) if found.ids.shape[1] else more
        return torch.nn.functional.pad(found.ids, (0, k - found.ids.shape[1]), value=-1)

    def _flag_images(self, label: int, device: torch.device) -> UInt8[Tensor, " n"]:
        return torch.from_numpy(self._index.has_label(label)).to(device, torch.uint8)


def nearest_in_group(
    group: ListGroup,
    vectors: Float[Tensor, "q r"],
    k: int,
    image_mask: UInt8[Tensor, " n"] | None,
    patches_per_image: int,
) -> Found:
    """The k nearest in these lists, or all if they are fewer; some queries at a time."""
    if not group.width:
        return Found.nothing(vectors)
    inverted, blocks = group.inverted, []
    visits = Visits.of(group.lists, inverted.offsets)
    step = max(1, work_bytes(vectors.device) // (4 * group.width))
    for start in range(0, len(vectors), step):
        rows = slice(start, start + step)
        all_dist_sq = list_distances(
            inverted, vectors[rows], visits[rows], group.width,
            image_mask=image_mask, patches_per_image=patches_per_image,
        )  # fmt: skip
        dist_sq, columns = smallest(all_dist_sq, k)
        ids = inverted.ids[visits[rows].places(columns, inverted.offsets)]
        blocks.append(Found(dist_sq=dist_sq, ids=ids.where(dist_sq < torch.inf, -1)))
    return Found(
        dist_sq=torch.cat([block.dist_sq for block in blocks]),
        ids=torch.cat([block.ids for block in blocks]),
    )


def work_bytes(device: torch.device) -> int:
    """For the distances of a block of queries; a longer row of one query takes what it takes."""
    if device.type != "cuda":
        return LEAST_WORK_BYTES
    total = torch.cuda.get_device_properties(device).total_memory
    return max(LEAST_WORK_BYTES, int(WORK_SHARE * total))


def smallest(
    dist_sq: Float[Tensor, "q columns"], k: int
) -> tuple[Float[Tensor, "q m"], Int[Tensor, "q m"]]:
    """The k smallest of each row, or all, ascending, and their columns; equal ones by column."""
    count = min(k, dist_sq.shape[1])
    columns = dist_sq.topk(count, largest=False, sorted=False).indices.sort(dim=1).values
    values, order = dist_sq.gather(1, columns).sort(dim=1, stable=True)
    return values, columns.gather(1, order)
