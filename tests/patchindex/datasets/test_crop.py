"""Images of another aspect ratio than the resolution: stretched with a warning, or cut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_files import write_png

from patchindex import ImageSet
from patchindex.datasets.resize import centered_size, resize_images
from patchindex.errors import DatasetError

SIDES = st.integers(1, 5000)


@pytest.fixture
def wide(rng):
    return rng.integers(0, 256, (8, 14), dtype=np.uint8)


@given(old=st.tuples(SIDES, SIDES), new=st.tuples(SIDES, SIDES))
def test_the_centered_rectangle_is_as_large_as_fits_and_of_the_ratio_to_a_pixel(old, new):
    height, width = centered_size(old, new)
    assert 1 <= height <= old[0]
    assert 1 <= width <= old[1]
    assert height == old[0] or width == old[1]
    # half a pixel, or a whole one where less than one is needed
    exact_height, exact_width = width * new[0] / new[1], height * new[1] / new[0]
    assert min(abs(height - exact_height), abs(width - exact_width)) <= 0.5 or 1 in (height, width)


def test_a_stretched_folder_is_said_in_one_warning(tmp_path, wide, caplog):
    for name, pixels in {"a": wide, "b": wide.T.copy(), "c": wide[:, :8].copy()}.items():
        write_png(tmp_path / f"{name}.png", pixels)
    stretched = ImageSet.load(f"folder:{tmp_path}", resolution=8)
    assert np.array_equal(stretched.pixels[:1], resize_images(wide[None, None], (8, 8)))
    assert (
        f"{tmp_path}: 2 of 3 images are stretched from width / height 0.571 to 1.75 to 1; "
        "--crop center cuts them instead"
    ) in caplog.text
    assert len(warnings_of(caplog)) == 1


def test_images_of_the_same_ratio_are_not_warned_of(tmp_path, wide, caplog):
    write_png(tmp_path / "a.png", wide)
    ImageSet.load(f"folder:{tmp_path}", resolution="4x7")
    ImageSet.load(f"folder:{tmp_path}")
    assert not warnings_of(caplog)


def test_a_crop_keeps_the_center(tmp_path, wide, caplog):
    write_png(tmp_path / "a.png", wide)
    write_png(tmp_path / "b.png", wide.T.copy())
    images = ImageSet.load(f"folder:{tmp_path}", resolution=8, crop="center")
    assert images.crop == "center"
    assert np.array_equal(images.pixels[0, 0], wide[:, 3:11])
    assert np.array_equal(images.pixels[1, 0], wide[:, 3:11].T)
    halved = ImageSet.load(f"folder:{tmp_path}", resolution=4, crop="center")
    assert np.array_equal(halved.pixels, resize_images(images.pixels, (4, 4)))
    assert not warnings_of(caplog)


def test_archives_and_named_sets_are_cut_too(tmp_path, wide):
    np.savez(tmp_path / "a.npz", images=wide[None])
    images = ImageSet.load(f"npz:{tmp_path}/a.npz", resolution="8x6", crop="center")
    assert np.array_equal(images.pixels[0, 0], wide[:, 4:10])
    native = ImageSet.load("sample", resolution="native", limit=3).pixels
    cut = ImageSet.load("sample", resolution="28x14", crop="center", limit=3)
    assert np.array_equal(cut.pixels, native[..., 7:21])


def test_a_crop_changes_no_image_that_has_the_ratio(tmp_path):
    plain, cut = (ImageSet.load("sample", crop=crop, limit=5) for crop in (None, "center"))
    assert (plain.crop, cut.crop) == ("none", "center")
    assert plain.sha256 == cut.sha256
    assert cut.with_label(int(cut.labels[0])).crop == "center"


@pytest.mark.parametrize("resolution", [None, "native"])
def test_a_crop_needs_a_resolution(resolution):
    with pytest.raises(DatasetError, match=r"none was given\. Give --resolution too"):
        ImageSet.load("folder:/does/not/exist", resolution=resolution, crop="center")


def test_an_unknown_crop_is_refused():
    with pytest.raises(DatasetError, match=r"crop is 'top'\. Give none or center"):
        ImageSet.load("sample", crop="top")


def warnings_of(caplog):
    return [record for record in caplog.records if record.levelname == "WARNING"]
