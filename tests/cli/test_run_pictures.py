"""What `sampler run` leaves to look at: all samples with a caption, and single ones on request."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from cli.sampler import main
from patchindex.images import to_uint8
from sampler.results.run_result import read_run


def invoke(out: Path, *arguments: object) -> Result:
    common = ("run", "--dataset", "sample", "--limit", 20, "--resolution", 8, "--scales", "3")
    given = (*common, "--steps", 2, "--num", 3, "--out", out, *arguments)
    result = CliRunner().invoke(main, [str(part) for part in given])
    assert result.exit_code == 0, result.output
    return result


def test_single_pictures_are_the_samples_pixel_by_pixel(tmp_path: Path) -> None:
    invoke(tmp_path, "--png")
    samples = torch.from_numpy(np.load(tmp_path / "samples.npy"))
    files = sorted((tmp_path / "samples").iterdir())
    assert [file.name for file in files] == ["000.png", "001.png", "002.png"]
    for file, levels in zip(files, to_uint8(samples), strict=True):
        with Image.open(file) as image:
            assert np.array_equal(np.asarray(image)[None], levels)


def test_single_pictures_of_another_run_do_not_stay(tmp_path: Path) -> None:
    invoke(tmp_path, "--png")
    invoke(tmp_path, "--overwrite", "--seed", 1)
    assert not (tmp_path / "samples").exists()


@pytest.mark.parametrize(
    ("given", "second"),
    [
        ((), "2 steps, schedule cosine, seed 0"),
        (("--seed", 7, "--label", 3), "2 steps, schedule cosine, seed 7, class 3"),
        (("--sampler", "heun"), "2 steps, schedule cosine, heun, seed 0"),
        (("--noise", "noise.npy"), "2 steps, schedule cosine, noise of noise.npy"),
    ],
)
def test_the_caption_says_what_was_sampled_and_how(
    tmp_path: Path, monkeypatch, given: tuple[object, ...], second: str
) -> None:
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0).standard_normal((3, 1, 8, 8)).astype(np.float32)
    np.save("noise.npy", noise)
    invoke(tmp_path / "run", *given)
    result = read_run(tmp_path / "run" / "run.json")
    assert result.caption == ("sample, 20 images: exact ELS, 3 samples", second)
    with Image.open(tmp_path / "run" / "samples.png") as picture:
        assert min(picture.size) >= 256
    assert "caption" not in json.loads((tmp_path / "run" / "run.json").read_text())
