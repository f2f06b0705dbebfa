"""What notebooks show of results: a line, small pictures, and names that end no element."""

import io
import re
from base64 import b64decode
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from patchindex import ImageSet, IndexConfig, PatchIndex, build_index
from patchindex.images import to_uint8
from sampler import ELSMachine, SampleResult, sample
from sampler.attribution import attribution
from sampler.run import SamplerConfig
from sampler.studies.compare import CompareConfig, compare
from sampler.trajectory import sample_steps

EVIL = "<script>alert('x')</script>"
NOISE = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def images() -> ImageSet:
    found = ImageSet.load("sample", resolution=8, limit=30)
    return replace(found, name=EVIL, names=tuple(f"{EVIL}{i}.png" for i in range(30)))


@pytest.fixture(scope="module")
def index(images: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> PatchIndex:
    return build_index(images, IndexConfig(scales=(3,)), tmp_path_factory.mktemp("i") / "a.zarr")


def pictures_of(html: str) -> list[np.ndarray]:
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return [np.asarray(Image.open(io.BytesIO(b64decode(each)))) for each in found]


def check(result: object, lines: str, num_pictures: int) -> list[np.ndarray]:
    """The pictures of a result whose texts are short and escaped."""
    html = result._repr_html_()
    assert re.fullmatch(lines, repr(result)), repr(result)
    assert len(repr(result)) < 200
    assert "<script" not in html
    assert len(html) < 200_000
    found = pictures_of(html)
    assert len(found) == num_pictures
    return found


def test_an_image_set_shows_images_from_all_over_it(images: ImageSet) -> None:
    [picture] = check(images, r"ImageSet\(.*: 30 images of 1 x 8 x 8, 10 classes\)", 1)
    for tile in (images.pixels[0, 0], images.pixels[-1, 0]):
        big = tile.repeat(8, 0).repeat(8, 1)
        rows = [picture[top : top + 64] for top in range(16, picture.shape[0] - 63, 80)]
        assert any(
            np.array_equal(row[:, left : left + 64], big)
            for row in rows
            for left in range(16, picture.shape[1] - 63, 80)
        )


def test_samples_show_themselves_as_a_png_too(images: ImageSet) -> None:
    result = sample(ELSMachine(images), NOISE, scales=[3], steps=2)
    [picture] = check(result, r"SampleResult\(3 images of 1 x 8 x 8, 2 steps in \d+\.\d s\)", 1)
    png = np.asarray(Image.open(io.BytesIO(result._repr_png_())))
    assert np.array_equal(png, picture)
    assert np.array_equal(picture[16:80:8, 16:80:8], to_uint8(result.images)[0, 0])
    plain = SampleResult(images=NOISE, steps=())
    check(plain, r"SampleResult\(3 images of 1 x 8 x 8\)", 1)


def test_a_posterior_shows_maps_with_their_ranges(images: ImageSet) -> None:
    posterior = ELSMachine(images).posterior(NOISE, 0.5, 3)
    check(
        posterior, r"Posterior\(3 states of 1 x 8 x 8: effective sample size [\d.]+, head .*\)", 4
    )
    assert "standard error: 0 everywhere" in posterior._repr_html_()
    unknown = replace(posterior, standard_error=posterior.standard_error * torch.nan)
    check(unknown, r"Posterior\(.*standard error nan\)", 4)


def test_a_transition_is_a_line(images: ImageSet) -> None:
    done = next(sample_steps(ELSMachine(images), NOISE, scales=[3], steps=2))
    assert repr(done) == "Transition(t=1, sigma=80.2, 3 states)"


def test_an_attribution_shows_the_picture_and_the_heaviest_images(index: PatchIndex) -> None:
    found = attribution(index, index.images.tensor[:2], sigmas=[0.5, 0.1], draws=1)
    first = check(found[0], r"PictureAttribution\(image \d+ \(.*\) [\d.]+%; .*% unattributed\)", 6)
    assert np.array_equal(first[0][16:80:8, 16:80:8], index.images.pixels[0, 0])
    check(found, r"PictureAttributions\(2 held against .* at 2 noise levels, \d+ s\)", 12)
    assert re.fullmatch(r"LevelAttribution\(sigma=0\.5, .*\)", repr(found[0].levels[0]))


def test_a_comparison_shows_its_table_and_rows_of_images(images: ImageSet) -> None:
    config = CompareConfig(sampling=SamplerConfig(steps=2, scales="3"), network_steps=(2,))
    found = compare(lambda y, sigma: y / (1 + sigma**2), images, NOISE, config)
    check(found, r"Comparison\(.*: 3 samples\)", 1 + len(found.predicted))
    assert "<pre>" in found._repr_html_()
