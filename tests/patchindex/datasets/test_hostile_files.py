"""Damaged and crafted files: images or an error of the user's, and bounded memory."""

import io
import struct
import tracemalloc
import warnings
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from patchindex.datasets import DatasetCard
from patchindex.errors import DatasetError
from patchindex.images import ImageSet
from patchindex.paths import data_file

MOST_BYTES = 2**26  # of memory; the files hold some kilobytes
TRIES = 60


def mutated(rng, data):
    """The bytes with some flipped, cut off, doubled or overwritten with extremes."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        place = int(rng.integers(len(changed)))
        match rng.integers(5):
            case 0:
                changed[place] ^= 1 << int(rng.integers(8))
            case 1:
                del changed[place:]
            case 2:
                changed[place:place] = changed[place : place + 40]
            case 3:
                changed[place : place + 4] = b"\xff\xff\xff\x7f"
            case _:
                changed[place : place + 4] = bytes(4)
        if not changed:
            break
    return bytes(changed)


def image_corpus(rng):
    """File name and bytes of an image in each format and mode."""
    color = rng.integers(0, 256, (9, 11, 4), dtype=np.uint8)
    exif = Image.Exif()
    exif[274] = 6
    saved = [
        ("png", Image.fromarray(color), {}),
        ("png", Image.fromarray(color[..., 0].astype(np.uint16) * 200), {}),
        ("png", Image.fromarray(color[..., :3]).quantize(7), {"transparency": 3}),
        ("png", Image.fromarray(color[..., 0] > 99), {"exif": exif}),
        ("jpg", Image.fromarray(color[..., :3]), {"exif": exif}),
        ("jpg", Image.fromarray(color[..., :3]).convert("CMYK"), {}),
        ("webp", Image.fromarray(color), {"lossless": True}),
        ("bmp", Image.fromarray(color[..., :3]), {}),
        ("ppm", Image.fromarray(color[..., :3]), {}),
        ("tiff", Image.fromarray(color[..., :3]), {"compression": "tiff_deflate", "exif": exif}),
        ("tiff", Image.fromarray(color[..., :3]), {}),
        ("webp", Image.fromarray(color[..., :3]),
         {"save_all": True, "append_images": [Image.fromarray(color[::-1, :, :3])]}),
    ]  # fmt: skip
    for suffix, image, options in saved:
        stream = io.BytesIO()
        format_name = {"jpg": "JPEG", "ppm": "PPM"}.get(suffix, suffix.upper())
        image.save(stream, format_name, **options)
        yield f"a.{suffix}", stream.getvalue()


def npz_corpus(rng):
    """Bytes of archives of several layouts, compressed and not."""
    pixels = rng.integers(0, 256, (4, 3, 5, 6), dtype=np.uint8)
    for save in (np.savez, np.savez_compressed):
        for arrays in (
            {"images": pixels, "labels": np.arange(4)},
            {"x": pixels.transpose(0, 2, 3, 1), "y": np.arange(4, dtype=">u2")},
            {"images": np.asfortranarray(pixels), "layout": "nchw"},
        ):
            stream = io.BytesIO()
            save(stream, **arrays)
            yield stream.getvalue()


def loaded_or_refused(source):
    """Load; an error must be the user's, and memory bounded."""
    tracemalloc.reset_peak()
    try:
        images = ImageSet.load(source, limit=5)
        assert images.pixels.dtype == np.uint8
        assert images.sha256
    except DatasetError:
        pass  # the only one that may come out
    assert tracemalloc.get_traced_memory()[1] < MOST_BYTES


@pytest.fixture
def traced():
    tracemalloc.start(1)
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("traced", "unchecked")
@pytest.mark.parametrize("number", range(12))
def test_damaged_image_files_load_or_are_refused(tmp_path, rng, number):
    name, data = list(image_corpus(rng))[number]
    (tmp_path / name).write_bytes(data)
    assert len(ImageSet.load(f"folder:{tmp_path}")) == 1
    for _ in range(TRIES):
        (tmp_path / name).write_bytes(mutated(rng, data))
        loaded_or_refused(f"folder:{tmp_path}")


@pytest.mark.usefixtures("traced", "unchecked")
@pytest.mark.parametrize("number", range(6))
def test_damaged_archives_load_or_are_refused(tmp_path, rng, number):
    data = list(npz_corpus(rng))[number]
    (tmp_path / "a.npz").write_bytes(data)
    assert len(ImageSet.load(f"npz:{tmp_path}/a.npz")) == 4
    for _ in range(TRIES):
        (tmp_path / "a.npz").write_bytes(mutated(rng, data))
        loaded_or_refused(f"npz:{tmp_path}/a.npz")


def test_damaged_cards_are_read_or_refused(rng):
    data = data_file("datasets", "mnist.yaml").read_bytes()
    for _ in range(200):
        text = mutated(rng, data).decode("latin1")
        try:
            DatasetCard.from_yaml(text, origin="mutated")
        except DatasetError:
            continue  # the only one that may come out


