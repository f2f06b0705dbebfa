"""Exact sums by blocks: those of brute force, and the same bits for any crew."""

import threading
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from pretended_crew import PretendedCrew
from reference.samples import noisy_states, random_images
from reference.score_machines import posterior

from patchindex import ImageSet, PatchGeometry, PosteriorRecord
from patchindex.device import Device
from sampler import ELSMachine, ISMachine, LSMachine, exact
from sampler.exact import images_per_block, sum_exactly

pytestmark = pytest.mark.usefixtures("small_blocks")

SIDE, SIGNAL = 6, 0.7
SIGMA = ((1 - SIGNAL) / SIGNAL) ** 0.5
SIZES = [1, 2, 3, 5]
# of a label, or all: 2 * 11 + 1 blocks of 2 images, the last of them half full; and 7 of label 1
NUM, OF_LABEL = 45, 14


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of two images."""
    monkeypatch.setattr("sampler.exact.BLOCK_PIXELS", 3 * SIDE * SIDE - 1)


@pytest.fixture
def images(rng: np.random.Generator) -> ImageSet:
    labels = np.where(np.arange(NUM) < OF_LABEL, 1, 0)
    return ImageSet.from_array(random_images(rng, NUM, 2, SIDE, SIDE), rng.permutation(labels))


@pytest.fixture
def xt(rng: np.random.Generator, images: ImageSet) -> torch.Tensor:
    return torch.from_numpy(noisy_states(rng, images.pixels, 3, SIGNAL))


def geometry(kind: str, boundary: str = "zeros") -> PatchGeometry | None:
    if kind == "IS":
        return None
    return PatchGeometry(
        height=SIDE, width=SIDE, patch_size=3, boundary=boundary, equivariant=kind == "ELS"
    )


def machine(kind: str, images: ImageSet) -> ISMachine | LSMachine | ELSMachine:
    return {"IS": ISMachine, "LS": LSMachine, "ELS": ELSMachine}[kind](images)


def assert_equal_bits(a: PosteriorRecord, b: PosteriorRecord) -> None:
    for field in fields(PosteriorRecord):
        assert torch.equal(getattr(a, field.name), getattr(b, field.name)), field.name


@pytest.mark.parametrize("label", [None, 1])
@pytest.mark.parametrize("kind", ["IS", "LS", "ELS"])
def test_blocks_sum_to_what_brute_force_says(images, xt, kind: str, label: int | None) -> None:
    assert images_per_block(images) == 2
    found = machine(kind, images).posterior(xt, SIGNAL, 3, label=label)
    of_label = images.pixels if label is None else images.pixels[images.labels == label]
    for state, mean, log_mass in zip(xt, found.mean, found.log_mass, strict=True):
        expected = posterior(state.numpy(), SIGNAL, of_label, 3, machine=kind, boundary="zeros")
        # kernels compute distances in float32: as tests/sampler/test_machines.py allows
        np.testing.assert_allclose(mean, expected.mean, atol=2e-4)
        np.testing.assert_allclose(log_mass, expected.log_mass, atol=2e-3)


@pytest.mark.parametrize("kind", ["IS", "LS", "ELS"])
def test_one_scan_over_all_is_a_rounding_away(images, xt, kind: str, monkeypatch) -> None:
    blocks = sum_exactly(images, xt, SIGMA, geometry(kind))
    monkeypatch.setattr("sampler.exact.BLOCK_PIXELS", 2**22)
    whole = sum_exactly(images, xt, SIGMA, geometry(kind))
    torch.testing.assert_close(blocks.mean, whole.mean, atol=1e-6, rtol=0)
    assert torch.equal(blocks.num_scored, whole.num_scored)


@pytest.mark.parametrize("num", [1, 2, 3, 9, 23, 31, 45])
@pytest.mark.parametrize("kind", ["IS", "LS", "ELS"])
def test_any_crew_gives_the_same_bits(images, xt, kind: str, num: int) -> None:
    first = ImageSet.from_array(images.pixels[:num])
    alone = sum_exactly(first, xt, SIGMA, geometry(kind))
    for size in SIZES:
        crew = PretendedCrew(size)
        shared = sum_exactly(replace(first, crew=crew), xt, SIGMA, geometry(kind))
        assert_equal_bits(shared, alone)
        num_blocks, (units,) = -(-num // 2), crew.units
        assert min(size, num_blocks) <= units <= min(4 * size, num_blocks)


@pytest.mark.parametrize("boundary", ["zeros", "circular", "circular_interior"])
@pytest.mark.parametrize("label", [None, 1])
def test_so_it_does_for_a_label_and_for_some_places(
    images, xt, boundary: str, label: int | None
) -> None:
    rule = geometry("ELS", boundary)
    places = torch.tensor([[0, 0, 0], [1, 3, 2], [2, 5, 5], [2, 0, 4]])
    alone = sum_exactly(images, xt, SIGMA, rule, label)
    here = sum_exactly(images, xt, SIGMA, rule, label, places=places)
    state, row, col = places.T
    torch.testing.assert_close(here.mean, alone.mean[state, row, col], atol=1e-5, rtol=0)
    assert torch.equal(here.num_scored, alone.num_scored[state, row, col])
    for size in SIZES:
        crew = PretendedCrew(size)
        with_crew = replace(images, crew=crew)
        assert_equal_bits(sum_exactly(with_crew, xt, SIGMA, rule, label), alone)
        assert_equal_bits(sum_exactly(with_crew, xt, SIGMA, rule, label, places=places), here)
        assert all(1 <= units <= 4 * size for units in crew.units)


def test_a_block_holds_a_power_of_two_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    def block(pixels: int, side: int) -> int:
        monkeypatch.setattr("sampler.exact.BLOCK_PIXELS", pixels)
        return images_per_block(ImageSet.from_array(np.zeros((1, 1, side, side), np.uint8)))

    assert [block(2**22, side) for side in (28, 32, 64, 4096)] == [4096, 4096, 1024, 1]
    assert block(100, 64) == 1  # an image is never cut


@pytest.mark.parametrize("num_devices", [1, 2, 3])
@pytest.mark.parametrize("kind", ["IS", "ELS"])
def test_devices_that_share_scans_sum_every_block_once(
    images, xt, kind: str, num_devices: int, monkeypatch
) -> None:
    """A processor stands for each: the blocks are dealt to threads, and merge as they ever do."""
    alone = sum_exactly(images, xt, SIGMA, geometry(kind))
    seen: list[int] = []
    work = exact._sum_branch

    def noted(*arguments: object) -> object:
        seen.append(threading.get_ident())
        return work(*arguments)

    monkeypatch.setattr(exact, "_sum_branch", noted)
    device = Device("meta", sharing=[torch.device("cpu")] * num_devices)
    shared = sum_exactly(images.with_device(device), xt, SIGMA, geometry(kind))
    assert_equal_bits(shared, alone)
    assert len(seen) == {1: 3, 2: 6, 3: 12}[num_devices]
    assert len(set(seen)) <= num_devices
