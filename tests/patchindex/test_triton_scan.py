"""The scan kernel for GPUs against brute force, in Triton's interpreter where there is no GPU."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from reference.samples import Case, random_images
from reference.score_machines import posterior

from patchindex import PatchGeometry, PosteriorRecord

triton_scan = pytest.importorskip("patchindex.kernels.triton_scan")
from patchindex.kernels.tiles import ScanTile, tile_tops  # noqa: E402 - Triton may be absent

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LOG_MASS_ATOL, RTOL, MEAN_ATOL = 2e-3, 2e-3, 1e-4
GPU = [pytest.mark.gpu, pytest.mark.skipif(DEVICE == "cpu", reason="needs a CUDA device")]

CASES = [
    Case(2, 1, 4, 5, patch_size, boundary, 0.5, seed=patch_size)
    for boundary in ("zeros", "circular")
    for patch_size in (1, 3, 5, 7)
] + [
    Case(2, 2, 5, 4, 3, "circular_interior", 0.8, seed=1),
    Case(1, 2, 5, 6, 5, "circular_interior", 0.1, seed=2),
    Case(1, 3, 6, 6, 3, "zeros", 0.9, seed=3),
    Case(1, 2, 8, 9, 7, "zeros", 0.6, seed=4),
    Case(2, 3, 3, 8, 9, "zeros", 0.9, seed=5),
    Case(2, 1, 9, 3, 9, "circular", 0.7, seed=10),  # a width, and a height, below the radius
    Case(2, 1, 3, 9, 9, "circular", 0.7, seed=11),
]


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles that several of which an image needs, and that the interpreter is done with soon."""
    monkeypatch.setattr(triton_scan, "scan_tile", lambda *_: ScanTile(rows=2, moves=2))


def geometry_of(case: Case, *, equivariant: bool = True) -> PatchGeometry:
    return PatchGeometry(
        height=case.height, width=case.width, patch_size=case.patch_size,
        boundary=case.boundary, equivariant=equivariant,
    )  # fmt: skip


def scanned(
    case: Case, images: np.ndarray, states: np.ndarray, *, equivariant: bool = True, **shared
) -> PosteriorRecord:
    y = torch.from_numpy(states).to(DEVICE) / case.alpha_bar**0.5
    sigma = ((1 - case.alpha_bar) / case.alpha_bar) ** 0.5
    geometry = geometry_of(case, equivariant=equivariant)
    return triton_scan.exact_scan(torch.from_numpy(images), y, sigma, geometry, **shared)


def assert_equals_brute_force(
    record: PosteriorRecord, case: Case, images: np.ndarray, states: np.ndarray, machine: str
) -> None:
    for b, xt in enumerate(states):
        expected = posterior(
            xt, case.alpha_bar, images, case.patch_size, machine=machine, boundary=case.boundary
        )
        one = record.map(lambda field, b=b: field[b].cpu())
        log_mass = one.log_max + one.sum_w.log()
        np.testing.assert_allclose(log_mass, expected.log_mass, atol=LOG_MASS_ATOL, rtol=1e-5)
        np.testing.assert_allclose(
            np.moveaxis(one.mean.numpy(), -1, 0), expected.mean, atol=MEAN_ATOL
        )
        sample_size = one.sum_w.square() / one.sum_w2
        np.testing.assert_allclose(sample_size, expected.effective_sample_size, rtol=RTOL)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_scan_equals_brute_force_over_legal_patches(case: Case) -> None:
    images, states = case.images(), case.states(1)
    record = scanned(case, images, states)
    assert_equals_brute_force(record, case, images, states, "ELS")
    per_image = torch.from_numpy(geometry_of(case).centers_per_pixel)
    assert record.num_scored.cpu().equal(case.num_images * per_image[None])
    assert record.sum_head.equal(record.sum_w)


@pytest.mark.parametrize("boundary", ["zeros", "circular"])
def test_without_equivariance_it_equals_brute_force_at_the_same_place(boundary: str) -> None:
    case = Case(3, 2, 5, 6, 5, boundary, 0.7, seed=6)
    images, states = case.images(), case.states(1)
    record = scanned(case, images, states, equivariant=False)
    assert_equals_brute_force(record, case, images, states, "LS")
    assert (record.num_scored == case.num_images).all()


