"""`--crop` and `--resolution HxW` through the commands, and what is noted of them."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from image_files import write_png

from cli.patchindex import main as patchindex
from cli.sampler import main as sampler
from patchindex import ImageSet, PatchIndex

SIZE = ["--resolution", "8x6", "--crop", "center"]


def write_photos(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(12):
        write_png(folder / "ab"[i % 2] / f"{i}.png", rng.integers(0, 256, (9, 20), dtype=np.uint8))


def invoke(main, *arguments: object) -> Result:
    result = CliRunner().invoke(main, [*map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result


def test_a_cropped_run_is_found_again_without_options(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos")
    out = tmp_path / "run"
    few = ["--steps", 2, "--num", 1, "--trace", "--machine", "is"]
    invoke(sampler, "run", "--dataset", f"folder:{tmp_path}/photos", *SIZE, *few, "--out", out)
    source = json.loads((out / "run.json").read_text())["source"]
    assert (source["shape"], source["crop"]) == ([1, 8, 6], "center")
    invoke(sampler, "explain", out)  # which compares the images' hash


def test_a_stretched_rectangle_is_found_again_without_options(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos")
    out = tmp_path / "run"
    few = ["--steps", 2, "--num", 1, "--trace", "--machine", "is"]
    told = invoke(
        sampler, "run", "--dataset", f"folder:{tmp_path}/photos", *SIZE[:2], *few, "--out", out
    )
    assert "12 of 12 images are stretched from width / height 2.22 to 0.75" in told.stderr
    invoke(sampler, "explain", out)


def test_an_index_notes_its_crop(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos")
    path, source = tmp_path / "a.zarr", f"folder:{tmp_path}/photos"
    invoke(patchindex, "build", "--dataset", source, *SIZE, "--scales", "3", "--out", path)
    index = PatchIndex.open(path)
    assert index.images.crop == index.manifest["crop"] == "center"
    assert index.images.sha256 == ImageSet.load(source, resolution="8x6", crop="center").sha256


@pytest.mark.parametrize("crop", ["top", ""])
def test_an_unknown_crop_is_one_line(crop: str) -> None:
    result = CliRunner().invoke(patchindex, ["build", "--dataset", "sample", "--crop", crop])
    assert result.exit_code == 1
    assert f"crop is {crop!r}. Give none or center." in result.output


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs names of bytes")
def test_a_folder_whose_name_is_not_utf8_serves_every_command(tmp_path: Path) -> None:
    photos = tmp_path / os.fsdecode(b"caf\xe9")
    try:
        photos.mkdir()
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    write_photos(photos)
    out, index = tmp_path / "run", tmp_path / "a.zarr"
    source = f"folder:{photos}"
    invoke(patchindex, "build", "--dataset", source, *SIZE, "--scales", "3", "--out", index)
    invoke(patchindex, "info", index)
    few = ["--steps", 2, "--num", 1, "--trace", "--machine", "is"]
    invoke(sampler, "run", "--dataset", source, *SIZE, *few, "--out", out)
    invoke(sampler, "explain", out)
    invoke(sampler, "plot", out)
