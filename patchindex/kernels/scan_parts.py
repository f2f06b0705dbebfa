"""The launches of a scan on a GPU: which displacements and which rows of the query each has."""

from dataclasses import dataclass

from patchindex.geometry import PatchGeometry
from patchindex.kernels.tiles import ScanTile, tile_tops

# The largest tile at displacement 0, if that has a part of its own: so few pairs that larger tiles
# gain nothing, while Triton takes up to a minute for them.
LONE = ScanTile(4, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanPart:
    """One launch of the kernel: some displacements along the rows, of some rows of the query.

    Attributes:
        cols: the displacements, modulo the width.
        num_tiles: of rows.
        first_top: row where the first of them begins.
        tiles_above: how many follow one another from there.
        rows_between: rows that are left out before the others.
    """

    cols: range
    tile: ScanTile
    num_tiles: int
    first_top: int
    tiles_above: int
    rows_between: int = 0

    @property
    def tops(self) -> list[int]:
        """The first row of each tile."""
        gaps = [0 if at < self.tiles_above else self.rows_between for at in range(self.num_tiles)]
        return [self.first_top + at * self.tile.rows + gap for at, gap in enumerate(gaps)]


def scan_parts(
    geometry: PatchGeometry, tile: ScanTile, *, edges_only: bool = False
) -> list[ScanPart]:
    """The launches of a scan.

    Args:
        edges_only: rows where windows are whole take part at displacement 0 alone, which is where
            windows that cross a border along the rows find theirs.
    """
    ranges = col_ranges(geometry)
    parts = []
    for first, end in ranges:
        if edges_only and first > 0:
            parts.append(_edge_part(geometry, tile, range(first, end)))
            continue
        alone = end - first == 1 and len(ranges) > 1
        own = ScanTile(min(tile.rows, LONE.rows), min(tile.moves, LONE.moves)) if alone else tile
        tops = tile_tops(geometry, own)
        parts.append(
            ScanPart(
                cols=range(first, end), tile=own, num_tiles=len(tops), first_top=tops.start,
                tiles_above=len(tops),
            )
        )  # fmt: skip
    return parts


def _edge_part(geometry: PatchGeometry, tile: ScanTile, cols: range) -> ScanPart:
    """The rows whose windows cross the upper or the lower border; these do not move down."""
    radius = geometry.radius
    rows = min(tile.rows, 1 << (radius - 1).bit_length())
    above = -(-radius // rows)
    return ScanPart(
        cols=cols, tile=ScanTile(rows=rows, moves=1), num_tiles=2 * above,
        first_top=radius - above * rows, tiles_above=above,
        rows_between=geometry.height - 2 * radius,
    )  # fmt: skip


def col_ranges(geometry: PatchGeometry) -> list[tuple[int, int]]:
    """Displacements along the rows, modulo the width, in the parts that are summed apart.

    At displacement 0 windows may reach beyond a border of zeros, elsewhere they may not, and no
    cell has to be looked at for whether it is inside.
    """
    if geometry.query_wraps:
        return [(0, geometry.width if geometry.equivariant else 1)]
    moves = geometry.equivariant and geometry.patch_size <= geometry.width
    return [(0, 1), (1, geometry.width)] if moves and geometry.width > 1 else [(0, 1)]
