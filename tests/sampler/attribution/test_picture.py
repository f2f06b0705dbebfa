"""Whole pictures: their averaged weights and shares are those of brute force over all patches."""

import numpy as np
import pytest
import torch
from numpy import ndarray
from reference.brute_search import BruteSearch
from reference.samples import random_images
from small_index import build_small, small_images

from patchindex import ImageSet, UserError
from sampler.attribution import attribution
from sampler.attribution.attributed import PictureAttribution
from sampler.choices import PICTURE_SIGMAS
from sampler.results.picture_result import images_to

SIDE, NUM, DRAWS, SEED = 7, 6, 3, 5
LEVELS = (1.5, 0.4)


@pytest.fixture
def images(rng: np.random.Generator) -> ImageSet:
    names = [f"a/{number}.png" for number in range(NUM)]
    pixels = random_images(rng, NUM, 2, SIDE, SIDE)
    return ImageSet.from_array(pixels, labels=[0, 1, 1, 0, 1, 0], names=names)


def true_weights(y: ndarray, images: ndarray, sigma: float, size: int) -> ndarray:
    """Normalized weights [h, w, n, h, w] of all patches for each pixel, 0 where not legal."""
    radius = size // 2
    wide = ((0, 0), (radius, radius), (radius, radius))
    query = np.pad(y, wide)
    padded = [np.pad(image, wide) for image in images.astype(np.float64) / 127.5 - 1]
    dist_sq = np.full((SIDE, SIDE, len(images), SIDE, SIDE), np.inf)
    cut = [(max(0, radius - at), max(0, at + radius - (SIDE - 1))) for at in range(SIDE)]
    for row, column, n, i, j in np.ndindex(dist_sq.shape):
        if cut[row] == cut[i] and cut[column] == cut[j]:
            window = query[:, row : row + size, column : column + size]
            patch = padded[n][:, i : i + size, j : j + size]
            dist_sq[row, column, n, i, j] = ((window - patch) ** 2).sum()
    least = dist_sq.min(axis=(2, 3, 4), keepdims=True)
    weights = np.exp(-(dist_sq - least) / (2 * sigma**2))
    return weights / weights.sum(axis=(2, 3, 4), keepdims=True)


def averaged(picture: ndarray, images: ndarray, sigma: float, size: int) -> tuple[ndarray, ndarray]:
    """Weights averaged over the draws of noise, and of them 1 / the mean sum of squares."""
    weights, squares = 0.0, 0.0
    for draw in range(DRAWS):
        noise = np.random.default_rng([SEED, draw]).standard_normal(
            dtype=np.float32, size=picture.shape
        )
        found = true_weights(picture + sigma * noise.astype(np.float64), images, sigma, size)
        weights, squares = weights + found / DRAWS, squares + (found**2).sum((2, 3, 4)) / DRAWS
    return weights, 1 / squares


@pytest.mark.parametrize("scales", ["theory", (5, 3)])
@pytest.mark.parametrize("exact", [True, False])
def test_weights_and_shares_are_those_of_brute_force(
    images, rng, exact, scales, monkeypatch
) -> None:
    monkeypatch.setattr("sampler.estimator.sources.NUM_FOUND", 1000)
    monkeypatch.setattr("sampler.attribution.picture.LISTED_OF_A_DRAW", NUM * SIDE**2)
    monkeypatch.setattr("sampler.exact.LEAST_LISTED", 0.0)  # or what one draw has little of lacks
    pictures = rng.uniform(-1, 1, (2, 2, SIDE, SIDE)).astype(np.float32)
    sizes = (3,) if scales == "theory" else (3, 5)
    found = attribution(
        BruteSearch(images, scales=sizes), pictures, sigmas=LEVELS,
        scales=scales, draws=DRAWS, seed=SEED, num_sources=5, exact=exact,
    )  # fmt: skip
    assert found.config.exact is exact
    asked = [(sigma, size) for sigma in LEVELS for size in sizes]
    for picture, one in zip(pictures, found, strict=True):
        assert [(level.sigma, level.patch_size) for level in one.levels] == asked
        expected = [averaged(picture, images.pixels, sigma, size) for sigma, size in asked]
        for level, (weights, effective) in zip(one.levels, expected, strict=True):
            flat = weights.reshape(SIDE, SIDE, -1)
            ids, listed = level.sources.ids.numpy(), level.sources.weights.numpy()
            there = np.take_along_axis(flat, np.maximum(ids, 0), axis=-1)
            np.testing.assert_allclose(listed, there * (ids >= 0), atol=2e-5)
            np.testing.assert_allclose(listed, np.sort(flat)[..., :-6:-1], atol=2e-5)
            by_image = weights.sum((3, 4)).mean((0, 1))
            told = [level.shares.get(image, 0.0) for image in range(NUM)]
            np.testing.assert_allclose(told, by_image, atol=2e-4)
            np.testing.assert_allclose(level.effective_sample_size, effective, rtol=1e-3)
            centers = images.pixels.astype(np.float64) / 127.5 - 1
            mean = np.einsum("yxnij,ncij->cyx", weights, centers)
            np.testing.assert_allclose(level.mean, mean, atol=1e-4)
            assert float(level.standard_error.abs().max()) == 0
        both = np.mean([weights for weights, _ in expected], axis=0)
        told = {part.image: part.share for part in one.shares}
        np.testing.assert_allclose(
            [told[image] for image in range(NUM)], both.sum((3, 4)).mean((0, 1)), atol=2e-4
        )
        assert sum(told.values()) + one.unattributed == pytest.approx(1)
        np.testing.assert_allclose(one.region(2), listed_region(one, 2), atol=1e-6)


