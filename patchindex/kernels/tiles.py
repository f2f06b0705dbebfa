"""How much a program of a scan holds: by a rule, or as it was measured on a GPU.

`python -m benchmarks.device --tune` measures, and leaves its choices in the user's home. A copy of
that file in the repository's `data/tiles/` serves everyone with such a GPU.
"""

import json
import logging
import os
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import torch

from patchindex.geometry import PatchGeometry
from patchindex.paths import data_root, home

logger = logging.getLogger(__name__)

REGISTERS = 240  # of 255 that a thread can have; the rest is for addresses


@dataclass(frozen=True, slots=True)
class ScanTile:
    """What a program of the scan holds in registers.

    Attributes:
        rows: of the query.
        moves: vertical displacements per load of the training rows.
    """

    rows: int
    moves: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FlashTile:
    """What a program of the flash scan multiplies at once.

    Attributes:
        queries, keys: of a product; powers of two.
        depth: numbers of a window that are multiplied at once.
        resident: whether the queries stay in shared memory while all keys go by.
        warps: of a program.
        stages: loads that are under way while one is multiplied, and that one.
    """

    queries: int
    keys: int
    depth: int
    resident: bool
    warps: int
    stages: int


Tile = ScanTile | FlashTile
SomeTile = TypeVar("SomeTile", ScanTile, FlashTile)
KINDS: dict[str, type[Tile]] = {"scan": ScanTile, "flash": FlashTile}
TILES = (ScanTile(8, 4), ScanTile(8, 2), ScanTile(4, 4), ScanTile(4, 2))


def scan_tile(geometry: PatchGeometry, channels: int, device: torch.device) -> ScanTile:
    """The measured tile for such images and this device, else the largest that fits registers."""
    measured = measured_tile(ScanTile, geometry, channels, device)
    if measured is not None:
        return measured
    fitting = (tile for tile in TILES if num_registers(tile, geometry, channels) <= REGISTERS)
    return next(fitting, TILES[-1])


def num_registers(tile: ScanTile, geometry: PatchGeometry, channels: int) -> int:
    """About how many registers a thread needs: rows of query and images, sums, distances."""
    rows = tile.rows + 2 * geometry.radius
    values = (2 * rows + tile.moves - 1) * channels + rows
    values += tile.rows * (3 + channels) + tile.rows * tile.moves
    return values * max(1, num_lanes(geometry) // 32)


def num_lanes(geometry: PatchGeometry) -> int:
    """Lanes of a program: a power of two that holds a row of the query."""
    return 1 << (geometry.width - 1).bit_length()


def tile_tops(geometry: PatchGeometry, tile: ScanTile) -> range:
    """The first row of each tile; rows outside the image are idle.

    Tiles begin at the border, or one begins where the first row is free to move: whichever way has
    fewer displacements, which the rows of a tile share.
    """
    outside = -geometry.radius % tile.rows
    ways = [range(start, geometry.height, tile.rows) for start in (0, -outside)]
    return min(ways, key=lambda tops: sum(num_rounds(geometry, tile, top) for top in tops))


def num_rounds(geometry: PatchGeometry, tile: ScanTile, top: int) -> int:
    """How often a tile loads rows of an image for each displacement along the rows."""
    rows = range(max(0, top), min(top + tile.rows, geometry.height))
    moves = [row_moves(geometry, row) for row in rows]
    num_moves = max(move.stop for move in moves) - min(move.start for move in moves)
    return -(-num_moves // tile.moves)


def row_moves(geometry: PatchGeometry, row: int) -> range:
    """Displacements from this row to a legal center; a circular image counts them from 0."""
    radius, height = geometry.radius, geometry.height
    if not geometry.equivariant:
        return range(1)
    if geometry.boundary == "circular":
        return range(height)
    if geometry.boundary == "circular_interior" or radius <= row < height - radius:
        return range(radius - row, height - radius - row)
    return range(1)


def measured_tile(
    kind: type[SomeTile], geometry: PatchGeometry, channels: int, device: torch.device
) -> SomeTile | None:
    """The tile of this kind that was fastest for such images on this model of GPU."""
    tile = measured_tiles(device).get(tile_key(kind, geometry, channels))
    return tile if isinstance(tile, kind) else None


def tile_key(kind: type[Tile], geometry: PatchGeometry, channels: int) -> str:
    """Name of a tile in the file of measured ones."""
    shape = (channels, geometry.height, geometry.width, geometry.patch_size)
    name = next(name for name, known in KINDS.items() if known is kind)
    return f"{name} {'x'.join(map(str, shape))}"


@cache
def measured_tiles(device: torch.device) -> dict[str, Tile]:
    """Tiles by kind and shape, as they were measured here, or by us on this model of GPU."""
    found: dict[str, Tile] = {}
    for path in (data_root() / "tiles" / tiles_path(device).name, tiles_path(device)):
        try:
            tiles = json.loads(path.read_text(encoding="utf-8"))
            found |= {key: KINDS[key.split()[0]](**fields) for key, fields in tiles.items()}
        except FileNotFoundError:
            continue
        except (OSError, ValueError, TypeError, AttributeError, LookupError) as error:
            logger.warning("%s is not used: %s", path, error)
    return found


def keep_tile(tile: Tile, geometry: PatchGeometry, channels: int, device: torch.device) -> None:
    """Let scans of such images use this tile from now on."""
    path = tiles_path(device)
    tiles = measured_tiles(device) | {tile_key(type(tile), geometry, channels): tile}
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({key: asdict(value) for key, value in tiles.items()}, indent=2)
    written = path.with_name(f"{path.name}.{os.getpid()}")
    written.write_text(text, encoding="utf-8")
    written.replace(path)  # at once: a run beside this one must not read half a file
    measured_tiles.cache_clear()


def tiles_path(device: torch.device) -> Path:
    """File of the tiles that were measured on this model of GPU."""
    model = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return home() / "tiles" / f"{model.replace(' ', '-')}.json"
