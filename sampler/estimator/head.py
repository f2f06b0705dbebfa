"""The head of an estimate: patches found for a pixel, and those found for its neighbors.

What was found for a pixel, moved by the same step as from that pixel to its neighbor, is a
candidate for the neighbor: three neighbors make up for three quarters of the lists that a search
would have to visit to find as much. A candidate's weight comes from its exact distance like any
other's, so a poor candidate costs time and no bias.
"""

from jaxtyping import Bool, Int
from torch import Tensor

from patchindex import BorderSignature, PatchGeometry
from patchindex.kernels import NeighborAxis, propagate_neighbors


def with_neighbors(
    found: Int[Tensor, "q k"],
    wanted: Bool[Tensor, "b rows cols"],
    signature: BorderSignature,
    geometry: PatchGeometry,
) -> Int[Tensor, "q m"]:
    """Ids found for each wanted pixel of a signature, or for one beside it, below or across.

    Args:
        found: ids of the wanted pixels, in their order; -1 for none.

    Returns:
        Legal ids, each once and ascending; -1 behind the last.
    """
    field = found.new_full((*wanted.shape, found.shape[1]), -1)
    field[wanted] = found
    rows, cols = signature.rows, signature.cols
    return propagate_neighbors(
        field,
        wanted.nonzero(),
        NeighborAxis.beside(len(rows.pixels), rows.centers, found.device),
        NeighborAxis.beside(len(cols.pixels), cols.centers, found.device),
        height=geometry.height,
        width=geometry.width,
    )
