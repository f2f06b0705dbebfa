"""`patchindex query` as its users meet it: image files, JSON, table, picture, and mistakes."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from image_files import jpeg_bytes, write_png
from PIL import Image
from small_index import build_small, small_images

from cli.patchindex import main
from patchindex import PatchIndex
from patchindex.images import to_unit
from patchindex.paths import index_path
from sampler.noise import initial_noise
from sampler.schedule import alpha_bar

KEYS = {"image", "y", "x", "distance", "weight", "label", "name", "class_name"}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> PatchIndex:
    return build_small(tmp_path_factory.mktemp("indices") / "small.zarr")


@pytest.fixture(scope="module")
def colors(tmp_path_factory: pytest.TempPathFactory) -> PatchIndex:
    path = tmp_path_factory.mktemp("indices") / "colors.zarr"
    return build_small(path, small_images(12, channels=3), scales=(3,))


@pytest.fixture
def png(index, tmp_path) -> Path:
    """Training image 5."""
    write_png(tmp_path / "five.png", index.images.pixels[5, 0])
    return tmp_path / "five.png"


def query(index: PatchIndex, image: Path, *arguments: object) -> Result:
    command = ["query", "--index", index.path, "--image", image, *arguments]
    return CliRunner().invoke(main, [str(argument) for argument in command])


def answer(index: PatchIndex, image: Path, *arguments: object) -> dict:
    result = query(index, image, "--json", *arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize(
    ("pixel", "kind", "legal"),
    [("8,7", "interior", 40 * 10 * 10), ("0,9", "edge", 40 * 10), ("15,1", "corner", 40)],
)
def test_json_holds_the_neighbors_of_a_training_image_itself_first(
    index, png, pixel, kind, legal
) -> None:
    found = answer(index, png, "--pixel", pixel, "--scale", 7)
    assert len(found["neighbors"]) == 8
    assert all(set(neighbor) == KEYS for neighbor in found["neighbors"])
    first, y, x = found["neighbors"][0], *map(int, pixel.split(","))
    assert first["distance"] == 0
    listed = [(n["image"], n["y"], n["x"]) for n in found["neighbors"] if n["distance"] == 0]
    assert (5, y, x) in listed or len(listed) == 8
    assert first["label"] == index.images.labels[first["image"]]
    weights = [neighbor["weight"] for neighbor in found["neighbors"]]
    assert sum(weights) + found["unattributed"] == pytest.approx(1, abs=1e-12)
    assert found["border"]["kind"] == kind
    assert found["border"]["legal_patches"] == legal
    assert found["pixel"] == [y, x]
    assert (found["t"], found["sigma"], found["patch_size"]) == (None, 0, 7)
    assert found["all_patches_compared"] is True
    assert found["dataset"] == "small"


def test_the_table_names_class_weight_and_multiplicity(index, tmp_path) -> None:
    png = tmp_path / "plain_corner.png"
    write_png(png, index.images.pixels[14, 0])
    result = query(index, png, "--pixel", "1,1", "--scale", 3, "--k", 3)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith("pixel (1, 1), 3x3 window, interior, no noise: 7,840 legal patches")
    assert lines[1].split() == ["image", "y", "x", "distance", "weight", "alike", "class"]
    found = answer(index, png, "--pixel", "1,1", "--scale", 3, "--k", 3)
    alike = found["multiplicity"][0]["patches"]
    assert alike > 3  # of plain background
    assert [line.split()[3] for line in lines[2:5]] == ["0.0000"] * 3
    assert [line.split()[6] for line in lines[2:5]] == [f"{alike:,}"] * 3
    assert lines[5].split()[0] == "others"
    assert "alike: patches found at the same distance, such as duplicates" in lines
    assert lines[-1] == "Every legal patch was compared: none is nearer."


def test_a_noisy_state_from_a_file_is_the_image_with_that_seeds_noise(index, png, tmp_path) -> None:
    where = ["--pixel", "8,7", "--scale", 7, "--t", 0.4]
    seeded = answer(index, png, *where, "--noise-seed", 3)
    signal = alpha_bar(0.4)
    clean, noise = to_unit(index.images.pixels[5]), initial_noise(1, index.images, 3)[0]
    np.save(tmp_path / "xt.npy", signal**0.5 * clean + (1 - signal) ** 0.5 * noise)
    assert answer(index, tmp_path / "xt.npy", *where)["neighbors"] == seeded["neighbors"]
    assert seeded["sigma"] == pytest.approx(((1 - signal) / signal) ** 0.5)
    assert 0 < seeded["unattributed"] < 1
    other = answer(index, png, *where, "--noise-seed", 4)
    assert other["neighbors"] != seeded["neighbors"]
    taken_as_state = answer(index, png, *where)  # 8-bit values are xt in [-1, 1]
    assert taken_as_state["neighbors"][0]["distance"] > 0


def test_every_kind_of_file_holds_the_same_image(index, png, colors, tmp_path) -> None:
    where = ["--pixel", "8,7", "--scale", 3]
    grey, rgb = index.images.pixels[5], colors.images.pixels[5]
    arrays = {"hw": grey[0], "chw": grey, "hwc": grey[0, ..., None], "bchw": grey[None]}
    arrays["float"] = to_unit(grey).numpy()
    expected = answer(index, png, *where)["neighbors"]
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
        assert answer(index, tmp_path / f"{name}.npy", *where)["neighbors"] == expected, name
    write_png(tmp_path / "rgb.png", rgb.transpose(1, 2, 0))
    np.save(tmp_path / "rgb.npy", rgb.transpose(1, 2, 0))
    expected = answer(colors, tmp_path / "rgb.png", *where)["neighbors"]
    assert (expected[0]["image"], expected[0]["distance"]) == (5, 0)
    assert answer(colors, tmp_path / "rgb.npy", *where)["neighbors"] == expected
    # grey files serve images in color, and the other way round
    assert answer(colors, png, *where)["neighbors"][0]["distance"] > 0
    grey_as_rgb = np.repeat(grey.transpose(1, 2, 0), 3, axis=2)
    write_png(tmp_path / "grey.png", grey_as_rgb)
    assert answer(index, tmp_path / "grey.png", *where)["neighbors"][0]["distance"] == 0
    (tmp_path / "grey.jpg").write_bytes(jpeg_bytes(grey_as_rgb))
    assert answer(index, tmp_path / "grey.jpg", *where)["neighbors"][0]["distance"] < 0.5


def test_out_draws_the_window_and_the_sources(index, png, tmp_path) -> None:
    out = tmp_path / "new" / "sources.png"
    where = ["--pixel", "0,14", "--scale", 7, "--t", 0.3, "--k", 3]
    result = query(index, png, *where, "--out", out)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == f"picture: {out}"
    with Image.open(out) as picture:
        assert picture.width > 800
        assert len(picture.convert("RGB").getcolors(10**6)) > 100
    assert [path.name for path in out.parent.iterdir()] == ["sources.png"]


def test_circular_windows_in_color_are_drawn_too(tmp_path) -> None:
    images = small_images(6, channels=3)
    index = build_small(tmp_path / "wrap.zarr", images, scales=(5,), boundary="circular")
    np.save(tmp_path / "one.npy", images.pixels[2])
    out = tmp_path / "one.svg"
    found = answer(index, tmp_path / "one.npy", "--pixel", "0,0", "--scale", 5, "--out", out)
    assert found["neighbors"][0]["distance"] == 0
    assert found["border"]["kind"] == "interior"
    assert out.read_text().startswith("<?xml")


def test_without_index_the_newest_serves_and_is_named_on_stderr(home, png) -> None:
    path = index_path("small", height=16, width=16, boundary="zeros")
    build_small(path, small_images(8))
    command = ["query", "--image", str(png), "--pixel", "8,7", "--scale", "3", "--json"]
    result = CliRunner().invoke(main, command)
    assert json.loads(result.stdout)["index"] == str(path)
    told = f"index: {path}, the only one: small, 8 images of 1 x 16 x 16, scales 3, 7, built 20"
    assert told in result.stderr
    assert "; --index PATH chooses another" in result.stderr


PLACE = ["--pixel", "8,7", "--scale", "3"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pixel", "8", "--scale", "3"], "pixel '8' is no row and column. Give two whole num"),
        (["--pixel", "8,x", "--scale", "3"], "pixel '8,x' is no row and column"),
        (["--pixel", "16,0", "--scale", "3"], "pixel (16, 0) lies outside the image. Give y in 0"),
        (["--pixel", "8,-1", "--scale", "3"], "pixel (8, -1) lies outside the image"),
        (["--pixel", "8,7", "--scale", "5"], "the index has no scale 5. Give one of these: 3, 7."),
        ([*PLACE, "--k", "0"], "k is 0. Give 1 to 10,000"),
        ([*PLACE, "--nprobe", "0"], "nprobe is 0. Give at least 1"),
        ([*PLACE, "--t", "1.5"], "time t is 1.5. Give a value in [0, 1]"),
        ([*PLACE, "--t", "0.5", "--schedule", "cosin"], "schedule is 'cosin'. Give one of cosine"),
        ([*PLACE, "--noise-seed", "1"], "noise seed 1 was given, but no noise level. Give the ti"),
        ([*PLACE, "--t", "0.5", "--noise-seed", "-1"], "seed is -1. Give a whole number, 0 or mo"),
        ([*PLACE, "--label", "77"], "no image of small has label 77. Give one of these labels"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_mistake_is_one_line_and_leaves_nothing(index, png, tmp_path, arguments, message) -> None:
    result = query(index, png, *arguments, "--json", "--out", tmp_path / "out.png")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: {message}")
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("absent.png", None, "there is no image file"),
        (
            "small.png",
            np.zeros((8, 9), np.uint8),
            "is 8x9, but the images of small are 16x16. Give --resize",
        ),
        ("text.png", b"no picture", "cannot read the image"),
        ("text.npy", b"no array", "cannot be read"),
        (
            "small.npy",
            np.zeros((1, 8, 9), np.uint8),
            "has shape [1, 8, 9], but the images of small",
        ),
        ("many.npy", np.zeros((3, 1, 16, 16), "f4"), "holds 3 images; save one of them"),
        ("whole.npy", np.zeros((16, 16), np.int64), "holds int64 values. Give uint8 in 0..255"),
        ("wide.npy", np.full((16, 16), 255.0), "values from 255 to 255. Give floating point val"),
        ("nan.npy", np.full((16, 16), np.nan), "values that are not finite"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_file_that_is_no_such_image_is_refused(index, tmp_path, name, array, message) -> None:
    path = tmp_path / name
    if isinstance(array, bytes):
        path.write_bytes(array)
    elif array is not None:
        write_png(path, array) if name.endswith("png") else np.save(path, array)
    result = query(index, path, *PLACE)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_floats_without_black_are_taken_as_they_are_with_a_warning(index, tmp_path) -> None:
    np.save(tmp_path / "bright.npy", np.full((16, 16), 0.5))
    result = query(index, tmp_path / "bright.npy", *PLACE)
    assert result.exit_code == 0
    assert "it is taken as in [-1, 1], where black is -1" in result.stderr


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("five.png", "is the image itself. Give another name"),
        ("folder.png", "is a folder. Give the name of a file"),
        ("out.jpg", "is no picture file. Give a name that ends in .png or .svg"),
        ("five.png/out.png", "output folder"),
    ],
)
def test_a_picture_that_cannot_be_written_is_refused_before_the_search(
    index, png, tmp_path, out, message
) -> None:
    (tmp_path / "folder.png").mkdir()
    before = png.read_bytes()
    result = query(index, png, *PLACE, "--out", tmp_path / out)
    assert (result.exit_code, result.stdout) == (1, "")
    assert message in result.stderr
    assert png.read_bytes() == before
