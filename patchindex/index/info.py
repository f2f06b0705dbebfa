"""What an index holds, in numbers, as `patchindex info` shows it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from patchindex.index.manifest import Manifest, num_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleInfo:
    """One scale of an index."""

    patch_size: int
    patches: int
    nlist: int
    code_bytes: int
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
        return map(printable, self._lines())

    def _lines(self) -> Iterator[str]:
        n, c, h, w = self.images
        yield f"index     {self.path}"
        yield f"dataset   {self.dataset}: {n:,} images of {c} x {h} x {w}"
        yield f"boundary  {self.boundary}"
        yield f"size      {self.disk_bytes / 1e6:,.1f} MB"
        yield f"built     {self.created} in {self.seconds:,.0f} s, seed {self.seed}"
        yield f"schema    {self.schema_version}"
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        yield f"versions  {versions}"
        yield f"{'scale':>5} {'patches':>13} {'lists':>7} {'bytes/patch':>12} {'seconds':>8}"
        for scale in self.scales:
            yield (
                f"{scale.patch_size:>5} {scale.patches:>13,} {scale.nlist:>7,} "
                f"{scale.bytes_per_patch:>12.1f} {scale.seconds:>8.0f}"
            )


def printable(text: str) -> str:
    """The text, where control characters and halves of characters are escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def describe_index(path: Path, manifest: Manifest) -> IndexInfo:
    """Read everything off the manifest; no array is opened."""
    return IndexInfo(
        path=str(path),
        dataset=manifest["dataset"],
        class_names=tuple(manifest["class_names"]),
        images=tuple(manifest["arrays"]["images"]["shape"]),
        images_sha256=manifest["images_sha256"],
        boundary=manifest["config"]["boundary"],
        seed=manifest["config"]["seed"],
        scales=tuple(describe_scale(manifest, scale) for scale in manifest["config"]["scales"]),
        disk_bytes=sum(num_bytes(entry) for entry in manifest["arrays"].values()),
        seconds=manifest["seconds"]["total"],
        created=manifest["created"],
        schema_version=manifest["schema_version"],
        versions=dict(manifest["versions"]),
    )


def describe_scale(manifest: Manifest, patch_size: int) -> ScaleInfo:
    """One scale; its bytes a patch are those of all its arrays."""
    prefix = f"scales/{patch_size}/"
    entries = {k: v for k, v in manifest["arrays"].items() if k.startswith(prefix)}
    patches, code_bytes = entries[f"{prefix}codes"]["shape"]
    return ScaleInfo(
        patch_size=patch_size,
        patches=patches,
        nlist=entries[f"{prefix}count"]["shape"][0],
        code_bytes=code_bytes,
        bytes_per_patch=sum(num_bytes(entry) for entry in entries.values()) / patches,
        seconds=manifest["seconds"][str(patch_size)],
    )
