"""Sources of a pixel against float64 brute force: distances, weights, ties, and what is left."""

import numpy as np
import pytest
import torch
from numpy import ndarray
from reference.brute_search import BruteSearch, MissingSearch
from small_index import build_small, small_images

from patchindex import ImageSet, PatchIndex
from patchindex.errors import DatasetError, GeometryError, IndexConfigError
from patchindex.images import to_unit
from sampler import ELSMachine
from sampler.attribution.nearest_patches import LookupConfig
from sampler.attribution.pixel_query import Provenance, Tie, find_sources
from sampler.errors import SamplerConfigError
from sampler.estimator.query import index_geometry

# what the index finds, and what a comparison with every patch does
SEARCH, COMPARE = {"whole": 0, "nprobe": 1000}, {"exact": True}
PIXELS = {"interior": (8, 7), "edge": (0, 9), "corner": (15, 0)}
# float32 sums of 49 squares up to 4 against float64
CLOSE = {"rel": 1e-5, "abs": 1e-6}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> PatchIndex:
    return build_small(tmp_path_factory.mktemp("indices") / "small.zarr")


def unit(images: ImageSet, position: int) -> torch.Tensor:
    return to_unit(images.pixels[position : position + 1])


def noisy(images: ImageSet, position: int, sigma: float) -> torch.Tensor:
    noise = np.random.default_rng(position).standard_normal(images.pixels.shape[1:])
    return unit(images, position) + sigma * torch.from_numpy(noise).float()


def brute_force(
    index, y: torch.Tensor, pixel: tuple[int, int], patch_size: int, label: int | None = None
) -> tuple[ndarray, ndarray]:
    """Ids and distances of all legal patches, nearest first, in float64 by another code."""
    number = index_geometry(index, patch_size).signature_at(*pixel)
    ids, patches = BruteSearch(index.images, index.boundary).legal_patches(
        patch_size, number, label
    )
    r, mode = patch_size // 2, "constant" if index.boundary == "zeros" else "wrap"
    padded = np.pad(y[0].double().numpy(), ((0, 0), (r, r), (r, r)), mode=mode)
    rows, cols = (slice(at, at + patch_size) for at in pixel)
    window = padded[:, rows, cols].reshape(-1)
    distances = np.sqrt(((patches - window) ** 2).sum(axis=1))
    order = distances.argsort(kind="stable")
    return ids[order], distances[order]


def ids_of(found: Provenance, images: ImageSet) -> list[int]:
    places = [(source.image, source.y, source.x) for source in found.sources]
    return [(image * images.height + y) * images.width + x for image, y, x in places]


@pytest.mark.parametrize("border", PIXELS)
@pytest.mark.parametrize("patch_size", [3, 7])
@pytest.mark.parametrize("lookup", [SEARCH, COMPARE])
def test_a_training_images_own_window_is_first_or_tied_at_distance_0(
    index, border, patch_size, lookup
) -> None:
    for position in (5, 11):
        pixel = PIXELS[border]
        config = LookupConfig(k=300, **lookup)
        found = find_sources(index, unit(index.images, position), pixel, patch_size, config=config)
        at_zero = [s for s in found.sources if s.distance == 0]
        assert (position, *pixel) in [(s.image, s.y, s.x) for s in at_zero]
        assert found.sources[: len(at_zero)] == tuple(at_zero)
        assert found.border == border
        assert [s.weight * len(at_zero) for s in at_zero] == pytest.approx([1] * len(at_zero))
        assert found.ties[0].patches == len(at_zero)
        assert found.unattributed == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("pixel", PIXELS.values())
