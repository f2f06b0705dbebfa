"""What both benchmarks of near-copies share: an index beside held-out images, resumable answers."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import click
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from benchmarks.record import time_and_commit
from patchindex import ImageSet, IndexConfig, PatchIndex, build_index
from patchindex.environment import library_versions
from patchindex.images import to_unit
from sampler.attribution.copy_results import CopySettings, NearCopies
from sampler.attribution.near_copies import resolved, search_pictures

BATCH = 8
VERSION = 2  # of what is kept of each picture
POOL = 4000  # images behind the indexed ones that held-out ones are drawn from, at most
Pixels = UInt8[ndarray, "b c h w"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What was measured on; `num` pictures with copies, and as many without."""

    dataset: str
    limit: int
    patch_size: int
    num: int
    seed: int

    def open(self, scratch: Path) -> tuple[PatchIndex, Pixels]:
        """The index of the first `limit` images, and images that it does not hold."""
        images = ImageSet.load(self.dataset, limit=self.limit + POOL)
        first = ImageSet.from_array(
            np.asarray(images.pixels[: self.limit]), name=self.dataset, layout="nchw"
        )
        path = scratch / f"{self.dataset}-{self.limit}-{self.patch_size}.zarr"
        index = build_index(first, IndexConfig(scales=(self.patch_size,)), path)
        return index, np.asarray(images.pixels[self.limit :])

    def settings(self, index: PatchIndex) -> CopySettings:
        """Those of every search."""
        return resolved(CopySettings(patch_size=self.patch_size), index)


def about(benchmark: str, setup: Setup, index: PatchIndex) -> dict[str, Any]:
    """What every row begins with."""
    return time_and_commit() | {
        "command": f"python -m benchmarks.attribution.{benchmark} --dataset {setup.dataset} "
        f"--limit {setup.limit} --scale {setup.patch_size} --num {setup.num} --seed {setup.seed} "
        "--scratch DIR",
        "versions": library_versions(),
        "benchmark": benchmark,
        "config": asdict(setup),
        "settings": asdict(setup.settings(index)),
    }


def answered(
    index: PatchIndex,
    pixels: Pixels,
    settings: CopySettings,
    scratch: Path,
    row: Callable[[int, NearCopies], dict[str, Any]],
) -> list[dict[str, Any]]:
    """A row for each picture; those that an earlier run of the same pictures left are kept."""
    job = sha256(pixels.tobytes() + json.dumps([VERSION, asdict(settings), index.digest]).encode())
    path = scratch / f"answers-{job.hexdigest()[:24]}.jsonl"
    rows = read_rows(path)
    with path.open("w") as lines:  # without a last line that was cut short
        lines.writelines(json.dumps(each) + "\n" for each in rows)
        for start in range(len(rows), len(pixels), BATCH):
            some = pixels[start : start + BATCH]
            found = search_pictures(index, to_unit(some), settings)
            new = [row(start + place, each) for place, each in enumerate(found)]
            lines.writelines(json.dumps(each) + "\n" for each in new)
            lines.flush()
            rows += new
            click.echo(f"\r{len(rows)} of {len(pixels)} pictures", nl=False, err=True)
    click.echo(err=True)
    return rows


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file; none if there is no file."""
    if not path.exists():
        return []
    text = path.read_text()
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def auroc(copies: Sequence[float], others: Sequence[float]) -> float:
    """How often a copy scores higher than another picture, ties half."""
    high, low = np.asarray(copies)[:, None], np.asarray(others)[None]
    return float((high > low).mean() + 0.5 * (high == low).mean())


def auroc_error(area: float, copies: int, others: int) -> float:
    """Standard error of an AUROC (Hanley and McNeil 1982)."""
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (copies - 1) * (q1 - area**2) + (others - 1) * (q2 - area**2)
    return float(np.sqrt(max(0.0, variance) / (copies * others)))


def true_positives(copies: Sequence[float], others: Sequence[float], rate: float) -> float:
    """Share of copies that score above all but this share of other pictures."""
    threshold = np.quantile(np.asarray(others), 1 - rate, method="higher")
    return float((np.asarray(copies) > threshold).mean())


def nearest_l2(pixels: Pixels, training: Pixels) -> Float[ndarray, " b"]:
    """Minus the root mean square difference of each picture from the nearest training image."""
    a = pixels.reshape(len(pixels), -1).astype(np.float32) / 127.5
    b = training.reshape(len(training), -1).astype(np.float32) / 127.5
    squared = np.square(a).sum(1)[:, None] - 2 * a @ b.T + np.square(b).sum(1)
    scores: Float[ndarray, " b"] = -np.sqrt(squared.clip(0).min(axis=1) / a.shape[1])
    return scores


def cosines(side: int) -> Float[ndarray, "8 side"]:
    """The first eight cosines of the DCT of an axis."""
    waves: Float[ndarray, "8 side"] = np.cos(
        np.pi / side * np.arange(8)[:, None] * (np.arange(side) + 0.5)
    )
    return waves


def nearest_hash(pixels: Pixels, training: Pixels) -> Float[ndarray, " b"]:
    """Minus the smallest Hamming distance of perceptual hashes from all training images.

    64 signs of the lowest DCT coefficients of the grey picture against their median, as `pHash` has
    them.
    """

    def bits(images: Pixels) -> UInt8[ndarray, "n 64"]:
        rows, cols = (cosines(side) for side in images.shape[2:])
        low = (rows @ images.mean(axis=1) @ cols.T).reshape(len(images), 64)
        signs: UInt8[ndarray, "n 64"] = (low > np.median(low[:, 1:], axis=1, keepdims=True)).astype(
            np.uint8
        )
        return signs

    known, scores = bits(training), []
    for each in bits(pixels):
        scores.append(-float((known != each).sum(axis=1).min()))
    return np.array(scores)
