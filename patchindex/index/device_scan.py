"""The list-major scan on a device: Triton compares, torch selects.

Of equal distances the patch that lies first on disk is nearer, which in a list is the one with the
smaller id. Where equal ones are cut off at k, it is up to `torch.topk` which are taken: its CUDA
kernels take the first of a row in every run, though its documentation promises nothing.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from patchindex.index.device_lists import ListGroup, groups_on_device
from patchindex.index.search import ScanSource
from patchindex.kernels.triton_lists import Visits, list_distances

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


class DeviceListScan:
    """Scans lists where the queries are; those of a whole scale stay there if they fit."""

    def __init__(self, source: ScanSource) -> None:
        self._source = source
        self._members = lru_cache(CACHED_LABELS)(self._flag_members)

    def nearest(
        self,
        patch_size: int,
        vectors: Float[Tensor, "q r"],
        lists: Int[Tensor, "q nprobe"],
        k: int,
        label: int | None,
    ) -> Int[Tensor, "q k"]:
        """Ids of the k nearest codes in each query's lists, -1 where there are fewer.

        Args:
            vectors, lists: on one device; -1 for no list.
            label: only patches of images of this class.
        """
        images = self._source.images
        members = None if label is None else self._members(label, vectors.device)
        found = Found.nothing(vectors)
        for group in groups_on_device(self._source.scales[patch_size], lists):
            more = nearest_in_group(group, vectors, k, members, images.height * images.width)
            found = found.with_more(more, k) if found.ids.shape[1] else more
        return torch.nn.functional.pad(found.ids, (0, k - found.ids.shape[1]), value=-1)

    def _flag_members(self, label: int, device: torch.device) -> UInt8[Tensor, " n"]:
        return torch.from_numpy(self._source.has_label(label)).to(device, torch.uint8)


def nearest_in_group(
    group: ListGroup,
    vectors: Float[Tensor, "q r"],
    k: int,
    members: UInt8[Tensor, " n"] | None,
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
            members=members, patches_per_image=patches_per_image,
        )  # fmt: skip
        dist_sq, columns = smallest(all_dist_sq, k)
        ids = inverted.ids_at(visits[rows].places(columns, inverted.offsets))
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
