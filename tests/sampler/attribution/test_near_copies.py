"""Copied regions are found where they were planted, and nowhere else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_index import build_small, small_images

from patchindex import ImageSet, PatchIndex
from patchindex.images import to_unit
from sampler.attribution.copy_candidates import _few_of_each_tie, find_neighbors
from sampler.attribution.copy_null import held_out
from sampler.attribution.copy_results import CopyNull, CopySettings, NearCopies
from sampler.attribution.near_copies import near_copies, search_pictures
from sampler.errors import SamplerConfigError

SIDE, NUM, SPARE = 24, 120, 60
SETTINGS = CopySettings(nprobe=64)


@pytest.fixture(scope="module")
def images() -> ImageSet:
    return small_images(NUM + SPARE, side=SIDE)


@pytest.fixture(scope="module")
def index(images: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> PatchIndex:
    first = ImageSet.from_array(
        images.pixels[:NUM], names=[f"{i}.png" for i in range(NUM)], layout="nchw"
    )
    return build_small(tmp_path_factory.mktemp("copies") / "i.zarr", first, scales=(7,))


@pytest.fixture(scope="module")
def textured(images: ImageSet) -> list[int]:
    """Images with the most detail first."""
    rough = np.abs(np.diff(images.pixels[:NUM].astype(int), axis=3)).mean(axis=(1, 2, 3))
    return np.argsort(-rough).tolist()


def asked(index: PatchIndex, pixels: np.ndarray, **settings: object) -> NearCopies:
    return near_copies(index, to_unit(pixels), settings=replace(SETTINGS, **settings))


def pasted(images: ImageSet, host: int, image: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows 8..21, columns 3..16 of an image at rows 5, columns 6 of a host, and the region."""
    pixels, region = images.pixels[host].copy(), np.zeros((SIDE, SIDE), dtype=bool)
    pixels[:, 5:19, 6:20] = images.pixels[image][:, 8:22, 3:17]
    region[5:19, 6:20] = True
    return pixels, region


def iou(region: np.ndarray, truth: np.ndarray) -> float:
    return float((region & truth).sum() / (region | truth).sum())


def test_a_planted_region_is_found_where_it_is(
    images: ImageSet, index: PatchIndex, textured: list[int]
) -> None:
    pixels, region = pasted(images, NUM + 3, textured[0])
    copy = asked(index, pixels).copies[0]
    assert (copy.image, copy.displacement) == (textured[0], (3, -3))
    assert copy.name == f"{textured[0]}.png"
    assert copy.distance < 0.02
    assert not copy.mirrored
    assert iou(copy.region, region) >= 0.8


def test_brightness_noise_and_rounding_are_forgiven(
    images: ImageSet, index: PatchIndex, textured: list[int], rng: np.random.Generator
) -> None:
    pixels, region = pasted(images, NUM + 3, textured[0])
    brighter = pixels + 10.0 * region + rng.normal(0, 3, pixels.shape)
    copy = asked(index, brighter.round().clip(0, 255).astype(np.uint8)).copies[0]
    assert (copy.image, copy.displacement) == (textured[0], (3, -3))
    assert copy.offset == pytest.approx(10 / 127.5, abs=0.02)
    assert iou(copy.region, region) >= 0.7


