"""How many pairs of windows a launch of the scan kernel compares, and how many of them count."""

from collections.abc import Iterator

from patchindex.geometry import PatchGeometry
from patchindex.kernels.tiles import ScanTile


def legal_pairs(geometry: PatchGeometry) -> int:
    """Pairs of a pixel and one of its legal patches, of one state and one image."""
    return int(geometry.centers_per_pixel.sum())


def lane_pairs(geometry: PatchGeometry, tile: ScanTile, part: tuple[int, int]) -> int:
    """Pairs that the lanes of a part of a launch go through, of one state and one image.

    Tiles reach beyond the last row, rows of a tile share their displacements, whose number is
    rounded up, and a lane goes through displacements that are not legal at its column.

    Args:
        part: first displacement along the rows and the one behind the last, see `col_ranges`.
    """
    lanes = 1 << (geometry.width - 1).bit_length()
    rounds = sum(-(-num_moves // tile.moves) for num_moves in moves_of_tiles(geometry, tile))
    return rounds * tile.moves * tile.rows * lanes * (part[1] - part[0])


def moves_of_tiles(geometry: PatchGeometry, tile: ScanTile) -> Iterator[int]:
    """Displacements down the columns from the lowest to the highest that a tile's rows need."""
    height = geometry.height
    for top in range(0, height, tile.rows):
        moves = [legal_moves(geometry, row) for row in range(top, min(top + tile.rows, height))]
        yield max(move.stop for move in moves) - min(move.start for move in moves)


def legal_moves(geometry: PatchGeometry, row: int) -> range:
    """Displacements from this row to a legal center; a circular image counts them from 0."""
    radius, height = geometry.radius, geometry.height
    if not geometry.equivariant:
        return range(1)
    if geometry.boundary == "circular":
        return range(height)
    if geometry.boundary == "circular_interior" or radius <= row < height - radius:
        return range(radius - row, height - radius - row)
    return range(1)