def crafted_zip(path, members):
    with (
        warnings.catch_warnings(action="ignore"),  # of names that are there twice
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name, data in members:
            archive.writestr(name, data)
    return path


def npy(shape, data=b"", descr="|u1"):
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


ONE = npy((1, 1, 2, 2), bytes(4))


@pytest.mark.usefixtures("traced", "unchecked")
@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("images.npy", npy((10**12, 3, 32, 32), bytes(99)))], "promises uint8 values of shape"),
        ([("images.npy", npy((10**30,), bytes(99)))], "but 99 bytes follow"),
        ([("images.npy", npy((2**27,), bytes(2**27)))], None),  # 128 kB of file
        ([("images.npy", npy((2**24,), bytes(2**27), "<f8"))], None),
        ([("images.npy", ONE), ("labels.npy", npy((2**24,), bytes(2**27), "<i8"))],
         r"labels are int64 with shape \(16777216,\), but images are 1"),
        ([("images.npy", b"cos\nsystem\n(S'true'\ntR.")], r"images\.npy: it does not begin with"),
        ([("images", b"not an array")], r"array images: it does not begin with the header"),
        ([("images.npy", ONE), ("images.npy", ONE)], "has 2 arrays named images"),
        ([("images.npy", ONE), ("images", ONE)], "has 2 arrays named images"),
        ([("/etc/images.npy", ONE)], "has no array named images or x, only /etc/images"),
        ([("../images.npy", ONE)], "only ../images"),
        ([], "only nothing"),
        ([("images.npy", ONE), ("labels.npy", npy((1,), b"\xff" * 8, "<u8"))],
         "labels run from 18446744073709551615 to 18446744073709551615. Give numbers of classes"),
        ([("images.npy", ONE), ("labels.npy", npy((1,), b"\xff" * 8, "<i8"))],
         "labels run from -1 to -1"),
        ([("images.npy", ONE), ("labels.npy", npy((1,), b"\x01", "|b1"))], "labels are bool"),
        ([("images.npy", ONE), ("labels.npy", npy((1,), bytes(8), "<f8"))], "labels are float64"),
        ([("images.npy", ONE), ("labels.npy", npy((), bytes(8), "<i8"))], r"with shape \(\)"),
        ([("images.npy", ONE), ("labels.npy", npy((2,), bytes(16), "<i8"))], r"with shape \(2,\)"),
        ([("images.npy", ONE), ("layout.npy", npy((), b"nhwc", "|S4"))], None),
        ([("images.npy", ONE), ("layout.npy", npy((), b"nope", "|S4"))], "is 'nope', but their"),
        ([("images.npy", ONE), ("layout.npy", npy((1,), bytes(8), "<i8"))], "it holds int64"),
    ],
)  # fmt: skip
def test_crafted_archives_are_refused_in_a_line(tmp_path, members, message):
    bomb = message is None and len(members) == 1
    path = crafted_zip(tmp_path / "a.npz", members)
    del members
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    if message is None and not bomb:
        assert ImageSet.load(f"npz:{path}").pixels.shape == (1, 2, 1, 2)
        return
    with pytest.raises(DatasetError, match=message or "are (uint8|float64) with shape"):
        ImageSet.load(f"npz:{path}")
    assert tracemalloc.get_traced_memory()[1] - before < MOST_BYTES


def test_an_encrypted_archive_is_refused(tmp_path):
    path = crafted_zip(tmp_path / "a.npz", [("images.npy", ONE)])
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=r"a\.npz cannot be read: .*encrypted"):
        ImageSet.load(f"npz:{path}")


def test_labels_of_another_byte_order_are_understood(tmp_path):
    np.savez(
        tmp_path / "a.npz", images=np.zeros((3, 1, 4, 4), np.uint8), y=np.arange(3, dtype=">i4")
    )
    labels = ImageSet.load(f"npz:{tmp_path}/a.npz").labels
    assert (labels.tolist(), labels.dtype) == ([0, 1, 2], np.dtype(np.int64))


def png_of_size(width, height):
    stream = io.BytesIO()
    Image.new("L", (1, 1)).save(stream, "PNG")
    data = bytearray(stream.getvalue())
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    return bytes(data)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((30000, 30000), "could be decompression bomb"),
        ((10000, 10000), "image file is truncated|broken"),
        ((0, 5), "no pixels|not an image"),
    ],
)
def test_sizes_that_cannot_be_are_refused(tmp_path, size, message):
    (tmp_path / "a.png").write_bytes(png_of_size(*size))
    with pytest.raises(DatasetError, match=rf"cannot read the image .*a\.png: .*({message})"):
        ImageSet.load(f"folder:{tmp_path}")


def test_a_large_photograph_is_read_without_a_warning(tmp_path):
    Image.new("1", (10000, 9000)).save(tmp_path / "a.png")  # 90 million pixels
    assert ImageSet.load(f"folder:{tmp_path}", resolution="9x10").pixels.shape == (1, 1, 9, 10)


def test_impossible_paths_are_refused():
    with pytest.raises(DatasetError, match=r"nobody-of-this-name/a cannot be found: .*home"):
        ImageSet.load("folder:~nobody-of-this-name/a")
    for place in ("a" * 300, "a\0b"):
        with pytest.raises(DatasetError, match=r"the image folder .* (cannot be read|does not)"):
            ImageSet.load(f"folder:{place}")
        with pytest.raises(DatasetError, match="does not exist or is not a file"):
            ImageSet.load(f"npz:{place}")
        with pytest.raises(DatasetError, match="unknown dataset"):
            ImageSet.load(place)


def test_a_label_past_the_largest_int64_does_not_become_minus_one():
    pixels = np.zeros((2, 1, 3, 3), dtype=np.uint8)
    with pytest.raises(DatasetError, match="labels run from 0 to 9223372036854775808"):
        ImageSet.from_array(pixels, np.array([0, 2**63], dtype=np.uint64))
    assert ImageSet.from_array(pixels, np.array([0, 2**63 - 1], dtype=np.uint64)).labels[1] > 0
