"""What the search of inverted lists costs on a GPU: its machine code, and the bytes of a call."""

from dataclasses import asdict, dataclass
from math import ceil, sqrt

from benchmarks.device.chip import Chip
from benchmarks.device.machine_code import WARP, compiled, loop_around, loop_cost
from patchindex import IndexConfig
from patchindex.kernels.nearest_codes import RANK_BYTES, Selection
from patchindex.kernels.triton_lists import (
    LIST_SHARES,
    NUM_WARPS,
    TILE_CODES,
    TILE_QUERIES,
    aligned,
    dot_dims,
)
from patchindex.kernels.triton_lists_kernel import rank_list_tile

TYPES = {
    "codes": "*u8", "norms": "*fp32", "offsets": "*i64", "ids": "*i64", "image_mask": "*u8",
    "high": "*fp16", "low": "*fp16", "high_unit": "*fp32", "low_unit": "*fp32",
    "thresholds": "*i64", "tiles": "*i64", "lists": "*i64", "queries": "*i64", "starts": "*i64",
    "counts": "*i32", "ranks": "*i64",
}  # fmt: skip
NORM_BYTES = 4
# Over buffers of ranks: filled, written, and read nine times by `topk`, which looks at eight of the
# 64 bits at a time and then gathers
PASSES = 11
WORK_SHARE = 1 / 16  # of the memory, for the buffers of a block of queries
# The kernel before this one, counted in the same way when it was replaced: eight queries and 512
# codes a program of 128 threads, in float32 without tensor cores. It wrote all distances, and
# `topk` read them five times.
BEFORE_PER_DIMENSION = 4.5  # instructions a (query, code)
BEFORE_PASSES = 7  # over a matrix of all distances: filled, written, read


@dataclass(frozen=True, slots=True, kw_only=True)
class ListCall:
    """One search: so many queries in so many lists each, of patches that all lists share alike."""

    num_patches: int
    num_queries: int
    nprobe: int
    k: int
    dims: int

    @property
    def num_lists(self) -> int:
        """Inverted lists, as an index of default settings has them."""
        return round(IndexConfig().lists_per_sqrt * sqrt(self.num_patches))

    @property
    def width(self) -> int:
        """Codes that a query visits."""
        return self.nprobe * self.num_patches // self.num_lists

    def visited(self, num_queries: int) -> float:
        """The share of all lists that so many queries visit, if each visits any."""
        return 1 - (1 - self.nprobe / self.num_lists) ** num_queries

    def bytes_now(self, chip: Chip) -> float:
        """Read and written: codes and norms once for each block of queries, and buffers."""
        memory = int(WORK_SHARE * chip.memory_bytes)
        plan = Selection.of(self.k, self.width, self.nprobe, memory)
        code = aligned(self.dims) + NORM_BYTES
        columns = plan.sampled + plan.capacity
        read = sum(
            self.visited(min(rows.stop, self.num_queries) - rows.start) * self.num_patches * code
            for rows in plan.blocks(self.num_queries)
        )
        return read + PASSES * RANK_BYTES * columns * self.num_queries

    def bytes_before(self, chip: Chip) -> float:
        """The same of the kernel before: a block of queries had all its distances in memory."""
        step = max(1, int(WORK_SHARE * chip.memory_bytes) // (4 * self.width))
        blocks = ceil(self.num_queries / step)
        read = blocks * self.visited(min(step, self.num_queries)) * self.num_patches * self.dims
        return read + BEFORE_PASSES * 4.0 * self.width * self.num_queries


@dataclass(frozen=True, slots=True, kw_only=True)
class ListCost:
    """What a program of the list scan costs.

    Attributes:
        registers, stack_bytes: of a thread.
        per_pair: instructions a (query, code), of a lane.
        per_found: instructions of a warp when it appends what is nearest in a tile.
        busiest: the unit that sets the time of the loop over codes.
        slots_per_pair: issue slots of that unit.
    """

    dims: int
    registers: int
    stack_bytes: int
    per_pair: float
    per_found: int
    slots_per_pair: float
    busiest: str

    def row(self, call: ListCall, chip: Chip) -> dict[str, object]:
        """For the results: what a call needs if all that issues, issued in every clock."""
        pairs = call.num_queries * call.width
        return asdict(self) | asdict(call) | {
            "part": "predict lists",
            "per_pair_before": BEFORE_PER_DIMENSION * self.dims,
            "gigabytes": call.bytes_now(chip) / 1e9,
            "gigabytes_before": call.bytes_before(chip) / 1e9,
            "issue_seconds": pairs * self.slots_per_pair / WARP / chip.slots_per_second,
            "issue_seconds_before": pairs * BEFORE_PER_DIMENSION * self.dims / WARP
            / chip.slots_per_second,
        }  # fmt: skip


def predict_lists(dims: int) -> ListCost:
    """Compile the kernel that appends near codes, for codes of so many dimensions, and count."""
    first, more = dot_dims(dims)
    shape = {
        "STRIDE": aligned(dims), "FIRST_DIMS": first, "MORE_DIMS": more, "MASKED": False,
        "ALL": False, "TILE_QUERIES": TILE_QUERIES, "TILE_CODES": TILE_CODES,
        "LIST_SHARES": LIST_SHARES,
    }  # fmt: skip
    made = compiled(rank_list_tile, shape, num_warps=NUM_WARPS, types=TYPES)
    around = loop_cost(loop_around(made.code))
    per_lane = TILE_QUERIES * TILE_CODES / (WARP * NUM_WARPS)
    return ListCost(
        dims=dims,
        registers=made.registers,
        stack_bytes=made.stack_bytes,
        per_pair=around.instructions / per_lane,
        per_found=made.loop.instructions,
        slots_per_pair=around.slots / per_lane,
        busiest=around.busiest,
    )
