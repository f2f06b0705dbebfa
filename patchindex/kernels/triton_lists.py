"""Distances of queries to the codes of their lists on a GPU, which reads a list for all at once."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from patchindex.kernels.triton_lists_kernel import scan_list_tile

TILE_QUERIES = 8  # that a program compares with each code it decodes
TILE_CODES = 512  # four for each thread of 4 warps: more running sums than loads, and no spills
LIST_SHARES = 16  # programs that share a list: fills the GPU at some 100 pairs of query and list
NUM_WARPS = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DeviceLists:
    """Inverted lists in the memory of a device.

    Attributes:
        offsets: first code of each list.
        code_first, code_step: code c stands for code_first + c * code_step.
    """

    codes: UInt8[Tensor, "p r"]
    ids: Int[Tensor, " p"]
    offsets: Int[Tensor, " lists_plus_1"]
    code_first: Float[Tensor, " r"]
    code_step: Float[Tensor, " r"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Visits:
    """The lists that queries visit, by place: a query's codes lie side by side in a row.

    Attributes:
        lists: ascending, so that columns ascend with places; -1 first, for none.
        ends: column behind the last code of each list.
    """

    lists: Int[Tensor, "q nprobe"]
    ends: Int[Tensor, "q nprobe"]

    @classmethod
    def of(cls, lists: Int[Tensor, "q nprobe"], offsets: Int[Tensor, " lists_plus_1"]) -> "Visits":
        """The visits to these lists, in whichever order."""
        ascending = lists.sort(dim=1).values
        sizes = offsets.diff()[ascending.clamp(min=0)].where(ascending >= 0, 0)
        return cls(lists=ascending, ends=sizes.cumsum(1))

    def starts(self) -> Int[Tensor, "q nprobe"]:
        """Column of the first code of each list."""
        return torch.nn.functional.pad(self.ends[:, :-1], (1, 0))

    def __getitem__(self, rows: slice) -> "Visits":
        return Visits(lists=self.lists[rows], ends=self.ends[rows])

    def places(
        self, columns: Int[Tensor, "q k"], offsets: Int[Tensor, " lists_plus_1"]
    ) -> Int[Tensor, "q k"]:
        """The codes whose distances stand in these columns; any code for one behind the last."""
        visit = torch.searchsorted(self.ends, columns, right=True)
        visit = visit.clamp(max=self.ends.shape[1] - 1)
        list_ends = offsets[self.lists.gather(1, visit) + 1]
        return (list_ends - self.ends.gather(1, visit) + columns).minimum(offsets[-1] - 1)


def list_distances(
    inverted: DeviceLists,
    vectors: Float[Tensor, "q r"],
    visits: Visits,
    width: int,
    *,
    image_mask: UInt8[Tensor, " n"] | None,
    patches_per_image: int,
) -> Float[Tensor, "q width"]:
    """Squared distances to the codes of each query's lists, infinite behind the last.

    Args:
        width: no less than the codes that a query visits.
        image_mask: 1 for images whose patches count; those of others are infinitely far.
    """
    dist_sq = vectors.new_full((len(vectors), width), torch.inf)
    lists, pairs = visits.lists.reshape(-1).sort(stable=True)  # those who visit a list together
    rank = torch.arange(len(lists), device=lists.device) - torch.searchsorted(lists, lists)
    begins_tile = (rank % TILE_QUERIES == 0) & (lists >= 0)
    with torch.cuda.device_of(vectors):
        scan_list_tile[len(lists), LIST_SHARES](
            vectors.contiguous(), inverted.codes, inverted.offsets,
            inverted.code_first, inverted.code_step,
            inverted.ids, inverted.ids if image_mask is None else image_mask, patches_per_image,
            lists.where(begins_tile, -1), lists, pairs // visits.lists.shape[1],
            visits.starts().reshape(-1)[pairs], len(lists), dist_sq, width,
            R=vectors.shape[1], MASKED=image_mask is not None,
            TILE_QUERIES=TILE_QUERIES, TILE_CODES=TILE_CODES, LIST_SHARES=LIST_SHARES,
            num_warps=NUM_WARPS, enable_fp_fusion=True,
        )  # fmt: skip
    return dist_sq
