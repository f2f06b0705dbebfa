"""The least time that a scan on tensor cores can take, from its machine code and its grid."""

from dataclasses import asdict, dataclass

from benchmarks.device.chip import Chip
from benchmarks.device.machine_code import compiled, loop_cost, product_loop, product_slots
from benchmarks.device.prediction import compiled_part, lane_pairs
from patchindex import PatchGeometry
from patchindex.device import CPU
from patchindex.kernels.scan_parts import scan_parts
from patchindex.kernels.tiles import num_lanes, scan_tile
from patchindex.kernels.triton_flash import (
    WindowLayout,
    flash_constants,
    flash_tile,
    query_cols,
    query_rows,
)
from patchindex.kernels.triton_flash_kernel import flash_kernel

WARPS_OF_GROUP = 4
TYPES = {
    "queries": "*fp16", "images": "*fp16", "energies": "*fp32", "scales": "*fp32", "sums": "*fp32",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class FlashCost:
    """What the scan of one state and one image costs on tensor cores, and at the borders without.

    Attributes:
        registers, stack_bytes: of a thread; what is on the stack is spilled.
        per_pair: instructions of a lane for a pair of a query of the tile and a key.
        pairs: that tiles go through per pair of a whole window and a patch.
        issue_slots, other_slots, product_slots: of all warps for one image and state: of the
            schedulers, of the busiest other unit, of the tensor cores. They overlap at best.
        edge_slots: those of the other kernel, for windows that cross a border.
    """

    patch_size: int
    channels: int
    side: int
    queries: int
    keys: int
    depth: int
    resident: bool
    registers: int
    stack_bytes: int
    shared_bytes: int
    per_pair: float
    pairs: float
    issue_slots: float
    other_slots: float
    product_slots: float
    edge_slots: float

    @property
    def busiest(self) -> str:
        """What sets the least time inside."""
        slots = {"issue": self.issue_slots, "other": self.other_slots,
                 "tensor cores": self.product_slots}  # fmt: skip
        return max(slots, key=lambda unit: slots[unit])

    def least_seconds(self, num_images: int, chip: Chip) -> float:
        """If the busiest unit never waited."""
        inside = max(self.issue_slots, self.other_slots, self.product_slots)
        return num_images * (inside + self.edge_slots) / chip.slots_per_second

    def row(self, num_images: int, chip: Chip) -> dict[str, object]:
        """For the results."""
        return asdict(self) | {
            "part": "predict flash",
            "num_images": num_images,
            "busiest": self.busiest,
            "least_seconds": self.least_seconds(num_images, chip),
        }


def predict_flash(patch_size: int, channels: int, side: int) -> FlashCost:
    """Compile the kernels for such images, whose boundary is zeros, and count."""
    geometry = PatchGeometry(height=side, width=side, patch_size=patch_size)
    tile = flash_tile(geometry, channels, CPU)
    constants = flash_constants(geometry, channels, tile)
    made = compiled(flash_kernel, constants, num_warps=tile.warps, types=TYPES)
    body = product_loop(made.code, WindowLayout.of(geometry, channels).chunks(tile.depth))
    cost = loop_cost(body)
    num_queries = len(query_rows(geometry)) * len(query_cols(geometry))
    num_keys = constants["KEY_ROWS"] * constants["KEY_COLS"]
    tiles = -(-num_queries // tile.queries) * num_keys / tile.keys
    groups = tile.warps // WARPS_OF_GROUP
    return FlashCost(
        patch_size=patch_size,
        channels=channels,
        side=side,
        queries=tile.queries,
        keys=tile.keys,
        depth=tile.depth,
        resident=tile.resident,
        registers=made.registers,
        stack_bytes=made.stack_bytes,
        shared_bytes=made.shared_bytes,
        per_pair=len(body) * tile.warps * 32 / (tile.queries * tile.keys),
        pairs=-(-num_queries // tile.queries) * tile.queries / num_queries,
        issue_slots=len(body) * tile.warps * tiles,
        other_slots=cost.slots * tile.warps * tiles,
        product_slots=product_slots(body) * groups * tiles,
        edge_slots=edge_slots(geometry, channels),
    )


def edge_slots(geometry: PatchGeometry, channels: int) -> float:
    """Issue slots of the other kernel for windows that cross a border, of one image and state."""
    slots = 0.0
    if geometry.radius:
        tile = scan_tile(geometry, channels, CPU)
        for part in scan_parts(geometry, tile, edges_only=True):
            per_pass = part.tile.rows * part.tile.moves * num_lanes(geometry)
            made = compiled_part(geometry, channels, part)
            slots += made.loop.slots * lane_pairs(geometry, part) / per_pass
    return slots
