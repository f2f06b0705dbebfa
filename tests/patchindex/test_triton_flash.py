"""The scan on tensor cores against brute force, in Triton's interpreter where there is no GPU."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from reference.samples import Case, random_images
from reference.score_machines import posterior, posterior_at

from patchindex import ImageSet, PatchGeometry, PosteriorRecord

triton_flash = pytest.importorskip("patchindex.kernels.triton_flash")
from patchindex.kernels import triton_scan  # noqa: E402 - Triton may be absent
from patchindex.kernels.tiles import ScanTile, num_rounds, tile_tops  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
GPU = [pytest.mark.gpu, pytest.mark.skipif(DEVICE == "cpu", reason="needs a CUDA device")]
# float32 sums, as of the kernel without tensor cores
LOG_MASS_ATOL, RTOL, MEAN_ATOL = 2e-3, 1e-4, 2e-5
CASES = [
    Case(2, 1, 5, 6, 3, "zeros", 0.5, seed=1),
    Case(2, 3, 6, 5, 3, "zeros", 0.9, seed=2),
    Case(1, 1, 9, 10, 9, "zeros", 0.3, seed=3),
    Case(1, 3, 10, 9, 9, "zeros", 0.1, seed=4),
    Case(2, 1, 5, 4, 3, "circular", 0.5, seed=5),
    Case(2, 3, 4, 5, 9, "circular", 0.1, seed=6),
    Case(2, 3, 5, 6, 3, "circular_interior", 0.8, seed=7),
    Case(3, 1, 9, 10, 9, "circular_interior", 0.1, seed=8),
    Case(2, 5, 4, 5, 1, "zeros", 0.5, seed=9),  # two vectors a pixel, no border
    Case(2, 2, 4, 5, 3, "zeros", 0.5, seed=11),  # vectors begin at every second number
    Case(1, 6, 5, 4, 3, "circular", 0.3, seed=12),  # and a center lies in two of them
    Case(2, 1, 5, 6, 5, "circular", 0.3, seed=10),  # a row of the window is two vectors
]


@pytest.fixture(autouse=True)
def _tensor_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU that has them, with small tiles at the borders for the interpreter."""
    monkeypatch.setattr(triton_flash, "has_tensor_cores", lambda _: True)
    monkeypatch.setattr(triton_scan, "scan_tile", lambda *_: ScanTile(rows=2, moves=2))


def geometry_of(case: Case) -> PatchGeometry:
    return PatchGeometry(
        height=case.height, width=case.width, patch_size=case.patch_size, boundary=case.boundary
    )


def sigma_of(case: Case) -> float:
    return ((1 - case.alpha_bar) / case.alpha_bar) ** 0.5


