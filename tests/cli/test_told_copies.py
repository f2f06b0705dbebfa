"""Near-copies as commands tell them: in lines, in JSON, and in the page's header."""

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from page_file import read_page
from picture_answer import HELD_OUT, LEFT, RIGHT, TRAINING, answered
from PIL import Image
from traced_run import few_images

from cli.patchindex import main as patchindex
from patchindex import ImageSet, IndexConfig, PatchIndex, build_index
from sampler.attribution.copy_null import held_out
from sampler.attribution.near_copies import near_copies
from sampler.results.picture_result import CopiesReport, read_pictures


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return answered(tmp_path_factory.mktemp("made")).parent


def copies(folder: Path) -> list[CopiesReport]:
    told = [picture.near_copies for picture in read_pictures(folder / "attribution.json").pictures]
    assert None not in told
    return told


@pytest.mark.slow
def test_the_file_tells_what_the_library_finds(made: Path) -> None:
    index = PatchIndex.open(made / "few.zarr")
    null = held_out(index, num=HELD_OUT, keep=False)
    pictures = np.load(made / "answer" / "pictures.npy")
    for told, picture in zip(copies(made / "answer"), pictures, strict=True):
        found = near_copies(index, torch.from_numpy(picture), null=null)
        assert told.held_out == HELD_OUT
        assert told.held_out_from is None
        assert told.novelty == found.novelty
        assert [copy.image for copy in told.copies] == [copy.image for copy in found.copies]
        for written, copy in zip(told.copies, found.copies, strict=True):
            region = np.zeros(copy.region.shape, bool)
            for y, first, last in written.region:
                region[y, first : last + 1] = True
            assert (region == copy.region).all()
            assert written.pixels == copy.region.sum()
            assert (written.displacement, written.score) == (copy.displacement, copy.score)
            assert written.p_value == copy.p_value


def test_a_training_image_and_both_halves_of_a_mosaic_are_told(made: Path) -> None:
    whole, mosaic = copies(made / "answer")
    assert [copy.image for copy in whole.accepted] == [TRAINING]
    assert {LEFT, RIGHT} <= {copy.image for copy in mosaic.accepted}
    header, _ = read_page(made / "answer" / "explain.html")
    told = [sample["near_copies"]["copies"][0]["image"] for sample in header["samples"]]
    assert told == [whole.copies[0].image, mosaic.copies[0].image]


def test_lines_name_the_image_and_how_unlikely_it_is(made: Path, tmp_path: Path) -> None:
    result = query(made, tmp_path / "out.json", "--held-out-images", HELD_OUT)
    assert result.exit_code == 0, result.output
    line = next(line for line in result.stdout.splitlines() if "near-copy of" in line)
    assert line.startswith(f"  near-copy of image {TRAINING}: ")
    assert line.endswith("% of the picture, at the same place, without a difference (p <= 0.04)")
    told = result.stdout.splitlines()
    assert told.index(line) < next(i for i, each in enumerate(told) if "most similar" in each)
    assert "Only 24 held-out pictures say what chance is: p cannot be below 0.04" in result.stdout
    [near] = [p.near_copies for p in read_pictures(tmp_path / "out.json").pictures]
    assert near.copies[0].image == TRAINING


def test_without_held_out_images_nothing_is_said_of_chance(made: Path, tmp_path: Path) -> None:
    result = query(made, tmp_path / "out.json", "--held-out-images", 0)
    assert "possible near-copy of" in result.stdout
    assert "  near-copy of" not in result.stdout
    assert "p <=" not in result.stdout
    assert "No held-out pictures were compared: nothing says how often" in result.stdout
    [near] = [p.near_copies for p in read_pictures(tmp_path / "out.json").pictures]
    assert (near.held_out, near.novelty, near.copies[0].p_value) == (0, None, None)


