"""Training images against held-out images of the same set: does the score separate them.

    python -m benchmarks.attribution.membership --dataset fashion_mnist --limit 5000 --scratch DIR

Appends a JSON line for each degradation of both to benchmarks/results/near_copies.jsonl: AUROC, and
the share of training images found at few false alarms. The index and what was found stay in DIR,
as for `planted`. `alarms` are the shares of held-out and of training images whose p-value, by a
null of training images that were each asked without itself, is at most 0.05 and 0.01.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

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
from benchmarks.attribution.planting import jpeg, noisy
from benchmarks.record import RESULTS, append_rows
from sampler.attribution.copy_null import held_out

NULL = 200  # images that p-values are from
RATES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)  # false alarms
Degrade = Callable[[Pixels, np.random.Generator], Pixels]
DEGRADATIONS: dict[str, Degrade] = {
    "none": lambda pixels, _: pixels,
    "noise 0.05": lambda pixels, rng: noisy(pixels, 0.05, rng),
    "noise 0.1": lambda pixels, rng: noisy(pixels, 0.1, rng),
    "noise 0.2": lambda pixels, rng: noisy(pixels, 0.2, rng),
    "JPEG 75": lambda pixels, _: np.stack([jpeg(each, 75) for each in pixels]),
    "JPEG 40": lambda pixels, _: np.stack([jpeg(each, 40) for each in pixels]),
}


@click.command()
@click.option("--dataset", default="fashion_mnist", show_default=True, help="As for a build.")
@click.option("--limit", default=5000, show_default=True, help="Images of the index.")
@click.option("--scale", default=7, show_default=True, help="Patch size that is searched.")
@click.option("--num", default=60, show_default=True, help="Training images, and held-out ones.")
@click.option("--seed", default=1, show_default=True)
@click.option("--scratch", type=click.Path(path_type=Path), required=True, help="Work folder.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "near_copies.jsonl")
def main(
    *, dataset: str, limit: int, scale: int, num: int, seed: int, scratch: Path, out: Path
) -> None:
    """Measure how well training images are told from held-out ones."""
    scratch.mkdir(parents=True, exist_ok=True)
    setup = Setup(dataset=dataset, limit=limit, patch_size=scale, num=num, seed=seed)
    append_rows(out, measured(setup, scratch))


def measured(setup: Setup, scratch: Path) -> Iterator[dict[str, Any]]:
    """A row for each degradation."""
    index, others = setup.open(scratch)
    training = np.asarray(index.images.pixels)
    rng = np.random.default_rng(setup.seed)
    members = training[rng.choice(len(training), setup.num, replace=False)]
    strangers = others[rng.choice(len(others), setup.num, replace=False)]
    common = about("membership", setup, index)
    num = min(NULL, len(training))
    null = held_out(index, num=num, seed=setup.seed + 1, settings=setup.settings(index))
    for name, degrade in DEGRADATIONS.items():
        pixels = degrade(np.concatenate([members, strangers]), rng)
        rows = answered(
            index, pixels, setup.settings(index), scratch,
            lambda _, found: {"score": found.score, "nearest": found.nearest_distance},
        )  # fmt: skip
        scores = {
            "near_copies": [each["score"] for each in rows],
            "novelty": [-each["nearest"] for each in rows],
            "perceptual_hash": nearest_hash(pixels, training).tolist(),
            "nearest_image": nearest_l2(pixels, training).tolist(),
        }
        row = common | {"degradation": name, "auroc": {}, "auroc_error": {}, "found": {}}
        row["alarms"] = {
            kind: {str(p): float(np.mean([null.p_value(score) <= p for score in some]))
                   for p in (0.05, 0.01)}
            for kind, some in (
                ("training", scores["near_copies"][: setup.num]),
                ("held_out", scores["near_copies"][setup.num :]),
            )
        }  # fmt: skip
        for score, values in scores.items():
            known, unknown = values[: setup.num], values[setup.num :]
            area = auroc(known, unknown)
            row["auroc"][score] = area
            row["auroc_error"][score] = auroc_error(area, setup.num, setup.num)
            row["found"][score] = {
                str(rate): true_positives(known, unknown, rate) for rate in RATES
            }
        click.echo(f"{setup.dataset} {name:10} {row['auroc']} {row['alarms']}")
        yield row


if __name__ == "__main__":
    main()
