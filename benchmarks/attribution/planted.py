"""Pictures with copied regions among as many without: are they found, and where.

    python -m benchmarks.attribution.planted --dataset fashion_mnist --limit 5000 --scratch DIR

Appends a JSON line for each kind of copy, and one for all, to benchmarks/results/near_copies.jsonl.
The index of the first --limit images is built in DIR, unless it is there; held-out images follow
them in the set. What was found in each picture stays in DIR, so that the same command goes on.

Half of the pictures without a copy are plain held-out images, a quarter are compressed and a
quarter noisy, as pictures with copies are. `iou` is the overlap of the region that names the image
and the displacement with the planted one, 0 where none does. `iou_distinct` leaves out the pixels
beside the planted region where the image would have fitted too, within 8 gray levels: nobody can
tell there. All three count any copy that is reported, up to eight; `..._first` count only as many
as were planted, those with the most evidence.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from jaxtyping import Bool, UInt8
from numpy import ndarray

from benchmarks.attribution.copy_work import (
    Pixels,
    Setup,
    about,
    answered,
    auroc,
    auroc_error,
    nearest_hash,
    nearest_l2,
    true_positives,
)
from benchmarks.attribution.planting import KINDS, Picture, Planted, jpeg, noisy, plant
from benchmarks.record import RESULTS, append_rows
from sampler.attribution.copy_results import NearCopies

SAME = 8  # gray levels


@click.command()
@click.option("--dataset", default="fashion_mnist", show_default=True, help="As for a build.")
@click.option("--limit", default=5000, show_default=True, help="Images of the index.")
@click.option("--scale", default=7, show_default=True, help="Patch size that is searched.")
@click.option("--num", default=200, show_default=True, help="Pictures with copies, and without.")
@click.option("--seed", default=1, show_default=True)
@click.option("--scratch", type=click.Path(path_type=Path), required=True, help="Work folder.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "near_copies.jsonl")
def main(
    *, dataset: str, limit: int, scale: int, num: int, seed: int, scratch: Path, out: Path
) -> None:
    """Measure detection and localization of planted copies."""
    scratch.mkdir(parents=True, exist_ok=True)
    setup = Setup(dataset=dataset, limit=limit, patch_size=scale, num=num, seed=seed)
    append_rows(out, measured(setup, scratch))


def measured(setup: Setup, scratch: Path) -> Iterator[dict[str, Any]]:
    """A row for each kind, and one for all."""
    index, others = setup.open(scratch)
    training = np.asarray(index.images.pixels)
    pictures = make_pictures(setup, training, others)
    pixels = np.stack([each.pixels for each in pictures])

    def row(number: int, found: NearCopies) -> dict[str, Any]:
        planted = pictures[number].planted
        first = replace(found, copies=found.copies[: len(planted)])
        parts = [
            overlap(found, each, pixels[number], training)
            | {
                f"{name}_first": value
                for name, value in overlap(first, each, pixels[number], training).items()
            }
            for each in planted
        ]
        return {"score": found.score, "parts": parts}

    rows = answered(index, pixels, setup.settings(index), scratch, row)
    scores = {
        "near_copies": [each["score"] for each in rows],
        "perceptual_hash": nearest_hash(pixels, training).tolist(),
        "nearest_image": nearest_l2(pixels, training).tolist(),
    }
    common = about("planted", setup, index)
    for kind in (*KINDS, "all"):
        chosen = [i for i in range(setup.num) if kind in (pictures[i].kind, "all")]
        parts = [part for i in chosen for part in rows[i]["parts"]]
        measures = common | {"kind": kind, "pictures": len(chosen)} | summary(scores, chosen, setup)
        measures |= {name: float(np.mean([part[name] for part in parts])) for name in parts[0]}
        click.echo(
            f"{setup.dataset} {kind:10} AUROC {measures['auroc']['near_copies']:.4f} "
            f"named {measures['named']:.3f} first {measures['named_first']:.3f} "
            f"IoU {measures['iou']:.3f} "
            f"first {measures['iou_first']:.3f} distinct {measures['iou_distinct_first']:.3f}"
        )
        yield measures


def summary(
    scores: dict[str, list[float]], chosen: Sequence[int], setup: Setup
) -> dict[str, dict[str, float]]:
    """AUROC of each score for these pictures against all without copies."""
    found: dict[str, dict[str, float]] = {"auroc": {}, "auroc_error": {}, "found_at_1_percent": {}}
    for name, each in scores.items():
        with_copies, without = [each[i] for i in chosen], each[setup.num :]
        area = auroc(with_copies, without)
        found["auroc"][name] = area
        found["auroc_error"][name] = auroc_error(area, len(with_copies), len(without))
        found["found_at_1_percent"][name] = true_positives(with_copies, without, 0.01)
    return found


def make_pictures(setup: Setup, training: Pixels, others: Pixels) -> list[Picture]:
    """Those with copies, kind after kind in turn, and those without."""
    rng = np.random.default_rng(setup.seed)
    hosts = others[rng.choice(len(others), 2 * setup.num, replace=False)]
    planted = [
        plant(KINDS[i % len(KINDS)], host, training, rng)
        for i, host in enumerate(hosts[: setup.num])
    ]
    return planted + [untouched(i, host, rng) for i, host in enumerate(hosts[setup.num :])]


def untouched(number: int, host: UInt8[ndarray, "c h w"], rng: np.random.Generator) -> Picture:
    """A held-out image as it is, compressed, or noisy."""
    changed = {1: lambda: jpeg(host, 75), 3: lambda: noisy(host, 0.05, rng)}
    return Picture(kind="none", pixels=changed.get(number % 4, lambda: host)(), planted=())


def overlap(
    found: NearCopies,
    planted: Planted,
    picture: UInt8[ndarray, "c h w"],
    training: Pixels,
) -> dict[str, float]:
    """Whether image and displacement were named, and how well region and truth overlap."""
    region = np.zeros_like(planted.region)
    for copy in found.copies:
        if (copy.image, copy.displacement) == (planted.image, planted.displacement):
            region |= copy.region
    beside = fits(planted, picture, training) & ~planted.region
    return {
        "named": float(region.any()),
        "iou": iou(region, planted.region),
        "iou_distinct": iou(region & ~beside, planted.region),
    }


def fits(
    planted: Planted, picture: UInt8[ndarray, "c h w"], training: Pixels
) -> Bool[ndarray, "h w"]:
    """Where the image at this displacement is about equal to the picture."""
    _, height, width = picture.shape
    dy, dx = planted.displacement
    rows, cols = np.arange(height) + dy, np.arange(width) + dx
    inside = ((rows >= 0) & (rows < height))[:, None] & ((cols >= 0) & (cols < width))
    moved = training[planted.image][:, rows.clip(0, height - 1)][:, :, cols.clip(0, width - 1)]
    same = np.abs(moved.astype(int) - picture).max(axis=0) <= SAME
    equal: Bool[ndarray, "h w"] = inside & same
    return equal


def iou(region: Bool[ndarray, "h w"], truth: Bool[ndarray, "h w"]) -> float:
    """Pixels in both over pixels in either."""
    return float((region & truth).sum() / (region | truth).sum())


if __name__ == "__main__":
    main()
