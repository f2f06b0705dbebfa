import gzip

import numpy as np
import pytest
from image_files import write_idx

from patchindex.datasets.named import read_idx, read_idx_images
from patchindex.errors import DatasetError


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (7, 5, 4), dtype=np.uint8)


@pytest.mark.parametrize("name", ["images.gz", "images"])
@pytest.mark.parametrize(("limit", "kept"), [(None, 7), (3, 3), (7, 7), (9, 7)])
def test_an_idx_file_gives_the_array_it_was_made_of(tmp_path, images, name, limit, kept):
    write_idx(tmp_path / name, images)
    assert np.array_equal(read_idx(tmp_path / name, num_axes=3, limit=limit), images[:kept])


def test_images_get_a_channel_axis_and_labels_are_int64(tmp_path, images):
    write_idx(tmp_path / "images.gz", images)
    write_idx(tmp_path / "labels.gz", np.arange(7))
    pixels, labels = read_idx_images(tmp_path / "images.gz", tmp_path / "labels.gz", limit=5)
    assert np.array_equal(pixels, images[:5, None])
    assert pixels.flags.writeable
    assert labels.dtype == np.int64
    assert labels.tolist() == [0, 1, 2, 3, 4]


def test_images_and_labels_that_do_not_belong_together_are_refused(tmp_path, images):
    write_idx(tmp_path / "images.gz", images)
    write_idx(tmp_path / "labels.gz", np.arange(6))
    with pytest.raises(DatasetError, match=r"holds 7 images, but .* holds 6 labels"):
        read_idx_images(tmp_path / "images.gz", tmp_path / "labels.gz", limit=5)


def test_a_gzip_file_that_was_cut_off_is_refused(tmp_path, images):
    path = tmp_path / "images.gz"
    write_idx(path, images)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DatasetError, match=r"images\.gz cannot be read: .*delete it and get it"):
        read_idx(path, num_axes=3)


def test_a_gzip_file_with_a_flipped_bit_is_refused(tmp_path, images):
    path = tmp_path / "images.gz"
    write_idx(path, images)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=r"images\.gz cannot be read"):
        read_idx(path, num_axes=3)


def test_a_file_that_is_not_gzip_is_refused(tmp_path):
    path = tmp_path / "images.gz"
    path.write_text("<html>404 not found</html>")
    with pytest.raises(DatasetError, match=r"images\.gz cannot be read: Not a gzipped file"):
        read_idx(path, num_axes=3)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="No such file"):
        read_idx(tmp_path / "images", num_axes=3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-1], "promises 140 bytes of data, but 139 bytes follow"),
        (lambda data: data + b"x", "promises 140 bytes of data, but more bytes follow"),
        (
            lambda data: data[:4] + b"\xff" * 12 + data[16:],
            r"promises \d{29} bytes of data, but 140",
        ),
        (lambda data: data[:10], "ends inside its header"),
        (lambda _: b"", "begins with nothing"),
        (
            lambda data: b"\0\0\x0d\x03" + data[4:],
            "unsigned bytes with 3 axes: it begins with 00 00",
        ),
        (lambda data: b"\0\0\x08\x01" + data[4:], "begins with 00 00 08 01"),
    ],
)
def test_content_that_contradicts_the_header_is_refused(tmp_path, images, change, message):
    write_idx(tmp_path / "plain", images)
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(change((tmp_path / "plain").read_bytes())))
    with pytest.raises(DatasetError, match=message):
        read_idx(path, num_axes=3)