@pytest.mark.parametrize("sigma", [0.0, 0.4])
@pytest.mark.parametrize("lookup", [SEARCH, COMPARE])
def test_neighbors_and_weights_agree_with_float64_brute_force(index, pixel, sigma, lookup) -> None:
    y = noisy(index.images, 3, sigma or 0.1)
    found = find_sources(index, y, pixel, 7, sigma=sigma, config=LookupConfig(k=20, **lookup))
    ids, distances = brute_force(index, y, pixel, 7)
    assert [s.distance for s in found.sources] == pytest.approx(distances[:20], **CLOSE)
    of_id = dict(zip(ids.tolist(), distances.tolist(), strict=True))
    own = [of_id[patch] for patch in ids_of(found, index.images)]
    assert own == pytest.approx(distances[:20], **CLOSE)  # its own distance, whatever tied patch
    assert [s.label for s in found.sources] == [index.images.labels[s.image] for s in found.sources]
    if sigma:
        weights = np.exp((distances[0] ** 2 - distances**2) / (2 * sigma**2))
    else:
        weights = (distances <= distances[0] * (1 + 1e-6)).astype(float)
    expected = (weights / weights.sum())[:20]
    assert [s.weight for s in found.sources] == pytest.approx(expected, rel=1e-4)
    assert found.num_patches == len(ids)


@pytest.mark.parametrize("boundary", ["circular", "circular_interior"])
def test_windows_wrap_as_the_boundary_says(boundary) -> None:
    brute = BruteSearch(small_images(8), boundary, scales=(5,))
    y = noisy(brute.images, 2, 0.3)
    found = find_sources(brute, y, (0, 15), 5, sigma=0.3, config=LookupConfig(exact=True))
    _, distances = brute_force(brute, y, (0, 15), 5)
    assert [s.distance for s in found.sources] == pytest.approx(distances[:8], **CLOSE)
    assert found.border == "interior"


@pytest.mark.parametrize("sigma", [0.0, 0.05, 0.5, 20.0])
@pytest.mark.parametrize("lookup", [SEARCH, COMPARE, {"whole": 0, "nprobe": 1, "draws": 50}])
def test_weights_and_what_is_unattributed_sum_to_1(index, sigma, lookup) -> None:
    for pixel in PIXELS.values():
        y = noisy(index.images, 7, sigma)
        found = find_sources(index, y, pixel, 3, sigma=sigma, config=LookupConfig(**lookup))
        weights = [s.weight for s in found.sources]
        assert sum(weights) + found.unattributed == pytest.approx(1, abs=1e-12)
        assert found.unattributed >= 0
        assert weights == sorted(weights, reverse=True)
        distances = [s.distance for s in found.sources]
        assert distances == sorted(distances)


def test_weights_sum_to_1_whatever_the_search_missed() -> None:
    search = MissingSearch(small_images(20))
    for sigma in (0.01, 1.0):
        y = noisy(search.images, 4, sigma)
        config = LookupConfig(whole=0, candidates=32, draws=100)
        found = find_sources(search, y, (8, 8), 3, sigma=sigma, config=config)
        assert sum(s.weight for s in found.sources) + found.unattributed == pytest.approx(1)
        assert not found.complete


def test_draws_stand_for_what_was_not_found_within_their_error(index) -> None:
    y, pixel, sigma = noisy(index.images, 9, 0.6), (8, 7), 0.6
    exact = find_sources(index, y, pixel, 3, sigma=sigma, config=LookupConfig(exact=True))
    estimates = [
        find_sources(
            index, y, pixel, 3, sigma=sigma,
            config=LookupConfig(whole=0, candidates=64, draws=1000, seed=seed),
        )
        for seed in range(12)
    ]  # fmt: skip
    errors = np.array([found.unattributed - exact.unattributed for found in estimates])
    stated = np.array([found.standard_error for found in estimates])
    assert exact.standard_error == 0 < stated.min()
    # the root mean square of 12 about normal errors is within three of its own standard errors,
    # 1 / sqrt(24)
    assert np.sqrt((errors**2).mean()) / stated.mean() == pytest.approx(1, abs=0.6)


@pytest.mark.parametrize("lookup", [{"whole": 0}, COMPARE])
def test_the_mass_is_that_of_the_exact_machine(index, lookup) -> None:
    alpha_bar, pixel = 0.7, (8, 7)
    sigma = (0.3 / 0.7) ** 0.5
    y = noisy(index.images, 1, sigma)
    found = find_sources(index, y, pixel, 7, sigma=sigma, config=LookupConfig(**lookup))
    machine = ELSMachine(index.images).posterior(alpha_bar**0.5 * y, alpha_bar, 7)
    expected = np.exp(
        -(found.sources[0].distance ** 2) / (2 * sigma**2) - machine.log_mass[0, 8, 7].item()
    )
    assert found.sources[0].weight == pytest.approx(expected, rel=1e-4)