def test_mirrored_copies_are_told_when_asked_for(made: Path, tmp_path: Path) -> None:
    mirrored = np.ascontiguousarray(few_images().pixels[TRAINING : TRAINING + 1, :, :, ::-1])
    np.save(tmp_path / "mirrored.npy", mirrored)
    result = query(
        made, tmp_path / "out.json", "--held-out-images", 0, "--mirrored",
        image=tmp_path / "mirrored.npy",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert f"near-copy of image {TRAINING}" in result.stdout
    assert "mirrored, at the same place" in result.stdout


def test_other_images_may_say_what_chance_is(made: Path, tmp_path: Path) -> None:
    unseen = ImageSet.load("sample", resolution=16).pixels[-10:, 0]
    np.savez(tmp_path / "others.npz", images=unseen)
    others = f"npz:{tmp_path / 'others.npz'}"
    result = query(made, tmp_path / "out.json", "--held-out", others)
    assert result.exit_code == 0, result.output
    [near] = [p.near_copies for p in read_pictures(tmp_path / "out.json").pictures]
    assert near.held_out == 10
    assert f"near-copy of image {TRAINING}" in result.stdout  # none of ten has the like
    assert "others.npz" in near.held_out_from


def folder_of(path: Path, pictures: dict[str, np.ndarray]) -> str:
    path.mkdir()
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(path / name)
    return f"folder:{path}"


def test_held_out_pictures_that_are_indexed_or_asked_about_are_left_out(
    made: Path, tmp_path: Path
) -> None:
    trained, unseen = few_images().pixels[:, 0], ImageSet.load("sample", resolution=16).pixels
    same = {f"a{number}.png": trained[number] for number in (TRAINING, LEFT)}
    asked = trained[TRAINING].copy()
    asked[:8] = unseen[-20, 0, :8]
    Image.fromarray(asked).save(tmp_path / "asked.png")
    true = {f"b{number}.png": unseen[number, 0] for number in range(-10, -1)}
    others = folder_of(tmp_path / "hold", same | {"asked.png": asked} | true)
    result = query(made, tmp_path / "out.json", "--held-out", others, image=tmp_path / "asked.png")
    assert result.exit_code == 0, result.output
    assert "2 images are not held out but training images, pixel by pixel" in result.stderr
    assert "and left out: a21.png, ..." in result.stderr
    assert "1 image is not held out but asked pictures" in result.stderr
    assert "and left out: asked.png\n" in result.stderr
    [near] = [p.near_copies for p in read_pictures(tmp_path / "out.json").pictures]
    assert near.held_out == len(true)
    assert (near.copies[0].image, near.copies[0].p_value) == (TRAINING, 1 / (1 + len(true)))


def test_held_out_pictures_of_which_none_is_left_are_refused(made: Path, tmp_path: Path) -> None:
    others = folder_of(tmp_path / "hold", {"a.png": few_images().pixels[5, 0]})
    result = query(made, tmp_path / "out.json", "--held-out", others)
    assert result.exit_code == 1
    assert "is held out: all 1 are training images or pictures that are asked" in result.stderr
    assert not (tmp_path / "out.json").exists()


def test_an_index_without_a_fitting_scale_finds_none_and_says_so(tmp_path: Path) -> None:
    build_index(few_images(), IndexConfig(scales=(9,)), tmp_path / "few.zarr")
    np.save(tmp_path / "one.npy", few_images().pixels[:1])
    plain = query(tmp_path, tmp_path / "out.json", image=tmp_path / "one.npy")
    assert plain.exit_code == 0, plain.output
    assert "no near-copies are looked for: the index has scales 9" in plain.stderr
    [picture] = read_pictures(tmp_path / "out.json").pictures
    assert picture.near_copies is None
    asked = query(tmp_path, tmp_path / "x.json", "--mirrored", image=tmp_path / "one.npy")
    assert asked.exit_code == 1
    assert "the index has scales 9" in asked.stderr
    assert not (tmp_path / "x.json").exists()


def test_what_near_copies_cannot_be_found_with_is_refused_before_the_work(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.attributed_pictures.attribute", None)
    build_index(few_images(), IndexConfig(scales=(9,)), tmp_path / "few.zarr")
    large = query(tmp_path, tmp_path / "x.json", "--mirrored", image=made / "copy.png")
    assert "the index has scales 9" in large.stderr
    np.savez(tmp_path / "colors.npz", images=np.zeros((4, 3, 16, 16), np.uint8), layout="nchw")
    colors = query(made, tmp_path / "x.json", "--held-out", f"npz:{tmp_path / 'colors.npz'}")
    assert "the picture has shape [3, 16, 16], but the images of sample" in colors.stderr


def test_fewer_than_no_held_out_images_are_refused(made: Path, tmp_path: Path) -> None:
    result = query(made, tmp_path / "out.json", "--held-out-images", -1)
    assert result.exit_code == 1
    assert "-1 held-out images were asked for. Give how many" in result.stderr


def test_one_pixel_has_no_near_copies(made: Path) -> None:
    arguments = ["--pixel", "1,1", "--scale", "3", "--mirrored"]
    result = CliRunner().invoke(
        patchindex, ["query", "--index", str(made / "few.zarr"), "--image", "x.png", *arguments]
    )
    assert result.exit_code == 1
    assert "--mirrored belongs to --all" in result.stderr


def query(folder: Path, out: Path, *arguments: object, image: Path | None = None):
    asked = ["--index", folder / "few.zarr", "--image", image or folder / "copy.png", "--all"]
    return CliRunner().invoke(patchindex, ["query", *map(str, [*asked, "--out", out, *arguments])])
