"""The scan for shares: every back end divides known masses among images and patches alike."""

import numpy as np
import pytest
import torch
from reference.samples import Case
from reference.score_machines import as_unit, local_dictionary

from patchindex import PatchGeometry
from patchindex.errors import KernelInputError
from patchindex.kernels import backend, torch_backend
from patchindex.kernels.shares import ScannedShares

native = pytest.mark.skipif(backend.BACKEND != "native", reason="needs the C++ kernels")
CASES = [
    Case(21, 2, 7, 6, size, boundary, 0.5, seed=size)
    for boundary in ("zeros", "circular", "circular_interior")
    for size in (1, 3, 5)
] + [Case(3, 1, 12, 20, 9, "zeros", 0.02, seed=1), Case(33, 3, 9, 9, 7, "circular", 0.05, seed=2)]
LEAST = 0.01


def geometry_of(case: Case, *, equivariant: bool = True) -> PatchGeometry:
    return PatchGeometry(
        height=case.height, width=case.width, patch_size=case.patch_size,
        boundary=case.boundary, equivariant=equivariant,
    )  # fmt: skip


def true_masses(case: Case, y: np.ndarray, machine: str) -> tuple[np.ndarray, np.ndarray]:
    """Log mass of each pixel [h, w], and the share of each image added over the pixels [n]."""
    sigma_sq = (1 - case.alpha_bar) / case.alpha_bar
    log_mass, shares = np.zeros((case.height, case.width)), np.zeros(case.num_images)
    for pixel in np.ndindex(case.height, case.width):
        dist_sq, _ = local_dictionary(machine, case.boundary)(
            y, as_unit(case.images()), pixel, case.patch_size
        )
        log_weights = -dist_sq / (2 * sigma_sq)
        log_mass[pixel] = np.logaddexp.reduce(log_weights)
        share = np.exp(log_weights - log_mass[pixel])
        shares += share.reshape(case.num_images, -1).sum(axis=1)
    return log_mass, shares


def scanned(case: Case, module, log_mass: torch.Tensor, **options: bool) -> ScannedShares:
    y = torch.from_numpy(case.states()) / case.alpha_bar**0.5
    sigma = ((1 - case.alpha_bar) / case.alpha_bar) ** 0.5
    return module.scan_shares(
        torch.from_numpy(case.images()), y, sigma, geometry_of(case, **options), log_mass,
        least_share=LEAST,
    )  # fmt: skip


def listed(found: ScannedShares) -> dict[tuple[int, int], float]:
    keys = zip(found.places.tolist(), found.ids.tolist(), strict=True)
    return dict(zip(keys, found.shares.tolist(), strict=True))


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize(
    "isa", [pytest.param("", marks=native), pytest.param("portable", marks=native), None]
)
def test_images_share_the_masses(case: Case, isa: str | None, monkeypatch) -> None:
    module = torch_backend
    if isa is not None:
        from patchindex.kernels import native_backend as module  # noqa: PLC0415 - may not be built

        monkeypatch.setenv("PATCHINDEX_ISA", isa)
    y = case.states().astype(np.float64) / case.alpha_bar**0.5
    machines = {"ELS": True} | ({} if case.boundary == "circular_interior" else {"LS": False})
    for machine, equivariant in machines.items():
        true = [true_masses(case, state, machine) for state in y]
        log_mass = torch.from_numpy(np.stack([mass for mass, _ in true]))
        found = scanned(case, module, log_mass, equivariant=equivariant)
        for images, (_, shares) in zip(found.images, true, strict=True):
            np.testing.assert_allclose(images, shares, rtol=1e-3, atol=1e-5)
        assert len(listed(found)) == len(found.ids)  # none twice
        assert (found.shares >= LEAST).all()


@native
@pytest.mark.parametrize("case", CASES, ids=str)
def test_back_ends_list_the_same_patches(case: Case) -> None:
    from patchindex.kernels import native_backend  # noqa: PLC0415 - may not be built

    y = case.states().astype(np.float64) / case.alpha_bar**0.5
    log_mass = torch.from_numpy(np.stack([true_masses(case, state, "ELS")[0] for state in y]))
    log_mass[0, 0, 0] = torch.inf  # takes no part
    ours, theirs = (scanned(case, module, log_mass) for module in (native_backend, torch_backend))
    torch.testing.assert_close(ours.images, theirs.images, rtol=1e-3, atol=1e-6)
    a, b = listed(ours), listed(theirs)
    assert not any(place == 0 for place, _ in a | b)
    for key in a.keys() | b.keys():
        assert a.get(key, LEAST) == pytest.approx(b.get(key, LEAST), rel=2e-3)


@native
def test_threads_change_no_bit() -> None:
    from patchindex.kernels import native_backend  # noqa: PLC0415 - may not be built

    case = Case(300, 1, 9, 8, 3, "zeros", 0.3, seed=4)
    y = torch.from_numpy(case.states(9)) / case.alpha_bar**0.5
    masses = torch.zeros(9, 9, 8, dtype=torch.float64)
    one, three = (
        native_backend.scan_shares(
            torch.from_numpy(case.images()), y, 0.6, geometry_of(case), masses,
            least_share=1e-3, threads=threads,
        )
        for threads in (1, 3)
    )  # fmt: skip
    for name in ("images", "places", "ids", "shares"):
        assert torch.equal(getattr(one, name), getattr(three, name)), name


@pytest.mark.parametrize("module", [pytest.param("native", marks=native), "torch"])
def test_what_is_no_mass_is_refused(module: str) -> None:
    kernels = torch_backend
    if module == "native":
        from patchindex.kernels import native_backend as kernels  # noqa: PLC0415 - may not be built
    case = CASES[0]
    for bad in (torch.nan, -torch.inf):
        with pytest.raises(KernelInputError, match=r"no masses\. Give finite ones, or infinity"):
            scanned(case, kernels, torch.full((2, 7, 6), bad).double())


@native
def test_masses_of_other_pixels_are_refused() -> None:
    from patchindex.kernels import _native  # noqa: PLC0415 - may not be built

    case = CASES[0]
    with pytest.raises(
        KernelInputError, match=r"log_mass is .* but y is .*Give one for each pixel"
    ):
        _native.scan_shares(
            case.images(), case.states(), 1.0, np.zeros((2, 6, 6)), least_share=0.1, patch_size=3,
            boundary="zeros", equivariant=True, threads=1,
        )  # fmt: skip