def state_of(case: Case, states: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(states).to(DEVICE) / case.alpha_bar**0.5


def scanned(case: Case, num_states: int = 1, **options: str) -> PosteriorRecord:
    images, y = torch.from_numpy(case.images()), state_of(case, case.states(num_states))
    assert triton_flash.serves(geometry_of(case), case.channels, sigma_of(case), "auto")
    return triton_scan.exact_scan(images, y, sigma_of(case), geometry_of(case), **options)


def merged(sums: torch.Tensor) -> PosteriorRecord:
    """The record of what programs summed, for the pixels that are served."""
    return triton_scan.as_record(triton_scan._merged(sums), torch.ones((), dtype=torch.int64))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_equals_brute_force_over_legal_patches(case: Case) -> None:
    record = scanned(case).map(lambda field: field[0].cpu())
    expected = posterior(
        case.states(1)[0], case.alpha_bar, case.images(), case.patch_size, boundary=case.boundary
    )
    log_mass = record.log_max + record.sum_w.log()
    np.testing.assert_allclose(log_mass, expected.log_mass, atol=LOG_MASS_ATOL, rtol=1e-5)
    mean = np.moveaxis(record.mean.numpy(), -1, 0)
    np.testing.assert_allclose(mean, expected.mean, atol=MEAN_ATOL)
    sample_size = record.sum_w.square() / record.sum_w2
    np.testing.assert_allclose(sample_size, expected.effective_sample_size, rtol=RTOL)
    per_image = torch.from_numpy(geometry_of(case).centers_per_pixel)
    assert record.num_scored.equal(case.num_images * per_image)


@pytest.mark.parametrize(
    "case", [Case(2, 1, 5, 4, 3, "zeros", 0.5, seed=1), Case(1, 1, 6, 6, 5, "zeros", 0.3, seed=1)],
    ids=str,
)  # fmt: skip
def test_borders_are_those_of_the_other_kernel(case: Case) -> None:
    both, other = scanned(case), scanned(case, precision="float32")
    edges = torch.ones(case.height, case.width, dtype=torch.bool)
    r = case.patch_size // 2
    edges[r : case.height - r, r : case.width - r] = False
    for name in ("mean", "sum_w", "sum_w2", "log_max"):
        found, expected = (getattr(record, name)[:, edges] for record in (both, other))
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_float32_keeps_to_the_other_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    served = []
    flash_sums = triton_flash.flash_sums
    monkeypatch.setattr(
        triton_flash, "flash_sums", lambda *args: served.append(args) or flash_sums(*args)
    )
    case = Case(1, 1, 3, 3, 3, "circular", 0.5, seed=1)
    scanned(case)
    assert len(served) == 1
    scanned(case, precision="float32")
    monkeypatch.setattr(triton_flash, "has_tensor_cores", lambda _: False)
    scanned(case)
    assert len(served) == 1


@pytest.mark.parametrize(
    "alpha_bar", [0.999, 0.99, 0.9, 0.5, 0.1, 0.01, 0.001], ids="alpha_bar={}".format
)
def test_means_are_exact_at_any_noise(alpha_bar: float) -> None:
    images = np.array(ImageSet.load("sample", resolution=16, limit=12).pixels)
    case = Case(12, 1, 16, 16, 3, "zeros", alpha_bar, seed=1)
    rng = np.random.default_rng(4)
    noise = rng.standard_normal((1, 1, 16, 16))
    xt = alpha_bar**0.5 * (images[:1] / 127.5 - 1) + (1 - alpha_bar) ** 0.5 * noise
    y = state_of(case, xt.astype(np.float32))
    sums = triton_flash.flash_sums(
        torch.from_numpy(images).to(DEVICE), y, sigma_of(case), geometry_of(case)
    )
    pixels = [(i, i + 1) for i in range(1, 14)]
    expected = posterior_at(pixels, xt[0].astype(np.float32), alpha_bar, images, 3)
    found = merged(sums).mean[0].cpu()
    at = torch.stack([found[row - 1, col - 1] for row, col in pixels], dim=1)
    np.testing.assert_allclose(at, expected.mean, atol=MEAN_ATOL)


@pytest.mark.parametrize("sigma", [0.04, 1e4])
def test_extreme_noise_gives_finite_sums(sigma: float) -> None:
    images = random_images(np.random.default_rng(11), 2, 1, 5, 5)
    y = torch.from_numpy(images[:1] / 127.5 - 1).float().to(DEVICE)
    geometry = PatchGeometry(height=5, width=5, patch_size=3)
    record = merged(
        triton_flash.flash_sums(torch.from_numpy(images).to(DEVICE), y, sigma, geometry)
    )
    assert record.log_max.isfinite().all()
    assert (record.sum_w >= 1 - 1e-3).all()
    if sigma < 1:  # the state is a training image: its own patch is the nearest
        np.testing.assert_allclose(record.mean.cpu()[..., 0], y[:, 0, 1:4, 1:4].cpu(), atol=1e-5)


def test_states_far_from_all_images_and_none_at_all_are_summed() -> None:
    case = Case(2, 1, 5, 5, 3, "circular", 0.5, seed=12)
    images = torch.from_numpy(case.images()).to(DEVICE)
    y = torch.stack([torch.full((1, 5, 5), 1e6), torch.zeros(1, 5, 5)]).to(DEVICE)
    sums = triton_flash.flash_sums(images, y, 1e4, geometry_of(case))
    assert sums.isfinite().all()
    mean = merged(sums).mean
    assert ((mean >= -1) & (mean <= 1)).all()
    centers = images.double() / 127.5 - 1
    # so much noise that all patches weigh the same
    torch.testing.assert_close(mean[1], centers.mean().expand(5, 5, 1), rtol=0, atol=1e-6)


def test_a_state_that_no_float32_can_weigh_has_the_mean_of_the_nearest_patch() -> None:
    """Log weights of 2^22 to 2^31, as large as is let through."""
    case = Case(2, 1, 5, 5, 3, "circular", 0.5, seed=12)
    images = torch.from_numpy(case.images())
    sizes = torch.logspace(5, 10, 21)
    y = sizes[:, None, None, None].expand(-1, 1, 5, 5)
    mean = triton_scan.exact_scan(images.to(DEVICE), y.to(DEVICE), 1.0, geometry_of(case)).mean
    # to a state that is all bright the brightest window is the nearest
    around = images.double()[:, 0]
    rows, cols = torch.arange(-1, 6) % 5, torch.arange(-1, 6) % 5
    sums = around[:, rows][..., cols].unfold(1, 3, 1).unfold(2, 3, 1).sum((-1, -2))
    nearest = around.flatten()[sums.argmax()] / 127.5 - 1
    torch.testing.assert_close(mean.cpu(), nearest.expand_as(mean), rtol=0, atol=1e-3)


@pytest.mark.parametrize("sigma", [1e5, 1e7, 1e18, 1e30])
def test_no_patch_is_added_however_large_the_noise(sigma: float) -> None:
    case = Case(2, 1, 5, 5, 3, "circular", 0.5, seed=12)  # of 50 patches, in tiles of 128
    y = torch.zeros(1, 1, 5, 5, device=DEVICE)
    images = torch.from_numpy(case.images()).to(DEVICE)
    record = triton_scan.exact_scan(images, y, sigma, geometry_of(case))
    torch.testing.assert_close(record.sum_w.cpu(), torch.full_like(record.sum_w.cpu(), 50))


def test_a_state_has_the_same_sums_in_any_batch() -> None:
    case = CASES[6]
    images, y = torch.from_numpy(case.images()).to(DEVICE), state_of(case, case.states(2))
    y = torch.stack([100 * y[0], y[1]])  # a state of another size beside it
    both, alone = (
        triton_flash.flash_sums(images, states, sigma_of(case), geometry_of(case))
        for states in (y, y[1:])
    )
    assert both[:, :, 1:].equal(alone)


def test_programs_and_blocks_are_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(9, 1, 6, 6, 3, "circular", 0.6, seed=8)
    whole = scanned(case, 2)
    monkeypatch.setattr(triton_flash, "KEYS_PER_PROGRAM", 128)
    images, y = torch.from_numpy(case.images()).to(DEVICE), state_of(case, case.states(2))
    sums = triton_flash.flash_sums(images, y, sigma_of(case), geometry_of(case))
    assert sums.shape[1] == 3  # of 324 patches
    monkeypatch.setattr(triton_flash, "MOST_NUMBERS", 4 * 8 * 8 * 4)  # four images to a launch
    assert triton_flash.most_images(geometry_of(case), 1, 2**20) == 4
    # for two programs of one state
    monkeypatch.setattr(triton_scan, "SUMS_BYTES", 2 * 4 * 4 * 36)
    assert triton_flash.most_images(geometry_of(case), 1, triton_scan.SUMS_BYTES) == 4
    parts = scanned(case, 2)
    for name in ("mean", "sum_w2"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), rtol=1e-6, atol=1e-6)
    assert parts.num_scored.equal(whole.num_scored)