def test_duplicates_are_counted_and_share_the_weight() -> None:
    once = small_images(6)
    twice = ImageSet.from_array(np.concatenate([once.pixels, once.pixels, once.pixels[:1]]))
    search = BruteSearch(twice)
    found = find_sources(search, unit(once, 0), (9, 8), 7, config=LookupConfig(k=4))
    assert [(s.image, s.y, s.x) for s in found.sources[:3]] == [(n, 9, 8) for n in (0, 6, 12)]
    assert [s.weight for s in found.sources] == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])
    assert found.ties[0] == Tie(distance=0.0, listed=3, patches=3, at_least=False)
    assert found.sources[0].label is None
    assert sum(tie.listed for tie in found.ties) == len(found.sources)


@pytest.mark.parametrize("lookup", [{"whole": 0}, COMPARE])
def test_more_ties_than_are_kept_share_the_weight_of_all(lookup) -> None:
    pixels = np.zeros((30, 1, 16, 16), dtype=np.uint8)
    pixels[20:] = small_images(10).pixels
    search = BruteSearch(ImageSet.from_array(pixels))
    config = LookupConfig(k=4, candidates=64, draws=3000, **lookup)
    found = find_sources(search, unit(search.images, 0), (8, 8), 3, config=config)
    ids, distances = brute_force(search, unit(search.images, 0), (8, 8), 3)
    num_plain = (distances == 0).sum()
    assert num_plain >= 20 * 14 * 14
    # 3000 of 5880 patches drawn, of which more than two thirds tie: about 0.9 % of their number
    assert found.sources[0].weight == pytest.approx(1 / num_plain, rel=0.05)
    assert found.ties[0].at_least == (not found.complete)
    assert found.ties[0].patches == (num_plain if found.complete else 64)
    if found.complete:
        assert ids_of(found, search.images) == sorted(ids[:num_plain])[:4]


def test_a_label_keeps_to_images_of_its_class(index) -> None:
    label = int(index.images.labels[3])
    y = unit(index.images, 0)
    for lookup in (SEARCH, COMPARE):
        found = find_sources(index, y, (8, 7), 3, config=LookupConfig(label=label, **lookup))
        _, distances = brute_force(index, y, (8, 7), 3, label)
        assert {s.label for s in found.sources} == {label}
        assert [s.distance for s in found.sources] == pytest.approx(distances[:8], **CLOSE)
    with pytest.raises(DatasetError, match="no image of small has label 77"):
        find_sources(index, y, (8, 7), 3, config=LookupConfig(label=77))


def test_fewer_legal_patches_than_asked_for_are_all_listed(index) -> None:
    found = find_sources(index, unit(index.images, 0), (0, 0), 3, config=LookupConfig(k=100))
    assert len(found.sources) == found.num_patches == len(index.images)


def test_what_the_search_leaves_short_is_compared_whole(index) -> None:
    config = LookupConfig(k=2000, whole=0, nprobe=1)
    found = find_sources(index, unit(index.images, 0), (8, 7), 7, config=config)
    assert found.complete
    assert len(found.sources) == 2000


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"k": 0}, SamplerConfigError, "k is 0. Give 1 to 10,000"),
        ({"k": 10_001}, SamplerConfigError, "Give 1 to 10,000"),
        ({"nprobe": 0}, IndexConfigError, "nprobe is 0. Give at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, error, message) -> None:
    with pytest.raises(error, match=message):
        LookupConfig(**settings)


def test_a_pixel_outside_the_image_is_refused(index) -> None:
    with pytest.raises(GeometryError, match=r"pixel \(16, 3\) lies outside the image"):
        find_sources(index, unit(index.images, 0), (16, 3), 3)
