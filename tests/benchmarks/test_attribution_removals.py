"""Leaving images out in benchmarks/attribution against float64 brute force, and resumed."""

import json
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from reference.samples import random_images
from reference.score_machines import posterior

from benchmarks.attribution import leave_out
from benchmarks.attribution.leave_out import Config, correlation, main
from benchmarks.attribution.removals import (
    choose_images,
    final_change,
    geometry_for,
    remove_one_by_one,
    without,
)
from benchmarks.attribution.work_folder import WorkFolderError, claim, command_of, read_json
from patchindex import ImageSet
from sampler import ELSMachine, sample
from sampler.schedule import plan_steps

SIGMA = 0.4
TINY = [
    "--dataset", "sample", "--num-images", "12", "--steps", "2", "--scales", "3", "--levels",
    "0.5", "--starts", "1", "--step-images", "2", "--process-images", "1",
]  # fmt: skip


def tiny_set(num: int) -> ImageSet:
    return ImageSet.from_array(random_images(np.random.default_rng(3), num, 1, 6, 6), layout="nchw")


@pytest.mark.parametrize("sigma", [SIGMA, 0.02], ids=["shared", "all of a pixel's weight"])
def test_leaving_an_image_out_is_brute_force_without_it(
    rng: np.random.Generator, sigma: float
) -> None:
    images = tiny_set(4)
    y = images.pixels[1] / 127.5 - 1 + sigma * rng.standard_normal((1, 6, 6))
    alpha_bar = 1 / (1 + sigma**2)
    removals = remove_one_by_one(
        images, torch.from_numpy(y[None]).float(), sigma, geometry_for(images, 3), range(4)
    )
    whole = posterior(sqrt(alpha_bar) * y, alpha_bar, images.pixels, 3)
    for number, removal in enumerate(removals):
        others = np.delete(images.pixels, number, axis=0)
        gone = posterior(sqrt(alpha_bar) * y, alpha_bar, others, 3)
        change = sqrt(np.square(gone.mean - whole.mean).mean())
        share = (1 - np.exp(gone.log_mass - whole.log_mass)).mean()
        # kernels sum in float32
        assert removal.change == pytest.approx(change, rel=2e-3, abs=1e-5)
        assert removal.exact_share == pytest.approx(share, abs=1e-4)


def test_a_sample_without_an_image_is_that_of_a_machine_that_never_had_it() -> None:
    images = tiny_set(4)
    noise = torch.from_numpy(np.random.default_rng(1).standard_normal((1, 1, 6, 6), np.float32))
    finished = sample(ELSMachine(images), noise, scales=[3], steps=3).images
    kept = ImageSet.from_array(np.delete(images.pixels, 2, axis=0), layout="nchw")
    expected = sample(ELSMachine(kept), noise, scales=[3], steps=3).images - finished
    change = final_change(images, 2, plan_steps([3], 3, "cosine"), noise, finished)
    assert change == pytest.approx(float(expected.square().mean().sqrt()), rel=1e-5)
    assert change > 0


def test_without_keeps_labels_and_order() -> None:
    images = ImageSet.from_array(
        random_images(np.random.default_rng(3), 3, 1, 4, 4), np.array([5, 6, 7]), layout="nchw"
    )
    left = without(images, 1)
    assert left.labels is not None
    assert left.labels.tolist() == [5, 7]
    assert (left.pixels == images.pixels[[0, 2]]).all()


def test_the_heaviest_images_leave_and_others_without_a_share(rng: np.random.Generator) -> None:
    shares = np.zeros(50)
    shares[10:30] = np.linspace(0.2, 0.01, 20)
    chosen = choose_images(shares, 5, 5, rng).tolist()
    assert len(set(chosen)) == 10
    assert chosen[0] == 10
    assert chosen[4] == 29
    assert not shares[chosen[5:]].any()


def test_the_lightest_images_are_compared_where_all_have_a_share(rng: np.random.Generator) -> None:
    shares = np.linspace(1, 0.1, 8)
    chosen = choose_images(shares, 3, 2, rng).tolist()
    assert set(chosen[:3]) <= set(range(8))
    assert chosen[3:] == [number for number in range(7, -1, -1) if number not in chosen[:3]][:2]
    assert len(choose_images(np.zeros(4), 3, 2, rng)) == 2


def test_bootstrapped_samples_keep_their_pairs_together() -> None:
    by_sample = [
        [{"share": share, "change": share * sign} for share in (0.1, 0.2, 0.3)] for sign in (1, -1)
    ]
    assert correlation(by_sample, "share", np.array([0, 0])) == pytest.approx(1)
    assert correlation(by_sample, "share", np.array([1, 1])) == pytest.approx(-1)


def test_a_folder_of_other_settings_is_refused(tmp_path: Path) -> None:
    claim(tmp_path, {"seed": 0, "scales": (3, 5)})
    claim(tmp_path, {"seed": 0, "scales": (3, 5)})
    with pytest.raises(WorkFolderError, match=r"other settings \(its seed differ\).*--work"):
        claim(tmp_path, {"seed": 1, "scales": (3, 5)})


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "sample-000.json").write_text("[{")
    with pytest.raises(WorkFolderError, match=r"sample-000.json cannot be read.*Remove it"):
        read_json(tmp_path / "sample-000.json")


def test_the_command_repeats_what_is_no_default() -> None:
    assert command_of("a.b", Config()) == "python -m a.b"
    told = command_of("a.b", Config(num_images=5, levels=(0.1, 0.2)))
    assert told == "python -m a.b --num-images 5 --levels 0.1,0.2"


@pytest.mark.slow
def test_a_measurement_that_was_cut_goes_on_and_finds_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(name: str, samples: int) -> tuple[int, list[dict]]:
        out = tmp_path / f"{name}.jsonl"
        words = [
            *TINY,
            "--samples",
            str(samples),
            "--work",
            str(tmp_path / name),
            "--out",
            str(out),
        ]
        told = CliRunner().invoke(main, words)
        rows = out.read_text().splitlines() if out.exists() else []
        return told.exit_code, [json.loads(row) for row in rows]

    code, whole = run("whole", 3)
    assert code == 0
    assert {row["measure"] for row in whole} == {"step", "process"}
    assert {row["by"] for row in whole} == {"share", "exact_share"}
    assert all(row["samples"] == 3 and "--samples 3" in row["command"] for row in whole)

    def cut(number: int, *arguments: object) -> object:
        if number == 1:
            raise KeyboardInterrupt
        return leave_out.process_pairs(number, *arguments)

    with monkeypatch.context() as patched:
        patched.setitem(leave_out.MEASURES, "process", cut)
        assert run("cut", 3)[0] != 0
    (tmp_path / "cut.jsonl").unlink()  # of the first measure, which was not cut
    kept = (tmp_path / "cut" / "process-000.json").stat().st_mtime_ns
    code, again = run("cut", 3)
    assert code == 0
    assert (tmp_path / "cut" / "process-000.json").stat().st_mtime_ns == kept
    changing = ("time",)
    strip = [[{k: v for k, v in row.items() if k not in changing} for row in rows]
             for rows in (whole, again)]  # fmt: skip
    assert json.dumps(strip[0]) == json.dumps(strip[1])