def listed_region(one: PictureAttribution, image: int) -> ndarray:
    """The same from the records of each pixel."""
    region = np.zeros((SIDE, SIDE))
    for y, x in np.ndindex(SIDE, SIDE):
        region[y, x] = sum(part.weight for part in one.sources.at(y, x) if part.image == image)
    return region


def test_records_tell_name_place_and_window(images) -> None:
    picture = torch.from_numpy(images.pixels[4:5])
    [found] = attribution(BruteSearch(images, scales=(3,)), picture, sigmas=[0.2, 0.05], draws=2)
    for place in (found.sources, found.levels[1].sources):
        first, *_ = place.at(3, 5)
        assert (first.image, first.name, first.label, first.y, first.x) == (4, "a/4.png", 1, 3, 5)
        assert first.weight == pytest.approx(1, abs=0.02)
        np.testing.assert_allclose(
            first.patch, images.pixels[4, :, 2:5, 4:7] / 127.5 - 1, atol=1e-6
        )
    corner = found.sources.at(0, 0)[0]
    assert (corner.patch[:, 0] == 0).all()
    weights = [part.weight for part in found.sources.at(3, 5)]
    assert weights == sorted(weights, reverse=True)
    with pytest.raises(UserError, match=r"pixel 7,0 lies outside.*row below 7"):
        found.sources.at(7, 0)


def test_a_training_picture_explains_itself(rng, tmp_path) -> None:
    textures = ImageSet.from_array(random_images(rng, 40, 1, 16, 16))
    index = build_small(tmp_path / "index.zarr", textures)
    for settings in ({}, {"exact": False, "sigmas": [6.4, 0.4, 0.05]}):
        [found] = attribution(index, textures.pixels[17:18], draws=2, **settings)
        assert tuple(level.sigma for level in found.levels) == tuple(
            settings.get("sigmas", PICTURE_SIGMAS)
        )
        assert found.shares[0].image == 17
        assert found.levels[-1].shares[17] > 0.99
        assert found.levels[0].shares.get(17, 0.0) < 0.2  # at the highest noise all share it
        assert found.levels[-1].unattributed < 0.01
        assert float(found.levels[-1].sources.region(17).min()) > 0.99


def test_shares_at_the_lowest_noise_are_numbers(rng, tmp_path) -> None:
    colors = ImageSet.from_array(random_images(rng, 40, 3, 16, 16), layout="nchw")
    index = build_small(tmp_path / "index.zarr", colors, scales=(9,))
    pictures = rng.uniform(-1, 1, (2, 3, 16, 16)).astype(np.float32)
    for one in attribution(index, pictures, draws=2, sigmas=[1e-4], exact=False):
        assert 0 < sum(part.share for part in one.shares) <= 1.001
        assert float(one.levels[0].sources.weights.sum(-1).max()) <= 1.001


def test_pictures_as_generators_leave_them_are_taken(images) -> None:
    index = BruteSearch(images, scales=(3,))
    unit = images.pixels[4:5].astype(np.float32) / 127.5 - 1
    plain = attribution(index, unit, draws=1, sigmas=[0.2])[0].shares
    for pictures in (torch.from_numpy(unit).requires_grad_(), unit.astype(">f4")):
        assert attribution(index, pictures, draws=1, sigmas=[0.2])[0].shares == plain


def test_a_mosaic_of_two_names_both_with_their_regions(tmp_path) -> None:
    index = build_small(tmp_path / "index.zarr")
    pixels = index.images.pixels
    mosaic = pixels[3].copy()
    mosaic[:, :, 8:] = pixels[30, :, :, 8:]
    [found] = attribution(index, mosaic[None], draws=2, sigmas=[0.2, 0.1, 0.05])
    assert {part.image for part in found.shares[:2]} == {3, 30}
    left, right = found.region(3), found.region(30)
    for region, here in ((left, slice(0, 7)), (right, slice(9, 16))):
        elsewhere = slice(9, 16) if here.start == 0 else slice(0, 7)
        assert float(region[:, here].mean()) > 10 * float(region[:, elsewhere].mean())
        assert float(region[:, here].mean()) > 0.2  # the rest is plain ground, which all share