@pytest.mark.parametrize(("side", "patch_size"), [(28, 3), (64, 15), (256, 3), (512, 9)])
def test_sums_and_windows_of_a_launch_have_room(side: int, patch_size: int) -> None:
    geometry = PatchGeometry(height=side, width=side, patch_size=patch_size)
    num_images = triton_flash.most_images(geometry, 3, 2**28)
    num_pixels = (side - patch_size + 1) ** 2
    splits = -(-num_images * num_pixels // triton_flash.KEYS_PER_PROGRAM)
    sums = torch.empty(6, splits, num_pixels, device="meta")
    assert sums.nbytes <= 2**28
    windows = torch.empty(
        2, num_pixels, patch_size, -(-3 * patch_size // 4) * 4, device="meta", dtype=torch.float16
    )
    assert triton_flash.state_bytes(geometry, 3, num_images) == sums.nbytes + windows.nbytes


@pytest.mark.parametrize(
    "change",
    [{"resident": True}, {"queries": 16, "keys": 32}, {"depth": 64}],
    ids="-".join,
)
def test_the_tile_changes_nothing(monkeypatch: pytest.MonkeyPatch, change: dict) -> None:
    case = CASES[7]
    images, y = torch.from_numpy(case.images()).to(DEVICE), state_of(case, case.states(1))
    geometry = geometry_of(case)
    tile = triton_flash.flash_tile(geometry, case.channels, torch.device(DEVICE))
    expected = merged(triton_flash.flash_sums(images, y, sigma_of(case), geometry))
    assert getattr(tile, next(iter(change))) != next(iter(change.values()))
    monkeypatch.setattr(triton_flash, "flash_tile", lambda *_: replace(tile, **change))
    found = merged(triton_flash.flash_sums(images, y, sigma_of(case), geometry))
    torch.testing.assert_close(found.mean, expected.mean, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.sum_w, expected.sum_w, rtol=1e-5, atol=0)


def test_queries_are_kept_to_22_bits() -> None:
    geometry = PatchGeometry(height=4, width=4, patch_size=3, boundary="circular")
    y = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    y[1] *= 300
    tile = triton_flash.flash_tile(geometry, 3, torch.device(DEVICE))
    parts, scale, norms = triton_flash._queries(y, geometry, tile)
    assert parts[0].abs().amax((1, 2)).tolist() == pytest.approx([2**12.5] * 2, rel=0.5)
    windows = parts.double().sum(0) / scale[:, None, None]
    # the window of the first pixel begins in the last row and column
    numbers = windows[:, 0, :36].reshape(2, 3, 12)
    around = torch.tensor([3, 0, 1])
    expected = 127.5 * y.double()[:, :, around][..., around].permute(0, 2, 3, 1).flatten(2)
    bound = expected.abs().amax((1, 2), keepdim=True) * 2**-21
    assert ((numbers[..., :9] - expected).abs() <= bound).all()
    assert (numbers[..., 9:] == 0).all()
    assert (windows[:, 16:] == 0).all()  # of no pixel
    assert (windows[:, :, 36:] == 0).all()
    assert norms[:, 0].allclose(expected.square().sum((1, 2)) / 2)


@pytest.mark.parametrize("patch_size", [1, 5, 103])
def test_norms_of_windows_are_whole_numbers_rounded_once(patch_size: int) -> None:
    geometry = PatchGeometry(height=103, width=104, patch_size=patch_size)
    pixels = torch.full((1, 4, 103, 104), 255, dtype=torch.uint8)  # beyond 2^31 for the last
    pixels[0, 0, 0, 0] = 0  # as far from 127.5
    pixels[0, 1, 50, 50] = 128
    energies = triton_flash._energies(pixels, geometry)
    half = geometry.patch_size // 2
    whole = 4 * patch_size**2 * 127.5**2
    assert float(energies[0, 0, 0]) == np.float32(whole / 2 - (half == 51) * (127.5**2 - 0.25) / 2)
    row = 50 - half
    assert float(energies[0, row, row]) == np.float32((whole - 127.5**2 + 0.25) / 2)


def test_it_serves_whole_windows_where_sums_are_exact_enough() -> None:
    geometry = PatchGeometry(height=8, width=6, patch_size=5)
    assert triton_flash.serves(geometry, 3, 0.2, "auto")
    assert not triton_flash.serves(geometry, 3, 0.2, "float32")
    # 75 cells, 500 times the noise
    assert not triton_flash.serves(geometry, 3, 0.1499, "auto")
    assert triton_flash.serves(geometry, 3, 0.1501, "auto")
    assert not triton_flash.serves(replace(geometry, equivariant=False), 3, 1.0, "auto")
    assert not triton_flash.serves(replace(geometry, patch_size=7), 3, 1.0, "auto")
    around = replace(geometry, patch_size=7, boundary="circular")
    assert triton_flash.serves(around, 3, 1.0, "auto")


@pytest.mark.parametrize(("capability", "has"), [((7, 5), False), ((8, 0), True), ((10, 0), True)])
def test_tensor_cores_that_add_in_float32_are_wanted(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], has: bool
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert triton_flash.has_tensor_cores(torch.device("cuda", 0)) is has
    assert not triton_flash.has_tensor_cores(torch.device("cpu"))


@pytest.mark.parametrize("tile", [ScanTile(8, 4), ScanTile(2, 2), ScanTile(3, 1)], ids=str)
@pytest.mark.parametrize(("height", "patch_size"), [(7, 3), (12, 9), (9, 9), (32, 17)])
def test_rows_at_the_borders_are_in_one_tile_each(
    height: int, patch_size: int, tile: ScanTile
) -> None:
    geometry = PatchGeometry(height=height, width=40, patch_size=patch_size)
    every, edges = triton_scan.scan_parts(geometry, tile, edges_only=True)
    assert every.tops == list(tile_tops(geometry, every.tile))
    rows = [top + i for top in edges.tops for i in range(edges.tile.rows)]
    r = patch_size // 2
    inside = sorted(row for row in rows if 0 <= row < height)
    assert inside == [*range(r), *range(height - r, height)]
    # none of them moves down, so that none is gone through more than once
    assert all(num_rounds(geometry, edges.tile, top) == 1 for top in edges.tops)
    assert (every.cols, edges.cols) == (range(1), range(1, 40))


@pytest.mark.parametrize("boundary", [pytest.param(b, marks=GPU) for b in ("zeros", "circular")])
@pytest.mark.parametrize("patch_size", [pytest.param(p, marks=GPU) for p in (3, 9, 17)])
@pytest.mark.parametrize("channels", [pytest.param(c, marks=GPU) for c in (1, 3)])
def test_a_gpu_agrees_with_the_processor_on_real_sizes(
    monkeypatch: pytest.MonkeyPatch, patch_size: int, boundary: str, channels: int
) -> None:
    monkeypatch.undo()  # the tiles that serve users
    from patchindex.kernels import exact_scan  # noqa: PLC0415 - the front chooses by the device

    generator = torch.Generator().manual_seed(0)
    shape = (500, channels, 32, 32)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    sigma = 2.0 if patch_size == 17 else 0.5
    y = images[:2] / 127.5 - 1 + sigma * torch.randn(2, *shape[1:], generator=generator)
    geometry = PatchGeometry(height=32, width=32, patch_size=patch_size, boundary=boundary)
    assert triton_flash.serves(geometry, channels, sigma, "auto")
    expected = exact_scan(images, y, sigma, geometry)
    for pixels in (images, images.cuda()):  # streamed, and resident
        found = exact_scan(pixels, y.cuda(), sigma, geometry)
        torch.testing.assert_close(found.mean.cpu(), expected.mean, rtol=0, atol=1e-4)
