"""The legal training patch nearest to every window of an image, by a plain float64 comparison.

No machine and no kernel has a part in it. Patches that occur more than once are compared once.
"""

from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from patchindex import BorderSignature, PatchGeometry, windows_at

BLOCK_PATCHES = 256  # a block's distances stay in the cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Dictionary:
    """The different patches that may stand for the pixels of one border signature.

    Attributes:
        patches: cells inside the image, in [-1, 1].
        image: the first training image that holds the patch.
        copies: how often the training images hold it.
    """

    geometry: PatchGeometry
    signature: BorderSignature
    patches: Float[Tensor, "p d"]
    centers: Float[Tensor, "p c"]
    image: Int[Tensor, " p"]
    copies: Int[Tensor, " p"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NearestPatches:
    """Of every pixel's nearest patch: the center, where it is from, and how often it occurs."""

    centers: Float[Tensor, "b c h w"]
    image: Int[Tensor, "b h w"]
    copies: Int[Tensor, "b h w"]


def dictionaries(pixels: UInt8[Tensor, "n c h w"], geometry: PatchGeometry) -> list[Dictionary]:
    """A dictionary for each border signature."""
    return [dictionary(pixels, geometry, signature) for signature in geometry.signatures]


def dictionary(
    pixels: UInt8[Tensor, "n c h w"], geometry: PatchGeometry, signature: BorderSignature
) -> Dictionary:
    """The different legal patches of one border signature."""
    rows, cols = signature.rows.centers, signature.cols.centers
    windows = windows_at(pixels.float(), rows, cols, geometry)
    cells = inner_cells(windows, geometry, signature).byte()
    found = np.unique(cells.numpy(), axis=0, return_index=True, return_counts=True)
    different, first, copies = (torch.from_numpy(part) for part in found)
    centers = pixels[:, :, rows.start : rows.stop, cols.start : cols.stop]
    centers = rearrange(centers, "n c rows cols -> (n rows cols) c")[first]
    return Dictionary(
        geometry=geometry,
        signature=signature,
        patches=different.double() / 127.5 - 1,
        centers=centers.double() / 127.5 - 1,
        image=first // (len(rows) * len(cols)),
        copies=copies,
    )


def inner_cells(
    windows: Float[Tensor, "n rows cols c s s"], geometry: PatchGeometry, signature: BorderSignature
) -> Float[Tensor, "q d"]:
    """The cells of each window that lie inside the image; the others are equal and cancel."""
    (top, bottom), (left, right) = (
        (axis.offsets.start + geometry.radius, axis.offsets.stop + geometry.radius)
        for axis in (signature.rows, signature.cols)
    )
    inside = windows[..., top:bottom, left:right]
    return rearrange(inside, "n rows cols c sy sx -> (n rows cols) (c sy sx)").contiguous()


def nearest_patches(images: Float[Tensor, "b c h w"], legal: list[Dictionary]) -> NearestPatches:
    """The nearest patch of every pixel's window."""
    b, _, h, w = images.shape
    centers = torch.empty(images.shape, dtype=torch.float64)
    image, copies = (torch.empty(b, h, w, dtype=torch.int64) for _ in range(2))
    for part in legal:
        rows, cols = part.signature.rows.pixels, part.signature.cols.pixels
        windows = windows_at(images.double(), rows, cols, part.geometry)
        queries = inner_cells(windows, part.geometry, part.signature)
        nearest = torch.cat([nearest_rows(each, part.patches) for each in queries.chunk(b)])
        at = (..., slice(rows.start, rows.stop), slice(cols.start, cols.stop))
        shape = {"b": b, "rows": len(rows)}
        centers[at] = rearrange(part.centers[nearest], "(b rows cols) c -> b c rows cols", **shape)
        image[at] = rearrange(part.image[nearest], "(b rows cols) -> b rows cols", **shape)
        copies[at] = rearrange(part.copies[nearest], "(b rows cols) -> b rows cols", **shape)
    return NearestPatches(centers=centers, image=image, copies=copies)


def nearest_rows(queries: Float[Tensor, "q d"], patches: Float[Tensor, "p d"]) -> Int[Tensor, " q"]:
    """The row of `patches` with the smallest squared distance to each query, block by block."""
    best = torch.full((len(queries),), torch.inf, dtype=torch.float64)
    where = torch.zeros(len(queries), dtype=torch.int64)
    # |p - q|^2 without |q|^2, which is the same for all patches, as one product: (p, |p|^2)(-2q, 1)
    left = torch.cat([patches, patches.square().sum(1, keepdim=True)], 1)
    right = torch.cat([-2 * queries, torch.ones(len(queries), 1, dtype=torch.float64)], 1).T
    for start in range(0, len(patches), BLOCK_PATCHES):
        dist_sq = left[start : start + BLOCK_PATCHES] @ right
        found = dist_sq.amin(0)
        (nearer,) = torch.nonzero(found < best, as_tuple=True)
        best[nearer] = found[nearer]
        where[nearer] = dist_sq[:, nearer].argmin(0) + start
    return where