@pytest.mark.slow
@pytest.mark.parametrize("exact", [True, False])
def test_a_picture_has_the_same_answer_alone_and_in_a_batch(tmp_path, exact, monkeypatch) -> None:
    index = build_small(tmp_path / "index.zarr", small_images(200))
    pictures = torch.from_numpy(small_images(203).pixels[200:])
    settings = {"sigmas": [0.8, 0.2], "draws": 2, "seed": 3, "exact": exact}
    together = attribution(index, pictures, **settings)
    monkeypatch.setattr("sampler.attribution.picture.MOST_PIXELS", 1)
    apart = attribution(index, pictures, **settings)
    [alone] = attribution(index, pictures[1:2], **settings)
    for one in (apart[1], alone):
        for level, other in zip(together[1].levels, one.levels, strict=True):
            assert (level.sources.ids == other.sources.ids).all()
            for name in ("mean", "state", "effective_sample_size", "standard_error"):
                torch.testing.assert_close(getattr(level, name), getattr(other, name))
            assert level.shares == pytest.approx(other.shares)
    assert len(together) == 3
    assert together[-1].levels[0].state.shape == (1, 16, 16)
    assert [one.shares[0].image for one in together[:2]] == [
        one.shares[0].image for one in (together[0], together[1])
    ]


def test_equal_seeds_give_equal_answers_and_others_do_not(images, rng) -> None:
    pictures = rng.uniform(-1, 1, (1, 2, SIDE, SIDE)).astype(np.float64)
    search = BruteSearch(images, scales=(3,))
    first, same, other = (
        attribution(search, pictures, sigmas=[0.5], draws=2, seed=seed)[0] for seed in (1, 1, 2)
    )
    assert first.shares == same.shares
    assert first.shares != other.shares


def test_windows_are_as_large_as_still_fit_into_parts_of_a_picture(images) -> None:
    def asked(*scales: int) -> set[int]:
        found = attribution(
            BruteSearch(images, scales=scales), images.pixels[:1], sigmas=[0.5, 0.2], draws=1
        )
        assert found.config.scales == tuple(
            sorted({level.geometry.patch_size for level in found.levels})
        )
        return {level.patch_size for level in found[0].levels}

    assert asked(1, 3, 5) == {3}  # of 7 pixels
    assert asked(5, 7) == {5}


def test_progress_tells_of_all_levels(images) -> None:
    told: list[tuple[str, float, int]] = []
    attribution(
        BruteSearch(images, scales=(3,)), images.pixels[:2], sigmas=[1.0, 0.5],
        progress=lambda *values: told.append(values),
    )  # fmt: skip
    done = [value for _, value, _ in told]
    assert done == sorted(done)
    assert told[-1][1:] == (2, 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"draws": 0}, r"draws is 0\. Give at least 1"),
        ({"num_sources": 0}, r"num_sources is 0\. Give at least 1"),
        ({"seed": -1}, r"seed is -1\. Give a whole number"),
        ({"sigmas": [0.1, 0.2]}, r"sigmas are 0\.1, 0\.2\. Give falling noise levels"),
        ({"scales": [3, 5]}, r"scale 5 is not in the index, which has \[3\]"),
        ({"scales": [4]}, "patch size"),
        ({"scales": []}, r"scales are \(\)\. Give at least one patch size of the index"),
        ({"scales": "all"}, "scales are 'all'. Give at least one patch size of the index, or 'the"),
        ({"label": 7}, r"no image of .* has label 7"),
    ],
)
def test_settings_out_of_range_are_refused(images, settings, message, unchecked) -> None:
    with pytest.raises(UserError, match=message):
        attribution(BruteSearch(images, scales=(3,)), images.pixels[:1], **settings)


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        (np.zeros((1, 2, 7, 8), np.float32), r"shape \[1, 2, 7, 8\], but .* are 2x7x7"),
        (np.zeros((0, 2, 7, 7), np.float32), r"shape \[0, 2, 7, 7\]"),
        (np.full((1, 2, 7, 7), 2, np.float32), r"values from 2 to 2\. Give"),
        (np.full((1, 2, 7, 7), np.nan, np.float32), "values from nan to nan"),
        (np.zeros((1, 2, 7, 7), np.int64), "pictures are int64. Give uint8"),
    ],
)
def test_pictures_that_cannot_be_are_refused(images, pictures, message, unchecked) -> None:
    with pytest.raises(UserError, match=message):
        attribution(BruteSearch(images, scales=(3,)), pictures)


def test_images_without_an_index_are_refused(images) -> None:
    with pytest.raises(UserError, match=r"only be named with an index.*`patchindex build`"):
        attribution(images, images.pixels[:1])


def test_nine_tenths_are_counted_from_the_largest() -> None:
    assert images_to(0.9, [0.1, 0.5, 0.02, 0.3]) == 3
    assert images_to(0.9, [0.9, 0.1]) == 1
    assert images_to(0.9, []) == 0
