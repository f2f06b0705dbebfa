"""The least time that an exact scan can take, from its machine code and its grid."""

from dataclasses import asdict, dataclass

import torch

from benchmarks.device.chip import Chip
from benchmarks.device.machine_code import WARP, Compiled, compiled
from patchindex import PatchGeometry
from patchindex.kernels.scan_parts import ScanPart, scan_parts
from patchindex.kernels.tiles import num_lanes, num_rounds, scan_tile
from patchindex.kernels.triton_scan import constants
from patchindex.kernels.triton_scan_kernel import scan_kernel

TYPES = {"queries": "*fp32", "images": "*fp32", "sums": "*fp32", "exponent": "fp32"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanCost:
    """What the scan of one state and one image costs, per legal pair.

    Attributes:
        registers, stack_bytes: of a thread, the most of all parts; what is on the stack is spilled.
        per_lane_pair: instructions of the inner loop.
        lane_pairs: that lanes go through per legal pair.
        warp_slots: issue slots of all warps for one image and state.
        busiest: the unit that sets the slots.
    """

    patch_size: int
    channels: int
    side: int
    rows: int
    moves: int
    registers: int
    stack_bytes: int
    per_lane_pair: float
    lane_pairs: float
    warp_slots: float
    busiest: str

    def least_seconds(self, num_images: int, chip: Chip) -> float:
        """If every scheduler issued in every clock."""
        return num_images * self.warp_slots / chip.slots_per_second

    def row(self, num_images: int, chip: Chip) -> dict[str, object]:
        """For the results."""
        return asdict(self) | {
            "part": "predict",
            "num_images": num_images,
            "least_seconds": self.least_seconds(num_images, chip),
        }


def predict(
    patch_size: int, channels: int, side: int, device: torch.device | None = None
) -> ScanCost:
    """Compile the kernel for such images, as it would be for this device, and count."""
    geometry = PatchGeometry(height=side, width=side, patch_size=patch_size)
    tile = scan_tile(geometry, channels, device or torch.device("cpu"))
    lanes = 1 << (side - 1).bit_length()
    per_pass = tile.rows * tile.moves * lanes
    parts_of_scan = scan_parts(geometry, tile)
    made = [compiled_part(geometry, channels, part) for part in parts_of_scan]
    pairs = [lane_pairs(geometry, part) for part in parts_of_scan]
    parts = list(zip(made, pairs, strict=True))
    return ScanCost(
        patch_size=patch_size,
        channels=channels,
        side=side,
        rows=tile.rows,
        moves=tile.moves,
        registers=max(part.registers for part in made),
        stack_bytes=max(part.stack_bytes for part in made),
        per_lane_pair=sum(part.loop.instructions * count for part, count in parts)
        * WARP / per_pass / sum(pairs),
        lane_pairs=sum(pairs) / legal_pairs(geometry),
        warp_slots=sum(part.loop.slots * count for part, count in parts) / per_pass,
        busiest=made[-1].loop.busiest,
    )  # fmt: skip


def compiled_part(geometry: PatchGeometry, channels: int, part: ScanPart) -> Compiled:
    """The kernel as one launch has it."""
    cols = {"FIRST_COL": part.cols.start, "END_COL": part.cols.stop}
    shape = constants(geometry, channels, part.tile) | cols
    return compiled(scan_kernel, shape, num_warps=1, types=TYPES)


def legal_pairs(geometry: PatchGeometry) -> int:
    """Pairs of a pixel and one of its legal patches, of one state and one image."""
    return int(geometry.centers_per_pixel.sum())


def lane_pairs(geometry: PatchGeometry, part: ScanPart) -> int:
    """Pairs that the lanes of a part of a launch go through, of one state and one image.

    Tiles reach beyond the image, rows of a tile share their displacements, whose number is
    rounded up, and a lane goes through displacements that are not legal at its column.
    """
    tile = part.tile
    rounds = sum(num_rounds(geometry, tile, top) for top in part.tops)
    return rounds * tile.moves * tile.rows * num_lanes(geometry) * len(part.cols)
