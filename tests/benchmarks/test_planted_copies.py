"""Pictures with planted copies hold what they say, and what is measured of them is right."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from small_index import small_images

from benchmarks.attribution import copy_work, membership, planted
from benchmarks.attribution.planted import iou, overlap
from benchmarks.attribution.planting import KINDS, plant
from patchindex.images import to_unit
from sampler.attribution.copy_results import CopySettings, NearCopies, NearCopy

CHANGED = {"jpeg": 0.25, "noise": 0.2, "brightness": 0.13}  # root mean square, in [-1, 1] units


@pytest.mark.parametrize("kind", KINDS)
def test_planted_regions_are_those_of_the_images(kind: str, rng: np.random.Generator) -> None:
    training = small_images(30, side=28, channels=3).pixels
    host = small_images(31, side=28, channels=3).pixels[30]
    training, host = (
        np.pad(each, [(0, 0)] * (each.ndim - 2) + [(2, 2)] * 2) for each in (training, host)
    )
    for _ in range(3):
        picture = plant(kind, host, training, rng)
        assert picture.kind == kind
        assert len(picture.planted) == (2 if kind == "mosaic" else 1)
        untouched = np.ones((32, 32), dtype=bool)
        for part in picture.planted:
            rows, cols = np.nonzero(part.region)
            dy, dx = part.displacement
            there = to_unit(training[part.image][:, rows + dy, cols + dx])
            differences = to_unit(picture.pixels[:, rows, cols]) - there
            assert differences.square().mean().sqrt() <= CHANGED.get(kind, 0)
            untouched &= ~part.region
        if kind not in ("jpeg", "noise"):
            assert (picture.pixels[:, untouched] == host[:, untouched]).all()


def test_auroc_is_the_share_of_pairs_in_order(rng: np.random.Generator) -> None:
    copies, others = rng.integers(0, 6, 40).tolist(), rng.integers(0, 4, 30).tolist()
    pairs = [(a > b) + 0.5 * (a == b) for a in copies for b in others]
    assert copy_work.auroc(copies, others) == pytest.approx(np.mean(pairs))
    assert copy_work.auroc_error(1.0, 40, 30) == 0
    assert copy_work.true_positives([5, 5, 1], [4] * 99 + [9], 0.05) == pytest.approx(2 / 3)


def test_descriptors_know_an_image_again() -> None:
    training = small_images(12, side=24).pixels
    brighter = np.clip(training[3:4].astype(int) + 5, 0, 255).astype(np.uint8)
    pixels = np.concatenate([training[5:6], brighter, 255 - training[1:2]])
    assert copy_work.nearest_l2(pixels, training)[0] == pytest.approx(0, abs=1e-3)
    hashes = copy_work.nearest_hash(pixels, training)
    assert hashes[0] == 0
    assert hashes[1] >= -4 > hashes[2]


def test_overlap_asks_for_image_and_displacement(rng: np.random.Generator) -> None:
    training = rng.integers(0, 256, (3, 1, 32, 32), dtype=np.uint8)
    picture = plant("crop", training[2], training[:2], rng)
    (truth,) = picture.planted

    def answer(**changes: object) -> dict[str, float]:
        copy = NearCopy(
            **{
                "image": truth.image, "name": None, "region": truth.region,
                "displacement": truth.displacement, "mirrored": False, "offset": 0.0,
                "distance": 0.0, "matching": 0.0, "score": 1.0,
            } | changes
        )  # fmt: skip
        found = NearCopies(
            copies=(copy,), score=1.0, nearest_distance=0.0, novelty=None, null=None,
            settings=CopySettings(),
        )  # fmt: skip
        return overlap(found, truth, picture.pixels, training)

    assert answer() == {"named": 1, "iou": 1, "iou_distinct": 1}
    assert answer(image=2)["named"] == 0
    assert answer(displacement=(0, 31))["iou"] == 0
    everything = np.ones_like(truth.region)
    assert answer(region=everything)["iou"] == iou(everything, truth.region)


@pytest.mark.slow
def test_a_command_goes_on_and_records_rows(tmp_path: Path) -> None:
    arguments = ["--dataset", "sample", "--limit", "80", "--scale", "7", "--scratch"]
    arguments += [str(tmp_path / "work"), "--out", str(tmp_path / "rows.jsonl")]
    for number in range(2):
        done = CliRunner().invoke(planted.main, [*arguments, "--num", "6"])
        assert done.exit_code == 0, done.output
        (answers,) = (tmp_path / "work").glob("answers-*.jsonl")
        lines = answers.read_text().splitlines(keepends=True)
        assert len(lines) == 12
        if not number:  # as a process leaves it that was killed while it wrote
            answers.write_text("".join(lines[:9]) + lines[9][:5])
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    first, again = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    assert [row["kind"] for row in first] == [*KINDS, "all"]
    assert [row["auroc"] for row in first] == [row["auroc"] for row in again]
    assert first[-1]["named"] >= 0.8
    done = CliRunner().invoke(membership.main, [*arguments, "--num", "2"])
    assert done.exit_code == 0, done.output
    last = json.loads((tmp_path / "rows.jsonl").read_text().splitlines()[-1])
    assert last["degradation"] == "JPEG 40"
