"""Pictures to look at: tiles that are large enough, captions that lie beside and not upon them."""

import numpy as np
import pytest
from PIL import Image

from patchindex.png import captioned, image_grid, png_bytes, save_png


def images(num: int, channels: int, height: int, width: int) -> np.ndarray:
    levels = np.random.default_rng(num).integers(0, 255, (num, channels, height, width))
    return levels.astype(np.uint8)


@pytest.mark.parametrize(("side", "zoom"), [(32, 4), (28, 5), (64, 2), (200, 1)])
def test_a_tile_is_enlarged_by_a_whole_number_to_128_pixels_or_more(side: int, zoom: int) -> None:
    [image] = found = images(1, 3, side, side)
    grid = image_grid(found)
    gap = 2 * zoom
    assert grid.shape == (side * zoom + 2 * gap,) * 2 + (3,)
    tile = grid[gap:-gap, gap:-gap]
    assert np.array_equal(tile[::zoom, ::zoom], image.transpose(1, 2, 0))
    assert np.array_equal(tile[zoom - 1 :: zoom, zoom - 1 :: zoom], image.transpose(1, 2, 0))


def test_five_images_are_near_to_a_square_and_the_rest_is_white() -> None:
    grid = image_grid(images(5, 1, 8, 4), smallest_side=8)
    assert grid.shape == (2 * 10 + 2, 3 * 6 + 2, 1)
    assert (grid[12:, 14:] == 255).all()


def test_a_caption_lies_above_the_picture_and_leaves_it_alone() -> None:
    picture = image_grid(images(4, 3, 32, 32))
    found = captioned(picture, ["sample, 300 images: exact ELS", "20 steps, seed 0"])
    head = found[: -picture.shape[0]]
    assert np.array_equal(found[-picture.shape[0] :, : picture.shape[1]], picture)
    assert (head < 128).any()
    assert (head[:2] == 255).all()
    assert (head[-2:] == 255).all()  # no letter touches the picture


def test_a_long_caption_is_broken_and_not_cut() -> None:
    picture = image_grid(images(1, 1, 32, 32))
    short, long = (captioned(picture, [text]) for text in ("a b", "word " * 40 + "x" * 300))
    assert long.shape[1] == short.shape[1] == 360
    assert len(long) > len(short) + 5 * 17
    assert (long[:, -4:] == 255).all()


def test_a_caption_of_letters_that_the_font_lacks_is_drawn_all_the_same() -> None:
    captioned(image_grid(images(1, 1, 8, 8)), ["图片 \U0001f600 é"])


@pytest.mark.parametrize("channels", [1, 3])
def test_files_and_bytes_hold_the_picture(tmp_path, channels: int) -> None:
    picture = images(1, channels, 5, 7)[0].transpose(1, 2, 0)
    save_png(picture, tmp_path / "one.png")
    assert (tmp_path / "one.png").read_bytes() == png_bytes(picture)
    with Image.open(tmp_path / "one.png") as image:
        assert image.mode == ("L" if channels == 1 else "RGB")
        assert np.array_equal(np.array(image).reshape(picture.shape), picture)