@pytest.mark.parametrize("tile", [ScanTile(8, 4), ScanTile(4, 1), ScanTile(1, 3)], ids=str)
def test_the_tile_changes_nothing(monkeypatch: pytest.MonkeyPatch, tile: ScanTile) -> None:
    monkeypatch.setattr(triton_scan, "scan_tile", lambda *_: tile)
    case = Case(1, 1, 5, 5, 3, "zeros", 0.6, seed=7)
    images, states = case.images(), case.states(1)
    assert_equals_brute_force(scanned(case, images, states), case, images, states, "ELS")


def test_tiles_may_begin_before_the_first_row(monkeypatch: pytest.MonkeyPatch) -> None:
    tile, case = ScanTile(3, 1), Case(1, 1, 7, 6, 5, "zeros", 0.6, seed=13)
    assert tile_tops(geometry_of(case), tile) == range(-1, 7, 3)
    monkeypatch.setattr(triton_scan, "scan_tile", lambda *_: tile)
    images, states = case.images(), case.states(1)
    assert_equals_brute_force(scanned(case, images, states), case, images, states, "ELS")


@pytest.mark.slow
def test_programs_and_blocks_are_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(3, 1, 4, 4, 3, "zeros", 0.6, seed=8)
    images, states = case.images(), case.states(2)
    monkeypatch.setattr(triton_scan, "IMAGES_PER_PROGRAM", 2)
    whole = scanned(case, images, states)
    assert_equals_brute_force(whole, case, images, states, "ELS")
    monkeypatch.setattr(triton_scan, "BLOCK_BYTES", 1)  # one program to a launch
    monkeypatch.setattr(triton_scan, "SUMS_BYTES", 1)  # for one state
    parts = scanned(case, images, states)
    torch.testing.assert_close(parts.mean, whole.mean, rtol=0, atol=1e-6)
    assert parts.num_scored.equal(whole.num_scored)


@pytest.mark.slow
def test_a_state_has_the_same_sums_in_any_batch() -> None:
    case = Case(3, 1, 4, 4, 3, "zeros", 0.6, seed=9)
    images, states = case.images(), case.states(2)
    both, alone = scanned(case, images, states), scanned(case, images, states[1:])
    assert both.sum_w[1].equal(alone.sum_w[0])
    assert both.sum_wc[1].equal(alone.sum_wc[0])


def test_numbers_of_patches_are_copied_to_a_device_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host waits for such a copy, and would after every scan."""
    copied = []
    there = torch.Tensor.to
    monkeypatch.setattr(torch.Tensor, "to", lambda *args: copied.append(args) or there(*args))
    geometry = PatchGeometry(height=6, width=11, patch_size=3)
    for _ in range(2):
        triton_scan._centers_per_pixel(geometry, torch.device("cpu"))
        triton_scan._centers_per_pixel(replace(geometry), torch.device("cpu"))
    assert len(copied) == 1


@pytest.mark.parametrize("sigma", [1e-3, 40.0])
def test_extreme_noise_gives_finite_sums(sigma: float) -> None:
    rng = np.random.default_rng(11)
    images = random_images(rng, 2, 1, 5, 5)
    y = torch.from_numpy(images[:1] / 127.5 - 1).float()
    geometry = PatchGeometry(height=5, width=5, patch_size=3)
    record = triton_scan.exact_scan(torch.from_numpy(images), y.to(DEVICE), sigma, geometry)
    assert record.log_max.isfinite().all()
    assert (record.sum_w >= 1 - 1e-6).all()
    if sigma < 1:  # the state is a training image: its own patch is the nearest
        np.testing.assert_allclose(record.mean.cpu()[..., 0], y[:, 0], atol=1e-5)


@pytest.mark.parametrize("patch_size", [pytest.param(p, marks=GPU) for p in (3, 9, 17, 31)])
def test_a_gpu_agrees_with_the_processor_on_real_sizes(
    monkeypatch: pytest.MonkeyPatch, patch_size: int
) -> None:
    monkeypatch.undo()  # the tiles that serve users
    torch.manual_seed(0)
    images = torch.randint(0, 256, (500, 3, 32, 32), dtype=torch.uint8)
    y = images[:2] / 127.5 - 1 + 0.5 * torch.randn(2, 3, 32, 32)
    geometry = PatchGeometry(height=32, width=32, patch_size=patch_size)
    from patchindex.kernels import exact_scan  # noqa: PLC0415 - the front chooses by the device of y

    expected = exact_scan(images, y, 0.5, geometry)
    for pixels in (images, images.cuda()):  # streamed, and resident
        found = exact_scan(pixels, y.cuda(), 0.5, geometry)
        assert found.sum_w.is_cuda
        torch.testing.assert_close(found.mean.cpu(), expected.mean, rtol=0, atol=MEAN_ATOL)
