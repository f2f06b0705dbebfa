"""What a build will need, worked out before it starts: disk exactly, memory and time roughly."""

import shutil
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import numpy as np

from patchindex.errors import IndexConfigError, StoreError
from patchindex.geometry import PatchGeometry
from patchindex.index.config import IndexConfig
from patchindex.index.kmeans import ROUNDS
from patchindex.index.lists import list_counts, num_patches, shard_ranges
from patchindex.index.quantizer import VISITS
from patchindex.index.shard import SORTED
from patchindex.index.train import WINDOWS, num_train_patches
from patchindex.progress import format_duration

# Of one core of an AVX-512 server of 2023, from building 8,000 x 3 x 32 x 32 at scales 5, 9, 15
# (80 s), and a tenth more for what runs on one core only.
NS_PER_LIST_AND_DIM = 0.09  # one patch against one centroid, or the center of a cell
NS_PER_WEIGHT = 0.036  # one cell of a patch, into one dimension
NS_PER_PATCH = 900.0  # everything else that is done once for a patch
NS_PER_CELL = 12.0  # one cell of a patch that k-means learns from

PROCESS_BYTES = 750 * 2**20  # Python with torch and FAISS, before any image
ID_BYTES = LIST_NUMBER_BYTES = 4
MOST_PATCHES = 2**32  # of a scale, which the C++ search numbers by 32 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalePlan:
    """One scale; how many dimensions its codes get is known only once images were looked at.

    Attributes:
        disk_bytes: of its arrays, at most.
        memory_bytes: peak on top of the process.
        mapped_bytes: of the files that are filled through maps.
        core_seconds: of one core.
    """

    patch_size: int
    patches: int
    nlist: int
    disk_bytes: int
    memory_bytes: int
    mapped_bytes: int
    core_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildPlan:
    """A whole build, without what was there before and what killed workers leave for a while.

    Attributes:
        disk_bytes: of the finished index, which is the most that is on disk at any moment.
        memory_bytes: the most memory that the build cannot do without.
        mapped_bytes: the most that is mapped from files, images included: pages that are kept where
            memory is free, and given back where it is not.
        seconds: until it is finished.
    """

    scales: tuple[ScalePlan, ...]
    disk_bytes: int
    memory_bytes: int
    mapped_bytes: int
    seconds: float

    def lines(self) -> list[str]:
        """The plan for people."""
        patches = sum(scale.patches for scale in self.scales)
        lists = sum(scale.nlist for scale in self.scales)
        return [
            f"plan: {patches:,} patches in {lists:,} lists at {len(self.scales)} scales",
            f"plan: at most {_format_bytes(self.disk_bytes)} of disk",
            f"plan: about {_format_bytes(self.memory_bytes)} of memory, and up to "
            f"{_format_bytes(self.mapped_bytes)} of files kept in memory where some is free",
            f"plan: about {format_duration(self.seconds)} (an estimate)",
        ]

    def time_left(self, num_done: int, seconds: float) -> str:
        """Time for the scales behind the first ones, given the seconds that these took."""
        planned = [scale.core_seconds for scale in self.scales]
        return format_duration(seconds * sum(planned[num_done:]) / sum(planned[:num_done]))


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
    return BuildPlan(
        scales=scales,
        disk_bytes=image_bytes + label_bytes + sum(scale.disk_bytes for scale in scales),
        memory_bytes=PROCESS_BYTES + image_bytes + max(scale.memory_bytes for scale in scales),
        mapped_bytes=image_bytes + max(scale.mapped_bytes for scale in scales),
        seconds=sum(scale.core_seconds for scale in scales) / threads,
    )


def _plan_scale(
    geometry: PatchGeometry, shape: tuple[int, int, int, int], config: IndexConfig
) -> ScalePlan:
    """What one scale will need."""
    n, channels = shape[:2]
    d = channels * geometry.patch_size**2
    dims = config.code_dims(channels, geometry.patch_size)[-1]
    lead = min(d, config.list_dims)
    lists = list_counts(geometry, n, config)
    patches, nlist = num_patches(geometry, n), sum(lists)
    shards = shard_ranges(geometry, n, config)
    most_in_shard = num_patches(geometry, len(shards[0]))
    rows_bytes = patches * (ID_BYTES + dims)
    list_bytes = 4 * lead + len(shards) * (8 + 2 * 4)  # centroids; offsets, two checksums
    return ScalePlan(
        patch_size=geometry.patch_size,
        patches=patches,
        nlist=nlist,
        disk_bytes=rows_bytes + nlist * list_bytes + 4 * dims * (d + 5)
        + 8 * (len(lists) + 1 + len(shards)),
        memory_bytes=max(
            _train_bytes(d, max(lists), config),
            most_in_shard * (dims + 2 * LIST_NUMBER_BYTES + ID_BYTES) + 2 * SORTED * (3 * 8 + dims),
        ),
        mapped_bytes=rows_bytes,
        core_seconds=1e-9 * (
            NS_PER_LIST_AND_DIM * lead * _compared_pairs(geometry, n, lists, config)
            + patches * (NS_PER_PATCH + NS_PER_WEIGHT * d * dims)
            + nlist * config.points_per_list * NS_PER_CELL * d
        ),
    )  # fmt: skip


def _compared_pairs(
    geometry: PatchGeometry, num_images: int, lists: list[int], config: IndexConfig
) -> float:
    """Distances between a patch and a centroid, in k-means and in the assignment."""
    pairs = 0.0
    for signature, count in zip(geometry.signatures, lists, strict=True):
        if count > 1:
            size = num_images * signature.num_centers
            points = min(size, count * config.points_per_list)
            each = (1 + VISITS) * sqrt(count)  # centers of cells, and members of those visited
            pairs += (size + ROUNDS * points) * each
            pairs += config.kmeans_iterations * points * 2 * sqrt(count)
    return pairs


def _train_bytes(d: int, most_lists: int, config: IndexConfig) -> int:
    """Memory for the samples of PCA, or of k-means, and their copies."""
    vectors = most_lists * config.points_per_list * 4 * 4 * config.list_dims
    return max(num_train_patches(d, config), WINDOWS) * 4 * 2 * d + vectors


def _format_bytes(num_bytes: int) -> str:
    """Bytes in MB or GB."""
    return f"{num_bytes / 1e9:.2f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.2f} MB"


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
    free, needed = shutil.disk_usage(folder).free, plan.disk_bytes - already
    if needed > free:
        raise StoreError(
            f"the build needs {_format_bytes(needed)} more disk at most, but {folder} has "
            f"{_format_bytes(free)} free. Free some, give another --out, or fewer --scales."
        )
