"""How many inverted lists a border signature gets, and how lists are numbered.

Lists are numbered signature by signature, in the order of `PatchGeometry.signatures`: those of
signature i are `offsets[i] .. offsets[i+1]-1`. A query probes lists of its own signature only, so
borders need no code in the search.
"""

from math import sqrt

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from patchindex.geometry import PatchGeometry
from patchindex.index.config import IndexConfig


def num_lists(num_patches: int, config: IndexConfig) -> int:
    """Inverted lists for a dictionary of so many patches."""
    if num_patches <= config.single_list_patches:
        return 1
    return max(1, round(min(config.max_lists, config.lists_per_sqrt * sqrt(num_patches))))


def list_counts(geometry: PatchGeometry, num_images: int, config: IndexConfig) -> list[int]:
    """Inverted lists of each signature."""
    return [num_lists(num_images * s.num_centers, config) for s in geometry.signatures]


def signature_lists(
    geometry: PatchGeometry, num_images: int, config: IndexConfig
) -> Int[ndarray, " signatures_plus_1"]:
    """First list of each signature, and the number of all lists at the end."""
    counts = list_counts(geometry, num_images, config)
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def center_rectangle(geometry: PatchGeometry) -> tuple[range, range]:
    """The rows and columns of all legal centers.

    Signatures' centers tile this rectangle: an index has each of its positions exactly once.
    """
    rows = [s.rows.centers for s in geometry.signatures]
    cols = [s.cols.centers for s in geometry.signatures]
    return (
        range(min(r.start for r in rows), max(r.stop for r in rows)),
        range(min(c.start for c in cols), max(c.stop for c in cols)),
    )


def num_patches(geometry: PatchGeometry, num_images: int) -> int:
    """Patches that `num_images` images put into the index."""
    rows, cols = center_rectangle(geometry)
    return num_images * len(rows) * len(cols)


def signature_map(geometry: PatchGeometry) -> Int[ndarray, "h w"]:
    """Signature whose dictionary each center belongs to; -1 where no window may have its center."""
    found = np.full((geometry.height, geometry.width), -1, dtype=np.int64)
    for index, signature in enumerate(geometry.signatures):
        rows, cols = signature.rows.centers, signature.cols.centers
        found[rows.start : rows.stop, cols.start : cols.stop] = index
    return found
