"""Shares of images and patches in pixels whose whole mass is known; here also in torch."""

from dataclasses import dataclass
from math import inf

import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from patchindex.geometry import PatchGeometry
from patchindex.images import to_unit
from patchindex.kernels.bounds import check_masses, check_states
from patchindex.kernels.in_threads import in_threads
from patchindex.kernels.torch_scan import (
    CHUNK_BYTES,
    LOG_NOTHING,
    AxisPairs,
    box_distances,
    displacements,
)

DEVICE_CHUNK_BYTES = 2**26  # on a GPU, where small operations cost as much as large ones


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScannedShares:
    """What divides the masses of the pixels of some states among images and patches.

    Attributes:
        images: of each image, the shares of its patches added over the pixels of a state.
        places, ids, shares: the patches with large shares, in any order: position of the pixel in
            the flattened states, patch id among these images, and share.
    """

    images: Float[Tensor, "b n"]
    places: Int[Tensor, " m"]
    ids: Int[Tensor, " m"]
    shares: Float[Tensor, " m"]

    @classmethod
    def of_blocks(cls, blocks: list["ScannedShares"], pixels_per_image: int) -> "ScannedShares":
        """Those of consecutive images as one; there must be one block at least."""
        counts = torch.tensor([0] + [block.images.shape[1] for block in blocks])
        firsts = counts.cumsum(0).tolist()
        return cls(
            images=torch.cat([block.images for block in blocks], dim=1),
            places=torch.cat([block.places for block in blocks]),
            ids=torch.cat(
                [
                    block.ids + first * pixels_per_image
                    for block, first in zip(blocks, firsts[:-1], strict=True)
                ]
            ),
            shares=torch.cat([block.shares for block in blocks]),
        )


def scan_shares(
    pixels: UInt8[Tensor, "n c h w"],
    y: Float[Tensor, "b c h w"],
    sigma: float,
    geometry: PatchGeometry,
    log_mass: Float[Tensor, "b h w"],
    *,
    least_share: float,
) -> ScannedShares:
    """See `patchindex.kernels`; computes where the states lie."""
    check_states(y, sigma)
    check_masses(log_mass)
    chunk_bytes = DEVICE_CHUNK_BYTES if y.is_cuda else CHUNK_BYTES
    blocks = pixels.split(max(1, chunk_bytes // (4 * geometry.height * geometry.width)))

    def scan_block(block: UInt8[Tensor, "m c h w"]) -> ScannedShares:
        return _share_block(
            block.to(y.device), y, sigma, geometry, log_mass, least_share=least_share
        )

    done = [scan_block(block) for block in blocks] if y.is_cuda else in_threads(scan_block, blocks)
    return ScannedShares.of_blocks(done, geometry.height * geometry.width)


def _share_block(
    block: UInt8[Tensor, "n c h w"],
    y: Float[Tensor, "b c h w"],
    sigma: float,
    geometry: PatchGeometry,
    log_mass: Float[Tensor, "b h w"],
    *,
    least_share: float,
) -> ScannedShares:
    """The shares of one block of images."""
    scale = 1 / (2**0.5 * sigma)  # as in `exact_scan`
    train = rearrange(to_unit(block), "n c h w -> c h w n").mul_(scale).contiguous()
    repeats = 2 if geometry.query_wraps else 1
    images = torch.zeros(len(y), len(block), dtype=torch.float64, device=y.device)
    listed: list[tuple[Tensor, Tensor, Tensor]] = []
    for state, (query, masses) in enumerate(zip(y * scale, log_mass, strict=True)):
        plane, plane_mass = query.repeat(1, repeats, repeats), masses.repeat(repeats, repeats)
        for rows, cols in displacements(geometry):
            dist_sq = box_distances(plane, train, rows, cols, geometry)
            here = plane_mass[rows.pixels, cols.pixels, None]
            log_shares = torch.where(here == inf, LOG_NOTHING, -dist_sq.double() - here)
            shares = log_shares.float().clamp_(min=LOG_NOTHING).exp_()
            images[state] += shares.sum((0, 1))
            row, col, image = (shares >= least_share).nonzero(as_tuple=True)
            if len(image):
                place, center = _places_of(row, col, rows, cols, geometry)
                num_pixels = geometry.height * geometry.width
                share = shares[row, col, image].double()
                listed.append((state * num_pixels + place, image * num_pixels + center, share))
    nothing = torch.zeros(0, dtype=torch.int64, device=y.device)
    places, ids, found = (
        torch.cat(parts)
        for parts in zip((nothing, nothing, images.new_zeros(0)), *listed, strict=True)
    )
    return ScannedShares(images=images, places=places, ids=ids, shares=found)


def _places_of(
    row: Int[Tensor, " m"],
    col: Int[Tensor, " m"],
    rows: AxisPairs,
    cols: AxisPairs,
    geometry: PatchGeometry,
) -> tuple[Int[Tensor, " m"], Int[Tensor, " m"]]:
    """Query pixel and training center of entries of a map of distances, each as one number."""
    height, width = geometry.height, geometry.width
    place = (rows.pixels.start + row) % height * width + (cols.pixels.start + col) % width
    center = (rows.centers.start + row) * width + cols.centers.start + col
    return place, center
