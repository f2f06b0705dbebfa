"""Exact distances of chosen patches in torch: windows are cut again from the uint8 images."""

from itertools import product

import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from patchindex.geometry import BorderSignature, PatchGeometry
from patchindex.images import to_unit

CHUNK_BYTES = 2**26


def rescore(
    pixels: UInt8[Tensor, "n c h w"],
    windows: Float[Tensor, "q c s s"],
    ids: Int[Tensor, "q k"],
    geometry: PatchGeometry,
    signature: BorderSignature,
) -> Float[Tensor, "q k"]:
    """Squared distances between each query window and its own patches.

    Args:
        windows: query windows in [-1, 1] data units; all of one signature.
        ids: legal patches of that signature (`geometry.patch_ids`).
    """
    seen = seen_cells(windows, geometry, signature)
    step = max(1, CHUNK_BYTES // (8 * seen[0].numel() * ids.shape[1] + 1))
    chunks = zip(seen.split(step), ids.split(step), strict=True)
    return torch.cat(
        [
            (regather(pixels, block, signature) - query[:, None]).square_().sum((-2, -1))
            for query, block in chunks
        ]
    )


def rescore_shared(
    pixels: UInt8[Tensor, "n c h w"],
    windows: Float[Tensor, "q c s s"],
    ids: Int[Tensor, " m"],
    geometry: PatchGeometry,
    signature: BorderSignature,
) -> Float[Tensor, "q m"]:
    """Squared distances between every query window and every patch: each is cut out once only."""
    seen = rearrange(seen_cells(windows, geometry, signature), "q c o -> q (c o)")
    patches = rearrange(regather(pixels, ids, signature), "m c o -> m (c o)")
    # never the expanded form q^2 - 2qp + p^2, which cancels where distances are small
    return torch.cdist(seen, patches, compute_mode="donot_use_mm_for_euclid_dist").square_()


def centers_of(
    pixels: UInt8[Tensor, "n c h w"], ids: Int[Tensor, "*q"]
) -> Float[Tensor, "*q c"]:
    """Center pixels of the patches with these ids, in [-1, 1]."""
    _, channels, height, width = pixels.shape
    image, cell = ids // (height * width), ids % (height * width)
    flat = (image * channels)[..., None] + torch.arange(channels)
    return to_unit(pixels.reshape(-1)[flat * (height * width) + cell[..., None]])


def seen_cells(
    windows: Float[Tensor, "q c s s"], geometry: PatchGeometry, signature: BorderSignature
) -> Float[Tensor, "q c o"]:
    """The cells of full windows that lie inside the image, in the order of `regather`."""
    r, rows, cols = geometry.radius, signature.rows.offsets, signature.cols.offsets
    inside = windows[:, :, rows.start + r : rows.stop + r, cols.start + r : cols.stop + r]
    return rearrange(inside, "q c sy sx -> q c (sy sx)")


def regather(
    pixels: UInt8[Tensor, "n c h w"], ids: Int[Tensor, "*q"], signature: BorderSignature
) -> Float[Tensor, "*q c o"]:
    """In-image cells of the patches with these ids, in [-1, 1]; cells past a border wrap round."""
    _, channels, height, width = pixels.shape
    offsets = torch.tensor(list(product(signature.rows.offsets, signature.cols.offsets)))
    rows = (ids // width % height)[..., None] + offsets[:, 0]
    cols = (ids % width)[..., None] + offsets[:, 1]
    cells = rows % height * width + cols % width
    planes = (ids // (height * width) * channels)[..., None] + torch.arange(channels)
    return to_unit(pixels.reshape(-1)[planes[..., None] * (height * width) + cells[..., None, :]])
