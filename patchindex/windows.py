"""Windows cut out of images: of query states and of training images alike."""

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from patchindex.geometry import PatchGeometry


def windows_at(
    x: Float[Tensor, "n c h w"], rows: range, cols: range, geometry: PatchGeometry
) -> Float[Tensor, "n rows cols c s s"]:
    """The patch_size x patch_size window around every center in rows x cols, as a view if possible.

    Cells outside the image are zero, or wrap round, as the geometry's boundary says.
    """
    s = geometry.patch_size
    windows = padded(x, rows, cols, geometry).unfold(2, s, 1).unfold(3, s, 1)
    return rearrange(windows, "n c rows cols sy sx -> n rows cols c sy sx")


def padded(
    x: Float[Tensor, "n c h w"], rows: range, cols: range, geometry: PatchGeometry
) -> Float[Tensor, "n c padded_rows padded_cols"]:
    """Every pixel, inside the image or beyond it, that a window centered in rows x cols covers."""
    r = geometry.radius
    if not geometry.query_wraps:
        wide = pad(x, (r, r, r, r))
    else:
        rows_round, cols_round = (
            wrapped(size, r, x.device) for size in (geometry.height, geometry.width)
        )
        wide = x[:, :, rows_round][..., cols_round]
    return wide[:, :, rows.start : rows.stop + 2 * r, cols.start : cols.stop + 2 * r]


def wrapped(size: int, radius: int, device: torch.device | None = None) -> Int[Tensor, " padded"]:
    """Coordinates -radius .. size-1+radius of an axis that wraps, however often."""
    return torch.arange(-radius, size + radius, device=device) % size
