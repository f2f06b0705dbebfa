"""Rescoring on a device, beside the time that its memory needs to bring the windows."""

from statistics import median
from typing import Any

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from benchmarks.device.chip import copied_bytes_per_second, seconds_of
from benchmarks.device.scan import geometry_of
from patchindex.geometry import BorderSignature, PatchGeometry
from patchindex.kernels import patch_distances

SECTOR = 32  # bytes that a GPU's memory brings at least
COUNTED = 4096  # windows whose sectors are counted


def rescore_row(
    pixels: UInt8[Tensor, "n c h w"],
    patch_size: int,
    num_queries: int,
    num_candidates: int,
    copy_bytes: int,
) -> dict[str, Any]:
    """Random interior patches of all images, other ones for each query."""
    device, channels = pixels.device, pixels.shape[1]
    geometry = geometry_of(pixels, patch_size)
    interior = max(geometry.signatures, key=lambda signature: signature.num_centers)
    ids = random_ids(geometry, interior, len(pixels), (num_queries, num_candidates)).to(device)
    windows = torch.randn(
        (num_queries, channels, patch_size, patch_size), generator=torch.Generator().manual_seed(0)
    ).to(device)
    run = lambda: patch_distances(pixels, windows, ids, geometry, interior)  # noqa: E731
    first = seconds_of(run, device, 1)[0]  # compiles
    seconds = median(seconds_of(run, device, 5))
    bandwidth = copied_bytes_per_second(device, copy_bytes)
    # ids are read and distances are written besides
    around = ids.numel() * (ids.element_size() + 4)
    cell_bytes = ids.numel() * channels * patch_size**2
    sectors = sectors_of_windows(ids.flatten()[:COUNTED].cpu(), geometry, channels)
    sector_bytes = ids.numel() * float(sectors.double().mean()) * SECTOR
    return {
        "part": "rescore",
        "shape": list(pixels.shape),
        "patch_size": patch_size,
        "queries": num_queries,
        "candidates": num_candidates,
        "first_call_seconds": first,
        "seconds": seconds,
        "cell_bytes": cell_bytes,
        "sector_bytes": sector_bytes,
        "bytes_per_second": bandwidth,
        "cell_share": (cell_bytes + around) / bandwidth / seconds,
        "sector_share": (sector_bytes + around) / bandwidth / seconds,
    }


def random_ids(
    geometry: PatchGeometry, signature: BorderSignature, num_images: int, shape: tuple[int, int]
) -> Int[Tensor, "q k"]:
    """Legal patches of a signature."""
    generator = torch.Generator().manual_seed(0)
    image, row, col = (
        torch.randint(axis.start, axis.stop, shape, generator=generator)
        for axis in (range(num_images), signature.rows.centers, signature.cols.centers)
    )
    return (image * geometry.height + row) * geometry.width + col


def sectors_of_windows(
    ids: Int[Tensor, " m"], geometry: PatchGeometry, channels: int
) -> Int[Tensor, " m"]:
    """Sectors that hold the cells of each whole window in images one behind another."""
    height, width, radius = geometry.height, geometry.width, geometry.radius
    image, center = ids // (height * width), ids % (height * width)
    corner = image * channels * height * width + center - radius * (width + 1)
    channel, row = torch.arange(channels), torch.arange(geometry.patch_size)
    first = corner[:, None, None] + (channel[:, None] * height + row) * width
    last = first + geometry.patch_size - 1
    first_sector, last_sector = first.flatten(1) // SECTOR, last.flatten(1) // SECTOR
    # rows ascend, so a sector that two of them share is the last of one and the first of the next
    shared = (first_sector[:, 1:] == last_sector[:, :-1]).sum(1)
    return (last_sector - first_sector + 1).sum(1) - shared
