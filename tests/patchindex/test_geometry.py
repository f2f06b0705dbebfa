"""Border signatures, legal centers and patch ids against the reference's window-by-window rule."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.samples import PROPERTY, Case, cases
from reference.score_machines import legal_centers

from patchindex.errors import GeometryError
from patchindex.geometry import PatchGeometry, check_boundary, id_dtype, locate, patch_ids


def geometry_of(case: Case, *, equivariant: bool = True) -> PatchGeometry:
    return PatchGeometry(
        height=case.height,
        width=case.width,
        patch_size=case.patch_size,
        boundary=case.boundary,
        equivariant=equivariant,
    )


def pixels_of(case: Case) -> list[tuple[int, int]]:
    return [(y, x) for y in range(case.height) for x in range(case.width)]


@PROPERTY
@given(cases(max_side=8), st.booleans())
def test_signatures_tile_the_image(case: Case, equivariant: bool) -> None:
    covered = np.zeros((case.height, case.width), dtype=int)
    signatures = geometry_of(case, equivariant=equivariant).signatures
    for signature in signatures:
        covered[np.ix_(signature.rows.pixels, signature.cols.pixels)] += 1
    assert (covered == 1).all()
    assert sum(signature.num_pixels for signature in signatures) == covered.size


@PROPERTY
@given(cases(max_side=8))
def test_centers_are_the_windows_that_leave_the_image_in_the_same_cells(case: Case) -> None:
    geometry = geometry_of(case)
    size = (case.height, case.width)
    for y, x in pixels_of(case):
        signature = geometry.signatures[geometry.signature_at(y, x)]
        legal = np.zeros(size, dtype=bool)
        legal[np.ix_(signature.rows.centers, signature.cols.centers)] = True
        expected = legal_centers("ELS", case.boundary, (y, x), case.patch_size, size)
        np.testing.assert_array_equal(legal, expected)
        assert signature.num_centers == geometry.centers_per_pixel[y, x] == expected.sum()


@PROPERTY
@given(cases(max_side=8))
def test_without_equivariance_the_only_center_is_the_pixel_itself(case: Case) -> None:
    geometry = geometry_of(case, equivariant=False)
    assert len(geometry.signatures) == case.height * case.width
    for y, x in pixels_of(case):
        signature = geometry.signatures[geometry.signature_at(y, x)]
        assert list(signature.rows.centers) == list(signature.rows.pixels) == [y]
        assert list(signature.cols.centers) == list(signature.cols.pixels) == [x]


@PROPERTY
@given(cases(boundaries=("zeros",), max_side=8), st.booleans())
def test_offsets_of_zero_boundaries_are_all_the_cells_inside_the_image(
    case: Case, equivariant: bool
) -> None:
    radius = case.patch_size // 2
    for signature in geometry_of(case, equivariant=equivariant).signatures:
        for axis, size in ((signature.rows, case.height), (signature.cols, case.width)):
            for center in {*axis.pixels, *axis.centers}:
                inside = [o for o in range(-radius, radius + 1) if 0 <= center + o < size]
                assert list(axis.offsets) == inside


@PROPERTY
@given(cases(boundaries=("circular", "circular_interior")), st.booleans())
def test_offsets_of_wrapping_boundaries_are_the_whole_window(case: Case, equivariant: bool) -> None:
    for signature in geometry_of(case, equivariant=equivariant).signatures:
        assert len(signature.rows.offsets) == len(signature.cols.offsets) == case.patch_size


# paper.md section 1.4: pixels of a 32 x 32 image, measured on the authors' implementation
CENSUS = {
    3: (900, 120, 4), 5: (784, 224, 16), 7: (676, 312, 36), 9: (576, 384, 64),
    11: (484, 440, 100), 13: (400, 480, 144), 15: (324, 504, 196), 17: (256, 512, 256),
    19: (196, 504, 324), 25: (64, 384, 576), 27: (36, 312, 676),
}  # fmt: skip


@pytest.mark.parametrize("patch_size", CENSUS)
def test_pixel_census_of_the_paper(patch_size: int) -> None:
    geometry = PatchGeometry(height=32, width=32, patch_size=patch_size)
    radius, interior = patch_size // 2, 32 - 2 * (patch_size // 2)
    counts = {(interior, interior): 0, (interior, 1): 0, (1, 1): 0}
    for signature in geometry.signatures:
        sides = (len(signature.rows.centers), len(signature.cols.centers))
        counts[max(sides), min(sides)] += signature.num_pixels
    assert tuple(counts.values()) == CENSUS[patch_size]
    assert len(geometry.signatures) == (2 * radius + 1) ** 2  # 1 + 4 r edges + 4 r^2 corners


def test_a_window_as_large_as_the_image_has_corners_only() -> None:
    for patch_size in (33, 47, 63):
        geometry = PatchGeometry(height=32, width=32, patch_size=patch_size)
        assert all(signature.num_centers == 1 for signature in geometry.signatures)
        assert len(geometry.signatures) == 32 * 32


@PROPERTY
@given(cases(max_side=8))
def test_signature_at_finds_the_signature_that_holds_the_pixel(case: Case) -> None:
    geometry = geometry_of(case)
    for y, x in pixels_of(case):
        signature = geometry.signatures[geometry.signature_at(y, x)]
        assert y in signature.rows.pixels
        assert x in signature.cols.pixels


@pytest.mark.parametrize("pixel", [(-1, 0), (0, -1), (4, 0), (0, 6)])
def test_signature_at_refuses_pixels_outside_the_image(pixel: tuple[int, int]) -> None:
    geometry = PatchGeometry(height=4, width=6, patch_size=3)
    with pytest.raises(GeometryError, match=r"lies outside the image.*y in 0\.\.3 and x in 0\.\.5"):
        geometry.signature_at(*pixel)


@pytest.mark.parametrize("patch_size", [4, 0, -3, 2])
def test_even_and_non_positive_scales_are_refused(patch_size: int) -> None:
    with pytest.raises(
        GeometryError, match=rf"scale {patch_size} is not a patch size.*odd positive"
    ):
        PatchGeometry(height=8, width=8, patch_size=patch_size)


@pytest.mark.parametrize(
    ("boundary", "largest"), [("zeros", 15), ("circular", 15), ("circular_interior", 6)]
)
def test_too_large_scales_are_refused_and_the_largest_is_named(boundary: str, largest: int) -> None:
    odd = largest - (largest + 1) % 2
    PatchGeometry(height=6, width=8, patch_size=odd, boundary=boundary)
    with pytest.raises(GeometryError, match=rf"too large for 6x8 images. Give at most {largest}"):
        PatchGeometry(height=6, width=8, patch_size=odd + 2, boundary=boundary)


def test_an_unknown_boundary_is_refused_and_the_known_ones_are_named() -> None:
    # not PatchGeometry(boundary="mirror"): under pytest its type check would come first
    with pytest.raises(GeometryError, match=r"boundary is 'mirror'.*zeros, circular, circular_"):
        check_boundary("mirror")


@PROPERTY
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5))
def test_patch_ids_count_pixels_and_locate_inverts_them(height: int, width: int, num: int) -> None:
    images, rows, cols = np.meshgrid(
        np.arange(num), np.arange(height), np.arange(width), indexing="ij"
    )
    ids = patch_ids(images, rows, cols, height, width)
    np.testing.assert_array_equal(ids.ravel(), np.arange(num * height * width))
    for dtype in (np.int64, np.uint32, np.uint64):
        for found, expected in zip(
            locate(ids.astype(dtype), height, width), (images, rows, cols), strict=True
        ):
            np.testing.assert_array_equal(found, expected)


def test_ids_past_32_bits_survive_the_round_trip() -> None:
    images, rows, cols = np.array([200_000]), np.array([177]), np.array([3])
    ids = patch_ids(images, rows, cols, 178, 178)
    assert ids.max() > 2**32
    assert [int(part[0]) for part in locate(ids.astype(np.uint64), 178, 178)] == [200_000, 177, 3]


def test_id_dtype_is_the_smallest_that_holds_every_patch() -> None:
    assert id_dtype(2**32 // 1024, 32, 32) == np.uint32
    assert id_dtype(2**32 // 1024 + 1, 32, 32) == np.uint64
