"""Regions and corners have every pixel once, and each region is a smaller image of its own."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from reference.brute_search import BruteSearch
from reference.samples import PROPERTY, Case, cases, random_images
from reference.score_machines import legal_centers

from patchindex import ImageSet, PatchGeometry
from patchindex.kernels import exact_scan
from sampler.estimator.query import Query
from sampler.estimator.regions import is_corner, sampled_regions

THIN_AND_ODD = [
    ("zeros", 9, 7, 3),
    ("zeros", 7, 10, 5),
    ("zeros", 6, 6, 1),  # no border at all
    ("zeros", 4, 12, 3),
    ("zeros", 3, 9, 5),  # as high as a window less a half
    ("zeros", 5, 30, 5),  # one row of interior
    ("zeros", 4, 30, 5),  # none
    ("zeros", 1, 8, 3),
    ("zeros", 5, 5, 9),  # windows larger than the image
    ("circular", 6, 9, 3),
    ("circular", 5, 4, 7),
    ("circular_interior", 6, 9, 5),
    ("circular_interior", 5, 8, 5),  # one center in each column
]


def geometry_of(boundary: str, height: int, width: int, patch_size: int) -> PatchGeometry:
    return PatchGeometry(height=height, width=width, patch_size=patch_size, boundary=boundary)


def query_of(geometry: PatchGeometry, num_images: int = 5) -> Query:
    rng = np.random.default_rng(0)
    shape = (geometry.height, geometry.width)
    return Query(
        index=BruteSearch(ImageSet.from_array(random_images(rng, num_images, 1, *shape))),
        y=torch.from_numpy(rng.standard_normal((2, 1, *shape), dtype=np.float32)),
        sigma=1.5,
        geometry=geometry,
        label=None,
    )


def assert_each_pixel_once(geometry: PatchGeometry) -> None:
    times = is_corner(geometry).int()
    for region in sampled_regions(geometry):
        for y, x in product(region.pixel_rows, region.pixel_cols):
            times[y, x] += 1
    assert (times == 1).all()


@pytest.mark.parametrize("shape", THIN_AND_ODD)
def test_regions_and_corners_have_every_pixel_once(shape) -> None:
    assert_each_pixel_once(geometry_of(*shape))


@PROPERTY
@given(case=cases(max_side=9))
def test_so_they_have_at_any_size(case: Case) -> None:
    assert_each_pixel_once(geometry_of(case.boundary, case.height, case.width, case.patch_size))


@pytest.mark.parametrize("shape", THIN_AND_ODD)
def test_pixels_of_a_region_have_as_many_centers_and_none_is_farther(shape) -> None:
    geometry = geometry_of(*shape)
    for region in sampled_regions(geometry):
        reached = set()
        for y, x in product(region.pixel_rows, region.pixel_cols):
            legal = legal_centers("ELS", shape[0], (y, x), shape[3], shape[1:3])
            assert legal.sum() == region.num_centers > 1
            reached |= {(abs(row - y), abs(col - x)) for row, col in np.argwhere(legal)}
        assert max(dy for dy, _ in reached) <= region.farthest[0]
        assert max(dx for _, dx in reached) <= region.farthest[1]
        if shape[0] == "zeros":
            assert region.farthest in reached


@pytest.mark.parametrize("shape", THIN_AND_ODD)
def test_a_scan_of_what_a_region_sees_is_that_of_the_whole_image(shape) -> None:
    query = query_of(geometry_of(*shape))
    whole = query.exact_record()
    for region in sampled_regions(query.geometry):
        pixels, y = region.seen_of(query.pixels), region.seen_of(query.y)
        part = exact_scan(pixels, y, query.sigma, region.geometry).map(region.own)
        rows, cols = torch.tensor(region.pixel_rows)[:, None], torch.tensor(region.pixel_cols)
        expected = whole.map(lambda sums, at=(slice(None), rows, cols): sums[at])
        # float32 distances
        torch.testing.assert_close(part.mean, expected.mean, rtol=0, atol=1e-4)
        torch.testing.assert_close(
            part.log_max + part.sum_w.log(), expected.log_max + expected.sum_w.log(), rtol=0,
            atol=1e-3,
        )  # fmt: skip
        assert torch.equal(part.num_scored, expected.num_scored)


@pytest.mark.parametrize("shape", THIN_AND_ODD)
def test_places_and_cuts_name_the_same_pixels(shape) -> None:
    query = query_of(geometry_of(*shape))
    height, width = query.y.shape[2:]
    field = torch.arange(2 * height * width).reshape(2, height, width)
    for region in sampled_regions(query.geometry):
        own = region.own_of(field)
        assert torch.equal(region.places(query), own)
        assert torch.equal(region.own(region.seen_of(field[:, None])[:, 0]), own)
        stacked = torch.stack([field, -field])[..., region.rows, region.cols]
        assert torch.equal(region.own(stacked, leading=2), torch.stack([own, -own]))
        cuts = [region.cut(own, query.geometry.signatures[n]) for n in region.signatures]
        for number, part in zip(region.signatures, cuts, strict=True):
            assert torch.equal(part, query.places(number))
        assert sorted(torch.cat([part.flatten() for part in cuts])) == sorted(own.flatten())
