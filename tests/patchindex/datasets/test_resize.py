import numpy as np
import pytest
from PIL import Image

from patchindex import ImageSet
from patchindex.datasets import resize
from patchindex.datasets.resize import allocate, parse_resolution, resize_images, stack_resized
from patchindex.errors import DatasetError


@pytest.mark.parametrize(
    ("resolution", "size"),
    [
        (32, (32, 32)), ("32", (32, 32)), (1, (1, 1)), ("48x32", (48, 32)), (" 48X32 ", (48, 32)),
        ("native", None), ("Native", None), (None, (7, 9)),
    ],
)  # fmt: skip
def test_a_resolution_is_a_side_or_height_x_width_or_native(resolution, size):
    assert parse_resolution(resolution, default=(7, 9)) == size


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "resolution", [0, -32, 3.5, True, "", "big", "0", "32x", "x32", "32x0", "1x2x3", "3 2", "٣٢"]
)
def test_any_other_resolution_is_refused(resolution):
    with pytest.raises(DatasetError, match=r"resolution is .* such as 32, HEIGHTxWIDTH"):
        parse_resolution(resolution, default=None)


# One grey level: torch rounds its fixed-point filter weights a little otherwise than PIL does.
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((28, 28), (32, 32)), ((178, 178), (32, 32)), ((32, 32), (64, 64)), ((40, 60), (48, 32)),
        ((37, 100), (90, 11)), ((5, 4), (1, 1)),
    ],
)  # fmt: skip
def test_resizing_agrees_with_pil_to_one_grey_level(rng, channels, old, new):
    pixels = rng.integers(0, 256, (3, channels, *old), dtype=np.uint8)
    resized = resize_images(pixels, new)
    assert resized.shape == (3, channels, *new)
    assert grey_levels_apart(resized, pil_resized(pixels, new)) <= 1


def test_fashion_mnist_at_32_is_what_pil_gives():
    native = ImageSet.load("sample", resolution="native", limit=200).pixels
    assert np.array_equal(ImageSet.load("sample", limit=200).pixels, pil_resized(native, (32, 32)))


def test_resizing_in_many_blocks_equals_resizing_at_once(rng, monkeypatch):
    pixels = rng.integers(0, 256, (7, 3, 9, 8), dtype=np.uint8)
    at_once = resize_images(pixels, (6, 10))
    monkeypatch.setattr(resize, "BLOCK_BYTES", 2 * 3 * 9 * 8)
    assert np.array_equal(resize_images(pixels, (6, 10)), at_once)


def test_images_of_the_right_size_are_not_copied(rng):
    pixels = rng.integers(0, 256, (2, 1, 8, 9), dtype=np.uint8)
    assert resize_images(pixels, (8, 9)) is pixels


def test_resizing_reads_read_only_and_strided_arrays_and_changes_nothing(rng):
    pixels = rng.integers(0, 256, (2, 1, 8, 16), dtype=np.uint8)[..., ::-2]
    pixels.flags.writeable = False
    before = pixels.copy()
    assert np.array_equal(resize_images(pixels, (5, 5)), resize_images(before, (5, 5)))
    assert np.array_equal(pixels, before)


@pytest.mark.parametrize("block_bytes", [1, 3 * 8 * 8 * 2, 2**25])
def test_images_of_several_sizes_are_stacked_in_their_order(rng, monkeypatch, block_bytes):
    monkeypatch.setattr(resize, "BLOCK_BYTES", block_bytes)
    sizes = [(8, 8), (8, 8), (8, 8), (4, 6), (6, 4), (8, 8)]
    images = [rng.integers(0, 256, (3, *size), dtype=np.uint8) for size in sizes]
    stacked = stack_resized(range(6), lambda i: images[i], shape=(3, 8, 8))
    expected = np.concatenate([resize_images(image[None], (8, 8)) for image in images])
    assert np.array_equal(stacked, expected)


def test_too_little_memory_is_a_user_error():
    with pytest.raises(DatasetError, match=r"GiB of memory, which is not there\. Give a smaller"):
        allocate((2**20, 3, 2**20, 2**20))


def pil_resized(pixels, size):
    modes = {1: "L", 3: "RGB"}
    resized = [
        np.asarray(
            Image.fromarray(image.transpose(1, 2, 0).squeeze())
            .convert(modes[len(image)])
            .resize(size[::-1], Image.Resampling.BILINEAR)
        )
        for image in pixels
    ]
    return np.stack(resized).reshape(len(pixels), *size, -1).transpose(0, 3, 1, 2)


def grey_levels_apart(a, b):
    return np.abs(a.astype(int) - b.astype(int)).max()
