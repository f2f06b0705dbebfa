"""What a build will need, worked out before it starts: disk exactly, memory and time roughly."""

import shutil
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

from patchindex.errors import IndexConfigError, StoreError
from patchindex.geometry import PatchGeometry, id_dtype
from patchindex.index.config import IndexConfig
from patchindex.index.lists import num_lists, num_patches
from patchindex.index.train import num_train_patches

# Of one core of an AVX-512 server of 2023, from building 60,000 x 1 x 32 x 32 at scales 3, 5, 9, 15
# (980 s), and a tenth more for what runs on one core only.
NS_PER_LIST_AND_DIM = 0.042  # one patch against one centroid
NS_PER_WEIGHT = 0.10  # one cell of a patch, into one dimension
NS_PER_CELL = 8.5  # one cell of a patch, added to the mean of its list
NS_PER_PATCH = 800.0  # everything else that is done once for a patch

PROCESS_BYTES = 750 * 2**20  # Python with torch and FAISS, before any image
LIST_NUMBER_BYTES = 4
MOST_PATCHES = 2**32  # of a scale, which the C++ search numbers by 32 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalePlan:
    """One scale.

    Attributes:
        disk_bytes: of its arrays.
        part_bytes: of the parts that exist while it is built.
        memory_bytes: peak on top of the process.
        mapped_bytes: of the files that are filled through maps.
        core_seconds: of one core.
    """

    patch_size: int
    patches: int
    nlist: int
    disk_bytes: int
    part_bytes: int
    memory_bytes: int
    mapped_bytes: int
    core_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildPlan:
    """A whole build; what was there before is not counted.

    Attributes:
        disk_bytes: of the finished index.
        peak_disk_bytes: the most that is on disk at any moment.
        memory_bytes: the most memory that the build cannot do without.
        mapped_bytes: the most that is mapped from files, images included: pages that are kept where
            memory is free, and given back where it is not.
        seconds: until it is finished.
    """

    scales: tuple[ScalePlan, ...]
    disk_bytes: int
    peak_disk_bytes: int
    memory_bytes: int
    mapped_bytes: int
    seconds: float

    def lines(self) -> list[str]:
        """The plan for people."""
        patches = sum(scale.patches for scale in self.scales)
        lists = sum(scale.nlist for scale in self.scales)
        return [
            f"plan: {patches:,} patches in {lists:,} lists at {len(self.scales)} scales",
            f"plan: {_format_bytes(self.disk_bytes)} of disk, "
            f"{_format_bytes(self.peak_disk_bytes)} while building",
            f"plan: about {_format_bytes(self.memory_bytes)} of memory, and up to "
            f"{_format_bytes(self.mapped_bytes)} of files kept in memory where some is free",
            f"plan: about {_format_duration(self.seconds)} (an estimate)",
        ]


def plan_build(
    shape: tuple[int, int, int, int], config: IndexConfig, *, threads: int = 2
) -> BuildPlan:
    """What building images of this shape [n, c, h, w] will need."""
    n, _, height, width = shape
    scales = tuple(
        _plan_scale(
            PatchGeometry(height=height, width=width, patch_size=p, boundary=config.boundary),
            shape, config,
        )
        for p in config.scales
    )  # fmt: skip
    image_bytes = int(np.prod(shape))
    label_bytes = 8 * n
    finished = accumulate((scale.disk_bytes for scale in scales), initial=image_bytes + label_bytes)
    return BuildPlan(
        scales=scales,
        disk_bytes=image_bytes + label_bytes + sum(scale.disk_bytes for scale in scales),
        peak_disk_bytes=max(
            before + scale.disk_bytes + scale.part_bytes
            for before, scale in zip(finished, scales, strict=False)
        ),
        memory_bytes=PROCESS_BYTES + image_bytes + max(scale.memory_bytes for scale in scales),
        mapped_bytes=image_bytes + max(scale.mapped_bytes for scale in scales),
        seconds=sum(scale.core_seconds for scale in scales) / threads,
    )


def _plan_scale(
    geometry: PatchGeometry, shape: tuple[int, int, int, int], config: IndexConfig
) -> ScalePlan:
    """What one scale will need."""
    n, channels, height, width = shape
    d = channels * geometry.patch_size**2
    dims = config.code_dims(channels, geometry.patch_size)
    lead = min(d, config.list_dims)
    sizes = [n * signature.num_centers for signature in geometry.signatures]
    lists = [num_lists(size, config) for size in sizes]
    patches, nlist = num_patches(geometry, n), sum(lists)
    id_bytes = id_dtype(n, height, width).itemsize
    rows_bytes = patches * (id_bytes + dims)
    # counts, checksums, centroids, FAISS's centroids, mean patch
    list_bytes = 8 * 5 + 4 * (lead + dims + d)
    return ScalePlan(
        patch_size=geometry.patch_size,
        patches=patches,
        nlist=nlist,
        disk_bytes=rows_bytes + nlist * list_bytes + 4 * dims * (d + 3),
        part_bytes=patches * LIST_NUMBER_BYTES,
        memory_bytes=max(
            _train_bytes(d, max(lists), config),
            3 * 8 * nlist * d + min(config.block_patches, patches) * (10 * dims + 48),
        ),
        mapped_bytes=rows_bytes,
        core_seconds=1e-9 * (
            NS_PER_LIST_AND_DIM * lead * _assigned_pairs(sizes, lists, config)
            + patches * (NS_PER_PATCH + NS_PER_WEIGHT * d * dims + NS_PER_CELL * d)
        ),
    )  # fmt: skip


def _assigned_pairs(sizes: list[int], lists: list[int], config: IndexConfig) -> int:
    """Distances between a patch and a centroid, in k-means and in the assignment."""
    return sum(
        count * (size + config.kmeans_iterations * min(size, count * config.points_per_list))
        for size, count in zip(sizes, lists, strict=True)
        if count > 1
    )


def _train_bytes(d: int, most_lists: int, config: IndexConfig) -> int:
    """Memory for the larger of the training samples, and its copies."""
    points = max(num_train_patches(d, config), most_lists * config.points_per_list)
    return points * 4 * (2 * d + 2 * config.list_dims)


def _format_bytes(num_bytes: int) -> str:
    """Bytes in MB or GB."""
    return f"{num_bytes / 1e9:.2f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.2f} MB"


def _format_duration(seconds: float) -> str:
    """Seconds in s or min."""
    return f"{max(seconds, 1):.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def check_patches(plan: BuildPlan, num_images: int) -> None:
    """Raise IndexConfigError if a scale has more patches than a search can tell apart."""
    for scale in plan.scales:
        if scale.patches > MOST_PATCHES:
            most = num_images * MOST_PATCHES // scale.patches
            raise IndexConfigError(
                f"scale {scale.patch_size} has {scale.patches:,} patches, but an index holds at "
                f"most {MOST_PATCHES:,} of a scale. Take at most {most:,} images (--limit), "
                "or smaller ones (--resolution)."
            )


def check_disk(plan: BuildPlan, folder: Path, *, already: int) -> None:
    """Raise StoreError if the disk of `folder` lacks room for what is not there yet.

    Args:
        already: bytes of this build that an interrupted run has left.
    """
    free, needed = shutil.disk_usage(folder).free, plan.peak_disk_bytes - already
    if needed > free:
        raise StoreError(
            f"the build needs {_format_bytes(needed)} more disk at its peak, but {folder} has "
            f"{_format_bytes(free)} free. Free some, give another --out, or fewer --scales."
        )
