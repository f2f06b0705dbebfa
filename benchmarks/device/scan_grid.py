"""How many pairs of windows a launch of the scan kernel compares, and how many of them count."""

from patchindex.geometry import PatchGeometry
from patchindex.kernels.tiles import ScanTile, num_lanes, num_rounds, tile_tops


def legal_pairs(geometry: PatchGeometry) -> int:
    """Pairs of a pixel and one of its legal patches, of one state and one image."""
    return int(geometry.centers_per_pixel.sum())


def lane_pairs(geometry: PatchGeometry, tile: ScanTile, part: tuple[int, int]) -> int:
    """Pairs that the lanes of a part of a launch go through, of one state and one image.

    Tiles reach beyond the image, rows of a tile share their displacements, whose number is
    rounded up, and a lane goes through displacements that are not legal at its column.

    Args:
        part: first displacement along the rows and the one behind the last, see `col_ranges`.
    """
    lanes = num_lanes(geometry)
    rounds = sum(num_rounds(geometry, tile, top) for top in tile_tops(geometry, tile))
    return rounds * tile.moves * tile.rows * lanes * (part[1] - part[0])
