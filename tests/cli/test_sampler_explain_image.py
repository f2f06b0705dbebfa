"""`sampler explain --image` and `patchindex query --all`: pictures of any generator, to the end."""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy import ndarray
from page_file import read_page
from picture_answer import LEFT, LEVELS, RIGHT, TRAINING, answered, invoke
from PIL import Image
from traced_run import SIDE, few_images

from cli.patchindex import main as patchindex
from patchindex import PatchIndex
from sampler.attribution import attribution
from sampler.results.json_files import write_json
from sampler.results.picture_result import REGION_SHARE, read_pictures
from sampler.results.trace import Trace


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return answered(tmp_path_factory.mktemp("made")).parent


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy, into which a test may write."""
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


def query(*arguments: object) -> Result:
    return CliRunner().invoke(patchindex, ["query", *map(str, arguments)])


def region_of(rows: object) -> ndarray:
    region = np.zeros((SIDE, SIDE), bool)
    for y, first, last in rows:
        region[y, first : last + 1] = True
    return region


@pytest.mark.slow
def test_the_file_tells_what_the_library_finds(made: Path) -> None:
    result = read_pictures(made / "answer" / "attribution.json")
    index = PatchIndex.open(made / "few.zarr")
    pictures = np.load(made / "answer" / "pictures.npy")
    found = attribution(index, pictures, sigmas=LEVELS, draws=2)
    assert result.source.sha256 == few_images().sha256
    assert result.config.draws == 2
    assert [level.sigma for level in result.levels] == list(LEVELS)
    for told, one in zip(result.pictures, found, strict=True):
        assert told.sha256 == hashlib.sha256(one.image.numpy().tobytes()).hexdigest()
        assert [part.image for part in told.images] == [part.image for part in one.shares]
        for part, true in zip(told.images, one.shares, strict=True):
            assert part.by_level == pytest.approx(true.by_level)
            expected = one.region(part.image).numpy() >= REGION_SHARE
            assert (region_of(part.region) == expected).all()
        shares = [part.share for part in told.images]
        assert sum(shares) + told.others + told.unattributed == pytest.approx(1)
        assert told.images_to_nine_tenths == one.images_to_nine_tenths
    copy, mosaic = result.pictures
    assert copy.name == "copy.png"
    assert copy.images[0].image == TRAINING
    assert {part.image for part in mosaic.images[:2]} == {LEFT, RIGHT}


def test_the_trace_holds_levels_in_place_of_steps(made: Path) -> None:
    trace = Trace.open(made / "answer")
    index = PatchIndex.open(made / "few.zarr")
    pictures = np.load(made / "answer" / "pictures.npy")
    found = attribution(index, pictures, sigmas=LEVELS, draws=2)
    assert trace.shape == (3, 2, 1, SIDE, SIDE)
    for number, level in enumerate(found.levels):
        np.testing.assert_allclose(trace.read("state")[number], level.state, atol=0.01)
        assert (trace.source_ids()[number] == level.posterior.sources.ids.numpy()).all()


def test_json_reads_back_equal(made: Path, tmp_path: Path) -> None:
    first = made / "answer" / "attribution.json"
    write_json(read_pictures(first), tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == first.read_text()
    assert read_pictures(tmp_path / "again.json") == read_pictures(first)


def test_the_page_shows_the_pictures_themselves(made: Path) -> None:
    header, arrays = read_page(made / "answer" / "explain.html")
    assert header["kind"] == "picture"
    assert header["title"].startswith("copy.png and mosaic.png beside the training images: ")
    assert [entry["name"] for entry in header["samples"]] == ["copy.png", "mosaic.png"]
    assert (arrays["picture"][0] == few_images().pixels[TRAINING]).all()
    assert [step["t"] for step in header["steps"]] == [None] * 3
    assert ["Noise", "seed 0, 2 draws at each level, averaged"] in header["facts"]


@pytest.mark.slow
def test_a_report_for_machines_has_the_sources_of_every_pixel(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    asked = query("--image", made / "copy.png", "--index", made / "few.zarr", "--all", "--out", out)
    assert asked.exit_code == 0, asked.output
    assert re.search(r"most similar: image 21 .*nine tenths of what is attributed", asked.output)
    result = read_pictures(out)
    [told] = result.pictures
    index = PatchIndex.open(made / "few.zarr")
    [found] = attribution(index, few_images().pixels[TRAINING : TRAINING + 1])
    for level, sources in zip(found.levels, told.sources, strict=True):
        for pixel in (0, 100, SIDE**2 - 1):
            expected = level.sources.at(*divmod(pixel, SIDE))
            assert sources.image[pixel] == tuple(part.image for part in expected)
            assert sources.y[pixel] == tuple(part.y for part in expected)
            assert sources.x[pixel] == tuple(part.x for part in expected)
            weights = [part.weight for part in expected]
            assert sources.weight[pixel] == pytest.approx(weights)


@pytest.mark.slow
def test_a_report_for_people_is_the_page(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    asked = query("--image", made / "copy.png", "--index", made / "few.zarr", "--all", "--out", out)
    assert asked.exit_code == 0, asked.output
    header, _ = read_page(out)
    assert header["title"].startswith("copy.png beside the training images: ")
    assert len(header["steps"]) == 8
    assert [path.name for path in tmp_path.iterdir() if path != out] in ([], ["home"])


@pytest.mark.slow
def test_an_array_of_several_is_several_pictures(made: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "two.npy", few_images().pixels[[4, 9]])
    result = explain_one(made, tmp_path / "two.npy", tmp_path / "out")
    assert result.exit_code == 0, result.output
    told = read_pictures(tmp_path / "out" / "attribution.json").pictures
    assert [picture.name for picture in told] == ["two.npy[0]", "two.npy[1]"]
    assert [picture.images[0].image for picture in told] == [4, 9]


def explain_one(made: Path, image: Path, out: Path, *more: object) -> Result:
    index = made / "few.zarr"
    fast = ["--sigmas", 0.2, "--draws", 1]
    return invoke("explain", "--image", image, "--index", index, *fast, "--out", out, *more)


@pytest.mark.slow
def test_every_level_is_asked_at_the_patch_sizes_that_are_given(made: Path, tmp_path: Path) -> None:
    small, large = PatchIndex.open(made / "few.zarr").scales
    sizes = ["--scale", large, "--scale", small, "--sigmas", "0.4,0.2"]
    result = explain_one(made, made / "copy.png", tmp_path / "out", *sizes)
    assert result.exit_code == 0, result.output
    told = read_pictures(tmp_path / "out" / "attribution.json")
    asked = [(level.sigma, level.patch_size) for level in told.levels]
    assert asked == [(0.4, small), (0.4, large), (0.2, small), (0.2, large)]
    header, _ = read_page(tmp_path / "out" / "explain.html")
    assert [step["patch_size"] for step in header["steps"]] == [small, large] * 2
    again = explain_one(made, made / "copy.png", tmp_path / "own", "--theory-scales")
    assert again.exit_code == 0, again.output
    own = read_pictures(tmp_path / "own" / "attribution.json")
    assert own.config.scales == "theory"
    assert [level.patch_size for level in own.levels] == [small]
    out = tmp_path / "report.json"
    options = ["--image", made / "copy.png", "--index", made / "few.zarr", "--out", out]
    assert query(*options, "--all", "--scale", large).exit_code == 0
    assert {level.patch_size for level in read_pictures(out).levels} == {large}


@pytest.mark.slow
def test_another_size_is_refused_and_resized_on_request(made: Path, tmp_path: Path) -> None:
    wide = tmp_path / "wide.png"
    Image.fromarray(few_images().pixels[TRAINING, 0]).resize((40, 20)).save(wide)
    result = explain_one(made, wide, tmp_path / "out")
    assert result.exit_code == 1
    assert "is 20x40, but the images of" in result.output
    assert "are 16x16. Give --resize" in result.output
    assert not (tmp_path / "out" / "attribution.json").exists()
    result = explain_one(made, wide, tmp_path / "out", "--resize")
    assert result.exit_code == 0, result.output
    assert "wide.png: resized from 20x40 to 16x16" in result.output
    [told] = read_pictures(tmp_path / "out" / "attribution.json").pictures
    assert told.resized_from == (20, 40)
    header, _ = read_page(tmp_path / "out" / "explain.html")
    assert ["Pictures", "wide.png (resized from 20x40)"] in header["facts"]
    np.save(tmp_path / "tall.npy", np.zeros((1, 30, 16), np.uint8))
    assert explain_one(made, tmp_path / "tall.npy", tmp_path / "x", "--resize").exit_code == 0


@pytest.mark.slow
def test_a_folder_is_all_pictures_in_it_in_the_order_of_their_names(
    made: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "asked"
    (folder / "deeper").mkdir(parents=True)
    (folder / "notes.txt").write_text("no picture")
    for name, number in (("b.png", 9), ("a.PNG", 4), ("deeper/c.png", 5), (".d.png", 6)):
        Image.fromarray(few_images().pixels[number, 0]).save(folder / name, "png")
    result = explain_one(made, folder, tmp_path / "out")
    assert result.exit_code == 0, result.output
    told = read_pictures(str(tmp_path / "out" / "attribution.json")).pictures
    assert [picture.name for picture in told] == ["a.PNG", "b.png"]
    empty = explain_one(made, tmp_path / "out" / "trace.zarr", tmp_path / "x")
    assert empty.exit_code == 1
    assert "is a folder without a picture in it" in empty.output


def test_a_pixel_of_a_resized_picture_may_be_asked_for(made: Path, tmp_path: Path) -> None:
    Image.fromarray(few_images().pixels[TRAINING, 0]).resize((32, 32), 0).save(tmp_path / "big.png")
    asked = ["--image", tmp_path / "big.png", "--index", made / "few.zarr", "--scale", 7]
    refused = query(*asked, "--pixel", "8,8")
    assert refused.exit_code == 1
    assert "is 32x32, but the images of sample are 16x16. Give --resize" in refused.output
    answer = query(*asked, "--pixel", "8,8", "--resize")
    assert answer.exit_code == 0, answer.output
    assert "big.png: resized from 32x32 to 16x16" in answer.stderr
    first = next(line for line in answer.stdout.splitlines() if line.split()[0].isdigit())
    assert first.split()[:3] == [str(TRAINING), "8", "8"]


@pytest.mark.slow
def test_an_answer_is_replaced_on_request_alone(folder: Path) -> None:
    image, out = folder / "copy.png", folder / "answer"
    result = explain_one(folder, image, out)
    assert result.exit_code == 1
    assert "already holds attributed pictures. Give another --out, or --overwrite" in result.output
    assert explain_one(folder, image, out, "--overwrite").exit_code == 0
    assert len(read_pictures(out / "attribution.json").pictures) == 1
    assert {path.name for path in out.iterdir()} <= {
        "attribution.json", "explain.html", "pictures.npy", "trace.zarr", ".lock"
    }  # fmt: skip
    for name in ("run.json", ".running"):
        (folder / name).write_text("{}")
        result = explain_one(folder, image, folder)
        assert result.exit_code == 1
        assert "holds a run. Give another --out" in result.output
        (folder / name).unlink()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing was given to explain. Give the folder of a traced run, or --image FILE"),
        (["RUN", "--image", "a.png"], "either the folder.*both were given"),
        (["RUN", "--run", "RUN"], "two folders were given"),
        (["--image", "a.png", "--sample", "1"], "--sample belongs to a run. Leave it out"),
        (["RUN", "--draws", "2"], "--draws belongs to --image. Leave it out"),
        (["RUN", "--scale", "3"], "--scale belongs to --image. Leave it out"),
        (["RUN", "--out", "x"], "--out belongs to --image"),
        (["RUN", "--held-out", "sample"], "--held-out belongs to --image"),
        (["RUN", "--held-out-images", "3"], "--held-out-images belongs to --image"),
        (["RUN", "--device", "cpu"], "--device belongs to --image"),
        (["RUN", "--sample", "0", "--samples", "1"], "both --sample and --samples were given"),
        (["--image", "a.png", "--exact", "--retrieve"], "both --exact and --retrieve were given"),
        (["--image", "a.png", "--draws", "0"], "draws is 0. Give at least 1"),
        (["--image", "a.png", "--sigmas", "0.1,1"], "sigmas are 0.1, 1. Give falling"),
        (["--image", "nowhere.png", "--index", "INDEX"], "there is no image file nowhere.png"),
        (
            ["--image", "a.png", "--scale", "3", "--theory-scales"],
            "both --scale and --theory-scales",
        ),
        (["--image", "IMAGE", "--index", "INDEX", "--scale", "11"], "scale 11 is not in the index"),
        (["--image", "IMAGE", "--dataset", "sample"], "only be named with an index"),
    ],
)
def test_what_does_not_go_together_is_told(
    made: Path, tmp_path: Path, monkeypatch, arguments, message
) -> None:
    monkeypatch.chdir(tmp_path)
    places = {"RUN": tmp_path, "INDEX": made / "few.zarr", "IMAGE": made / "copy.png"}
    if "--dataset" in arguments:
        arguments = [*arguments, "--resolution", "16", "--limit", "60"]
    result = invoke("explain", *(places.get(part, part) for part in arguments))
    assert result.exit_code == 1
    assert re.search(message, result.output)
    assert not list(tmp_path.rglob("attribution.json"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--all", "--pixel", "1,2", "--out", "a.json"], "--pixel asks for one pixel, but --all"),
        (["--all"], r"there is no --out. With --all, give a name that ends in \.json or \.html"),
        (["--all", "--out", "a.png"], r"--out a\.png is no report"),
        (["--held-out", "sample", "--pixel", "1,2", "--scale", "3"], "--held-out belongs to --all"),
        (["--held-out-images", "3", "--pixel", "1,2"], "--held-out-images belongs to --all"),
        (["--pixel", "1,2"], "give --pixel Y,X and --scale P to ask for one pixel, or --all"),
    ],
)
def test_a_query_asks_for_one_pixel_or_for_all(made: Path, arguments, message) -> None:
    result = query("--image", made / "copy.png", "--index", made / "few.zarr", *arguments)
    assert result.exit_code == 1
    assert re.search(message, result.output)


def test_a_file_that_another_program_changed_is_told(folder: Path) -> None:
    file = folder / "answer" / "attribution.json"
    whole = json.loads(file.read_text())
    whole["pictures"][0]["images"][0]["image"] = 60
    file.write_text(json.dumps(whole))
    with pytest.raises(ValueError, match=r"pictures\[0\].images\[0\].image is 60, but should be"):
        read_pictures(file)