def test_many_pictures_are_searched_some_at_a_time(
    images: ImageSet, index: PatchIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = []

    def noting(index: PatchIndex, pictures: torch.Tensor, *rest: object, **settings: object):
        together.append(len(pictures))
        return find_neighbors(index, pictures, *rest, **settings)

    monkeypatch.setattr("sampler.attribution.near_copies.find_neighbors", noting)
    found = search_pictures(index, to_unit(images.pixels[:10]), SETTINGS)
    assert (len(found), together) == (10, [8, 2])
    assert [one.copies[0].image for one in found] == list(range(10))


def test_a_picture_with_a_gradient_is_taken(images: ImageSet, index: PatchIndex) -> None:
    picture = to_unit(images.pixels[5]).requires_grad_()
    assert near_copies(index, picture, settings=SETTINGS).copies[0].image == 5


def test_the_only_image_of_an_index_is_found(images: ImageSet, tmp_path: Path) -> None:
    only = ImageSet.from_array(images.pixels[5:6], layout="nchw")
    alone = build_small(tmp_path / "i.zarr", only, scales=(7,))
    copy = asked(alone, images.pixels[5]).copies[0]
    assert (copy.image, copy.displacement, copy.matching) == (0, (0, 0), 1)
    assert held_out(alone, num=1, settings=SETTINGS).scores == (0,)


def test_a_mosaic_names_both_images(
    images: ImageSet, index: PatchIndex, textured: list[int]
) -> None:
    left, right = textured[:2]
    pixels = images.pixels[left].copy()
    pixels[:, :, 12:] = images.pixels[right][:, :, 12:]
    found = asked(index, pixels).copies
    assert {copy.image for copy in found[:2]} == {left, right}
    assert all(copy.displacement == (0, 0) for copy in found[:2])
    assert not (found[0].region & found[1].region).any()
    truth = np.arange(SIDE) < 12
    for copy in found[:2]:
        half = np.broadcast_to(truth if copy.image == left else ~truth, (SIDE, SIDE))
        assert iou(copy.region, half) >= 0.8


def test_a_mirrored_copy_is_found_only_on_request(
    images: ImageSet, index: PatchIndex, textured: list[int]
) -> None:
    # not one that is symmetric
    lopsided = max(
        textured[:30],
        key=lambda i: np.abs(images.pixels[i].astype(int) - images.pixels[i][..., ::-1]).sum(),
    )
    flipped = np.ascontiguousarray(images.pixels[lopsided][..., ::-1])
    on_request = near_copies(index, to_unit(flipped), mirrored=True, settings=SETTINGS)
    copy = on_request.copies[0]
    assert (copy.image, copy.displacement, copy.mirrored) == (lopsided, (0, 0), True)
    assert copy.matching == 1
    without = asked(index, flipped)
    assert without.score < 0.7 * on_request.score
    assert not any(copy.mirrored for copy in without.copies)
    # the region is the picture's own
    piece = images.pixels[NUM].copy()
    piece[:, :, :14] = flipped[:, :, :14]
    (copy, *_) = near_copies(index, to_unit(piece), mirrored=True, settings=SETTINGS).copies
    assert copy.region[:, :14].sum() > 3 * copy.region[:, 14:].sum()


def test_a_training_picture_is_one_copy_of_itself(index: PatchIndex, textured: list[int]) -> None:
    for number in textured[:3]:
        found = asked(index, index.images.pixels[number])
        (copy,) = found.copies
        assert (copy.image, copy.displacement, copy.distance) == (number, (0, 0), 0)
        assert copy.matching == 1
        assert copy.region.mean() > 0.9


@pytest.mark.parametrize("level", [0, 128, 255])
def test_flat_pictures_have_no_copies(index: PatchIndex, level: int) -> None:
    found = asked(index, np.full((1, SIDE, SIDE), level, np.uint8))
    assert found.copies == ()
    assert found.score == 0
    assert found.nearest_distance == 0


def test_values_outside_the_range_are_answered(index: PatchIndex) -> None:
    found = near_copies(index, 1.3 * to_unit(index.images.pixels[0]), settings=SETTINGS)
    assert found.nearest_distance > 0


@pytest.mark.slow
def test_held_out_images_are_no_copies_and_planted_ones_are(
    images: ImageSet, index: PatchIndex, textured: list[int]
) -> None:
    others = ImageSet.from_array(images.pixels[NUM:], layout="nchw")
    null = held_out(index, num=40, others=others, settings=SETTINGS)
    assert null.origin == "held out"
    used = {tuple(image.ravel()) for image in others.pixels}
    assert len(used) == SPARE
    shares = [asked_with(index, others.pixels[i], null).copies for i in range(0, SPARE, 6)]
    lowest = [copies[0].p_value for copies in shares if copies]
    assert np.mean([p is not None and p < 0.03 for p in lowest]) <= 0.2
    found = asked_with(index, index.images.pixels[textured[0]], null)
    assert found.copies[0].p_value == 1 / 41
    assert found.novelty == 0


def asked_with(index: PatchIndex, pixels: np.ndarray, null: CopyNull) -> NearCopies:
    return near_copies(index, to_unit(pixels), null=null, settings=SETTINGS)


def test_left_out_images_do_not_find_themselves_and_are_kept(
    index: PatchIndex, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    null = held_out(index, num=8, settings=SETTINGS)
    assert null.origin == "left out"
    assert len(null.scores) == len(null.distances) == 8
    # an image's own patches would have been at no distance
    assert min(null.distances) > 0.01
    (kept,) = (home / "near_copies").iterdir()
    monkeypatch.setattr("sampler.attribution.copy_null.search_pictures", None)
    again = held_out(index, num=8, settings=SETTINGS)
    assert (again.scores, again.distances) == (null.scores, null.distances)
    monkeypatch.undo()
    monkeypatch.setenv("PATCHINDEX_HOME", str(home))
    kept.write_text("{")
    assert held_out(index, num=8, settings=SETTINGS).scores == null.scores


def test_a_home_that_cannot_be_written_costs_no_answer(
    index: PatchIndex, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home.write_text("a file")
    assert len(held_out(index, num=2, settings=SETTINGS).scores) == 2
    assert "cannot be kept in" in caplog.text


def test_p_values_and_novelty_are_shares_of_the_null(index: PatchIndex) -> None:
    null = CopyNull(
        scores=(0.0, 5.0, 10.0), distances=(0.1, 0.2, 0.3), origin="held out",
        settings=SETTINGS, index=index.digest,
    )  # fmt: skip
    assert [null.p_value(score) for score in (11.0, 10.0, 5.0, 0.0)] == [0.25, 0.5, 0.75, 1.0]
    assert [null.novelty(d) for d in (0.05, 0.2, 0.4)] == [0, 0.5, 1]


def test_pictures_that_cannot_be_asked_about_are_refused(index: PatchIndex) -> None:
    with pytest.raises(SamplerConfigError, match=r"shape \[1, 9, 9\].*\[1, 24, 24\]\. Resize"):
        near_copies(index, torch.zeros(1, 9, 9))
    wrong = torch.zeros(1, SIDE, SIDE)
    wrong[0, 1, 2] = torch.nan
    with pytest.raises(SamplerConfigError, match="not finite"):
        near_copies(index, wrong)
    with pytest.raises(SamplerConfigError, match=r"from 0 to 255\. Give values in \[-1, 1\]"):
        near_copies(index, torch.linspace(0, 255, SIDE**2).reshape(1, SIDE, SIDE))


def test_a_null_of_something_else_is_refused(index: PatchIndex) -> None:
    settings = replace(SETTINGS, patch_size=7)
    null = CopyNull(
        scores=(1.0,), distances=(1.0,), origin="held out", settings=settings, index="another"
    )
    picture = to_unit(index.images.pixels[0])
    with pytest.raises(SamplerConfigError, match="made with another index"):
        near_copies(index, picture, null=null, settings=SETTINGS)
    null = replace(null, index=index.digest)
    with pytest.raises(SamplerConfigError, match="are asked for"):
        near_copies(index, picture, mirrored=True, null=null, settings=SETTINGS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 1}, "k is 1. Give at least 2"),
        ({"nprobe": 0}, "nprobe is 0"),
        ({"candidates": 0}, "candidates is 0"),
        ({"most": 0}, "most is 0"),
        ({"tolerances": ()}, "tolerances are"),
        ({"tolerances": (0.9,)}, "at most 0.5"),
        ({"region_tolerance": 0.0}, "above 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SamplerConfigError, match=message):
        CopySettings(**settings)


def test_a_null_of_more_images_than_there_are_is_refused(index: PatchIndex) -> None:
    with pytest.raises(SamplerConfigError, match=f"Give 1 to {NUM}"):
        held_out(index, num=NUM + 1)


def test_an_index_of_large_patches_alone_is_refused(tmp_path: Path) -> None:
    index = build_small(tmp_path / "i.zarr", small_images(12), scales=(11,))
    with pytest.raises(SamplerConfigError, match=r"scales 11.*Build one with scale"):
        near_copies(index, torch.zeros(1, 16, 16))


@pytest.mark.slow
@pytest.mark.parametrize("times", [12, 40])
def test_an_image_that_the_set_holds_many_times_is_found(
    images: ImageSet, textured: list[int], tmp_path: Path, times: int
) -> None:
    chosen = textured[0]
    repeated = np.concatenate([images.pixels, images.pixels[[chosen] * times]])
    index = build_small(tmp_path / "i.zarr", ImageSet.from_array(repeated), scales=(7,))
    copy = asked(index, images.pixels[chosen]).copies[0]
    assert copy.image in (chosen, *range(len(images), len(repeated)))
    assert (copy.displacement, copy.matching) == ((0, 0), 1)


def test_of_equal_patches_a_few_are_kept() -> None:
    ids = torch.arange(12)[None]
    dist_sq = torch.tensor([[0.0] * 8 + [1.0, 2.0, 3.0, torch.inf]])
    kept, distances = _few_of_each_tie(ids.where(dist_sq < torch.inf, -1), dist_sq, 8)
    assert kept.tolist() == [[0, 1, 2, 3, 8, 9, 10, -1]]
    assert distances.tolist() == [[0, 0, 0, 0, 1, 2, 3, torch.inf]]
