"""What `patchindex info` tells of an index."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from patchindex.file_names import one_line
from patchindex.index.snapshot import Snapshot
from patchindex.index.store import num_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleInfo:
    """One scale of an index.

    Attributes:
        lists_per_signature: least and most of a border signature.
        explained_variance: share of the windows' variance that codes can hold.
    """

    patch_size: int
    patches: int
    shards: int
    nlist: int
    lists_per_signature: tuple[int, int]
    code_bytes: int
    explained_variance: float
    bytes_per_patch: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexInfo:
    """A whole index; sizes in bytes, build times in seconds."""

    path: str
    dataset: str
    class_names: tuple[str, ...]
    images: tuple[int, ...]
    images_sha256: str
    has_names: bool
    boundary: str
    seed: int
    scales: tuple[ScaleInfo, ...]
    disk_bytes: int
    seconds: float
    created: str
    schema_version: int
    versions: dict[str, str]

    def lines(self) -> Iterator[str]:
        """The numbers for people; what cannot be shown of a name is escaped."""
        return map(one_line, self._lines())

    def _lines(self) -> Iterator[str]:
        n, c, h, w = self.images
        yield f"index     {self.path}"
        yield f"dataset   {self.dataset}: {n:,} images of {c} x {h} x {w}"
        yield f"names     {'of every image file' if self.has_names else 'none'}"
        yield f"boundary  {self.boundary}"
        yield f"size      {self.disk_bytes / 1e6:,.1f} MB"
        yield f"built     {self.created} in {self.seconds:,.0f} s, seed {self.seed}"
        yield f"schema    {self.schema_version}"
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        yield f"versions  {versions}"
        yield (
            f"{'scale':>5} {'patches':>13} {'shards':>6} {'lists':>8} {'per signature':>14} "
            f"{'dims':>4} {'variance':>8} {'bytes/patch':>12} {'seconds':>8}"
        )
        for scale in self.scales:
            least, most = scale.lists_per_signature
            yield (
                f"{scale.patch_size:>5} {scale.patches:>13,} {scale.shards:>6,} "
                f"{scale.nlist:>8,} {f'{least:,}..{most:,}':>14} {scale.code_bytes:>4} "
                f"{scale.explained_variance:>8.1%} {scale.bytes_per_patch:>12.1f} "
                f"{scale.seconds:>8.0f}"
            )


def describe_index(snapshot: Snapshot) -> IndexInfo:
    """What an open index says of itself; neither images nor lists are read."""
    manifest, config = snapshot.manifest, snapshot.config
    return IndexInfo(
        path=str(snapshot.path),
        dataset=manifest["dataset"],
        class_names=tuple(manifest["class_names"]),
        images=tuple(manifest["arrays"]["images"]["shape"]),
        images_sha256=manifest["images_sha256"],
        has_names=snapshot.names is not None,
        boundary=config.boundary,
        seed=config.seed,
        scales=tuple(_describe_scale(snapshot, scale) for scale in config.scales),
        disk_bytes=sum(num_bytes(entry) for entry in manifest["arrays"].values()),
        seconds=manifest["seconds"]["total"],
        created=manifest["created"],
        schema_version=manifest["schema_version"],
        versions=dict(manifest["versions"]),
    )


def _describe_scale(snapshot: Snapshot, patch_size: int) -> ScaleInfo:
    """One scale; its bytes a patch are those of all its arrays."""
    arrays, prefix = snapshot.scales[patch_size], f"scales/{patch_size}/"
    entries = snapshot.manifest["arrays"]
    total = sum(num_bytes(entry) for name, entry in entries.items() if name.startswith(prefix))
    patches, lists = int(arrays.offsets[-1]), np.diff(arrays.signature_lists)
    return ScaleInfo(
        patch_size=patch_size,
        patches=patches,
        shards=len(arrays.shards),
        nlist=len(arrays.count),
        lists_per_signature=(int(lists.min()), int(lists.max())),
        code_bytes=len(arrays.pca),
        explained_variance=float(arrays.explained_variance[-1]),
        bytes_per_patch=total / patches,
        seconds=snapshot.manifest["seconds"][str(patch_size)],
    )
