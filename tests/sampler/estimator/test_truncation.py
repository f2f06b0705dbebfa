"""The claim, on real images: top-k alone is wrong at high noise, a sampled tail mends it."""

import numpy as np
import pytest
import torch
from reference.brute_search import BruteSearch, MissingSearch
from reference.published import load, needs_published
from reference.reverse_process import legacy_cosine
from reference.samples import noisy_states, random_images
from small_index import build_small

from patchindex import ImageSet
from sampler import ELSMachine

PATCH_SIZE, K, TAIL = 9, 128, 4096


def r2(found: np.ndarray, exact: np.ndarray) -> float:
    """1 - SSE / SST over all pixels."""
    return 1 - ((found - exact) ** 2).sum() / ((exact - exact.mean()) ** 2).sum()


@pytest.fixture(scope="module")
def images() -> ImageSet:
    return ImageSet.from_array(load("fashion_mnist_32")["images"])


@pytest.fixture(scope="module")
def xt(images: ImageSet) -> torch.Tensor:
    """A training image at t = 0.9 (sigma 5.9)."""
    noise = np.random.default_rng(3).standard_normal((1, 1, 32, 32))
    x0, alpha_bar = images.pixels[7:8] / 127.5 - 1, legacy_cosine(0.9)
    return torch.from_numpy(alpha_bar**0.5 * x0 + (1 - alpha_bar) ** 0.5 * noise).float()


@pytest.fixture(scope="module")
def exact(images: ImageSet, xt: torch.Tensor) -> np.ndarray:
    return ELSMachine(images).posterior(xt, legacy_cosine(0.9), PATCH_SIZE).mean.numpy()


def estimate(search: type, images: ImageSet, xt: torch.Tensor, tail: int) -> np.ndarray:
    machine = ELSMachine(search(images, scales=(PATCH_SIZE,)), k=K, tail=tail, seed=0)
    return machine.posterior(xt, legacy_cosine(0.9), PATCH_SIZE).mean.numpy()


@needs_published
def test_truncated_top_k_is_wrong_at_high_noise(images, xt, exact) -> None:
    assert r2(estimate(BruteSearch, images, xt, tail=0), exact) < 0.9


@needs_published
def test_top_k_with_a_sampled_tail_is_right_at_high_noise(images, xt, exact) -> None:
    assert r2(estimate(BruteSearch, images, xt, tail=TAIL), exact) > 0.98


@needs_published
def test_at_high_noise_even_a_search_that_misses_is_right_with_a_tail(images, xt, exact) -> None:
    assert r2(estimate(MissingSearch, images, xt, tail=TAIL), exact) > 0.98


def test_without_a_tail_long_lists_are_searched_too(rng, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("sampler.estimator.query.LONGEST_LIST", 1)
    monkeypatch.setattr("sampler.estimator.query.LONGEST_SHARE", 10**9)
    index = build_small(tmp_path / "small.zarr", scales=(3,))
    xt = torch.from_numpy(rng.standard_normal((1, 1, 16, 16), dtype=np.float32))
    assert ELSMachine(index, k=16, tail=0).posterior(xt, 0.1, 3).mean.isfinite().all()


@pytest.mark.parametrize(("tail", "left_out"), [(0, False), (2, True)])
def test_only_what_a_tail_can_stand_for_is_left_out(rng, tail, left_out, monkeypatch) -> None:
    images = ImageSet.from_array(random_images(rng, 40, 1, 8, 8))
    search, longest = BruteSearch(images), []

    def noting(self, *arguments, longest_list=None, **options):
        longest.append(longest_list)
        return find(self, *arguments, **options)

    find = BruteSearch.search
    monkeypatch.setattr(BruteSearch, "search", noting)
    xt = torch.from_numpy(noisy_states(rng, images.pixels, 1, 0.9))
    ELSMachine(search, k=4, tail=tail).posterior(xt, 0.9, 3)
    assert longest
    assert all((limit is not None) == left_out for limit in longest)
