"""Exact distances of chosen patches against the reference's windows."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference.samples import PROPERTY, Case, cases
from reference.score_machines import as_unit, padded_windows

from patchindex import BorderSignature, PatchGeometry
from patchindex.kernels.torch_backend import centers_of, patch_distances


def geometry_of(case: Case) -> PatchGeometry:
    return PatchGeometry(
        height=case.height, width=case.width, patch_size=case.patch_size, boundary=case.boundary
    )


def legal_ids(case: Case, signature: BorderSignature) -> np.ndarray:
    """Ids of every legal patch, counted by hand."""
    return np.array(
        [
            (n * case.height + y) * case.width + x
            for n in range(case.num_images)
            for y in signature.rows.centers
            for x in signature.cols.centers
        ]
    )


def query_windows(case: Case, signature: BorderSignature) -> np.ndarray:
    """Windows [q, c, s, s] of a noisy state at every pixel of the signature."""
    y = case.states(1) / case.alpha_bar**0.5
    windows = padded_windows(y, case.patch_size, case.boundary)[0]
    picked = windows[:, signature.rows.pixels][:, :, signature.cols.pixels]
    return picked.reshape(case.channels, -1, *picked.shape[-2:]).swapaxes(0, 1)


@PROPERTY
@given(cases(), st.integers(0, 2**16))
def test_distances_equal_brute_force(case: Case, seed: int) -> None:
    rng, geometry = np.random.default_rng(seed), geometry_of(case)
    patches = padded_windows(as_unit(case.images()), case.patch_size, case.boundary)
    flat = np.moveaxis(patches, 1, 3).reshape(-1, *patches.shape[1:2], *patches.shape[4:])
    for signature in geometry.signatures[:9]:
        windows = query_windows(case, signature)
        ids = rng.choice(legal_ids(case, signature), (len(windows), 7))
        found = patch_distances(
            torch.from_numpy(case.images()),
            torch.from_numpy(windows.copy()),
            torch.from_numpy(ids),
            geometry,
            signature,
        )
        expected = ((flat[ids] - windows[:, None].astype(np.float64)) ** 2).sum(axis=(2, 3, 4))
        # float32 sums of at most a few hundred squares
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-5)


def test_cells_outside_the_image_do_not_count() -> None:
    case = Case(2, 1, 5, 5, 5, "zeros", 0.9, seed=3)
    geometry = geometry_of(case)
    signature = geometry.signatures[geometry.signature_at(0, 4)]
    windows = query_windows(case, signature).copy()
    assert (windows == 0).all(axis=(0, 1)).sum() == 25 - 9
    ids = torch.from_numpy(legal_ids(case, signature))[None]
    images = torch.from_numpy(case.images())
    plain = patch_distances(images, torch.from_numpy(windows), ids, geometry, signature)
    windows[windows == 0] = 100
    spoilt = patch_distances(images, torch.from_numpy(windows), ids, geometry, signature)
    assert spoilt.equal(plain)


@pytest.mark.parametrize("boundary", ["zeros", "circular", "circular_interior"])
def test_a_patch_has_no_distance_to_itself(boundary: str) -> None:
    case = Case(3, 3, 6, 7, 3, boundary, 0.9, seed=4)
    geometry = geometry_of(case)
    patches = padded_windows(as_unit(case.images()), 3, boundary)
    for signature in geometry.signatures:
        row, col = signature.rows.centers[0], signature.cols.centers[-1]
        windows = torch.from_numpy(patches[:, :, row, col].astype(np.float32))
        ids = torch.tensor([[(n * 6 + row) * 7 + col] for n in range(3)])
        found = patch_distances(torch.from_numpy(case.images()), windows, ids, geometry, signature)
        assert found.shape == (3, 1)
        assert (found <= 1e-9).all()


def test_close_patches_keep_their_distance_in_float32() -> None:
    # the expanded form |a|^2 - 2ab + |b|^2 would lose this difference among squares of about 500
    images = torch.full((1, 3, 17, 17), 255, dtype=torch.uint8)
    geometry = PatchGeometry(height=17, width=17, patch_size=17)
    signature = geometry.signatures[geometry.signature_at(8, 8)]
    windows = torch.ones(1, 3, 17, 17)
    windows[0, 0, 8, 8] += 1e-3
    found = patch_distances(images, windows, torch.tensor([[8 * 17 + 8]]), geometry, signature)
    assert float(found) == pytest.approx(1e-6, rel=1e-3)


@PROPERTY
@given(cases())
def test_shared_patches_have_the_distances_of_single_ones(case: Case) -> None:
    geometry, images = geometry_of(case), torch.from_numpy(case.images())
    for signature in geometry.signatures[:4]:
        windows = torch.from_numpy(query_windows(case, signature).copy())
        ids = torch.from_numpy(legal_ids(case, signature)[:20])
        each = patch_distances(images, windows, ids.expand(len(windows), -1), geometry, signature)
        shared = patch_distances(images, windows, ids, geometry, signature)
        torch.testing.assert_close(shared, each, rtol=1e-5, atol=1e-5)


def test_centers_are_the_pixels_that_the_ids_count() -> None:
    case = Case(3, 3, 4, 5, 1, "zeros", 0.5, seed=1)
    ids = torch.arange(3 * 4 * 5).reshape(6, 10)
    expected = np.moveaxis(as_unit(case.images()), 1, 3).reshape(6, 10, 3)
    found = centers_of(torch.from_numpy(case.images()), ids)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_no_patch_is_infinitely_far_away() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 1, 5, 5), dtype=np.uint8)
    geometry = PatchGeometry(height=5, width=5, patch_size=3)
    number = geometry.signature_at(2, 2)
    windows = torch.zeros(2, 1, 3, 3)
    ids = torch.tensor([[-1, 6], [25 + 18, -1]])
    dist_sq = patch_distances(
        torch.from_numpy(images), windows, ids, geometry, geometry.signatures[number]
    )
    assert dist_sq.isinf().tolist() == [[True, False], [False, True]]
