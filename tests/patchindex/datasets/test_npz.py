import numpy as np
import pytest

from patchindex import ImageSet
from patchindex.datasets.npz import read_npz
from patchindex.errors import DatasetError


@pytest.fixture
def pixels(rng):
    return rng.integers(0, 256, (5, 3, 6, 4), dtype=np.uint8)


@pytest.mark.parametrize(("images", "labels"), [("images", "labels"), ("x", "y"), ("x", "labels")])
def test_both_pairs_of_names_are_understood(tmp_path, pixels, images, labels):
    np.savez(tmp_path / "a.npz", **{images: pixels, labels: np.arange(5)})
    read, numbers = read_npz(tmp_path / "a.npz")
    assert np.array_equal(read, pixels)
    assert numbers.tolist() == [0, 1, 2, 3, 4]


def test_every_layout_gives_channels_first(tmp_path, pixels):
    np.savez(tmp_path / "last.npz", images=pixels.transpose(0, 2, 3, 1))
    assert np.array_equal(read_npz(tmp_path / "last.npz")[0], pixels)
    np.savez(tmp_path / "grey.npz", images=pixels[:, 0])
    assert np.array_equal(read_npz(tmp_path / "grey.npz")[0], pixels[:, :1])
    np.savez(tmp_path / "grey_last.npz", images=pixels[:, 0, :, :, None])
    assert np.array_equal(read_npz(tmp_path / "grey_last.npz")[0], pixels[:, :1])


def test_labels_are_optional(tmp_path, pixels):
    np.savez(tmp_path / "a.npz", images=pixels)
    assert read_npz(tmp_path / "a.npz")[1] is None


def test_an_archive_loads_in_its_own_size_and_resizes_on_demand(tmp_path, pixels):
    np.savez_compressed(tmp_path / "a.npz", images=pixels, labels=[4, 3, 2, 1, 0])
    native = ImageSet.load(f"npz:{tmp_path}/a.npz", limit=3)
    assert np.array_equal(native.pixels, pixels[:3])
    assert native.labels.tolist() == [4, 3, 2]
    assert native.name == f"npz:{tmp_path}/a.npz"
    assert ImageSet.load(f"npz:{tmp_path}/a.npz", resolution="8x7").pixels.shape == (5, 3, 8, 7)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((5, 3, 6, 4), dtype=np.float32),
        np.zeros((6, 4), dtype=np.uint8),
        np.zeros((5, 2, 6, 4), dtype=np.uint8),
        np.zeros((0, 3, 6, 4), dtype=np.uint8),
    ],
)
def test_arrays_that_are_not_images_are_refused(tmp_path, array):
    np.savez(tmp_path / "a.npz", images=array)
    with pytest.raises(DatasetError, match=r"with shape .* Give uint8 values 0\.\.255 with shape"):
        read_npz(tmp_path / "a.npz")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("labels", [np.arange(4), np.linspace(0, 1, 5)])
def test_labels_that_do_not_match_are_refused_even_under_a_limit(tmp_path, pixels, labels):
    np.savez(tmp_path / "a.npz", images=pixels, labels=labels)
    with pytest.raises(DatasetError, match="Give one whole number per image"):
        read_npz(tmp_path / "a.npz", limit=2)


def test_an_archive_without_images_says_what_it_holds(tmp_path):
    np.savez(tmp_path / "a.npz", pictures=np.zeros(3), labels=np.zeros(3))
    with pytest.raises(DatasetError, match=r"named images or x, only pictures, labels\. Save the"):
        read_npz(tmp_path / "a.npz")


def test_a_missing_archive_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"a\.npz does not exist or is not a file"):
        read_npz(tmp_path / "a.npz")


def test_a_single_array_is_not_an_archive(tmp_path, pixels):
    np.save(tmp_path / "a.npy", pixels)
    with pytest.raises(
        DatasetError, match=r"a\.npy is not an npz file. Write one with numpy.savez"
    ):
        read_npz(tmp_path / "a.npy")


def test_arrays_of_objects_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.array([{}, {}], dtype=object))
    with pytest.raises(DatasetError, match=r"images\.npy: it holds Python objects"):
        read_npz(tmp_path / "a.npz")


def test_a_damaged_archive_is_refused(tmp_path, pixels):
    path = tmp_path / "a.npz"
    np.savez(path, images=pixels)
    data = bytearray(path.read_bytes())
    data[250] ^= 255
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=r"a\.npz cannot be read: Bad CRC-32"):
        read_npz(path)


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ((5, 3, 6, 3), "nchw or nhwc"),
        ((5, 1, 6, 1), "nchw or nhwc"),
        ((5, 1, 6, 3), "nchw or nhwc"),
        ((32, 32, 3), "nhw or one image, hwc"),
    ],
)
def test_a_shape_with_two_readings_is_refused_until_the_archive_says_which(tmp_path, shape, told):
    array = np.zeros(shape, dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=array)
    with pytest.raises(DatasetError, match=rf"can be read as {told}\. Say which: numpy\.savez"):
        read_npz(tmp_path / "a.npz")
    layouts = {"nchw": shape, "nhwc": (shape[0], shape[-1], *shape[1:-1])}
    for layout, read in layouts.items() if len(shape) == 4 else [("nhw", (32, 1, 32, 3))]:
        np.savez(tmp_path / "a.npz", images=array, layout=layout)
        assert read_npz(tmp_path / "a.npz")[0].shape == read


def test_a_last_axis_of_channels_is_said(tmp_path, pixels, caplog):
    np.savez(tmp_path / "a.npz", images=pixels.transpose(0, 2, 3, 1))
    with caplog.at_level("INFO"):
        read_npz(tmp_path / "a.npz")
    assert "the last of the axes (5, 6, 4, 3) holds the channels" in caplog.text


@pytest.mark.parametrize("layout", ["hwc", "nhw", "", ["nchw", "nhwc"], "n" * 1000])
def test_a_layout_that_does_not_fit_is_refused(tmp_path, pixels, layout):
    np.savez(tmp_path / "a.npz", images=pixels, layout=layout)
    with pytest.raises(DatasetError, match=r"but their shape is .* Save nchw, nhwc or nhw as"):
        read_npz(tmp_path / "a.npz")


def test_a_layout_admits_other_numbers_of_channels(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((5, 6, 7, 4), np.uint8), layout="nhwc")
    assert ImageSet.load(f"npz:{tmp_path}/a.npz").pixels.shape == (5, 4, 6, 7)
    np.savez(tmp_path / "a.npz", images=np.zeros((5, 32, 7, 3), np.uint8), layout="nchw")
    assert ImageSet.load(f"npz:{tmp_path}/a.npz").channels == 32


def test_an_array_beyond_the_free_memory_is_named(tmp_path, pixels, monkeypatch):
    np.savez(tmp_path / "a.npz", images=pixels)

    def too_large(*_arguments, **_options):
        raise MemoryError

    monkeypatch.setattr("patchindex.npy.npy.read_array", too_large)
    with pytest.raises(DatasetError, match=r"array images\.npy: it is larger than the memory that"):
        read_npz(tmp_path / "a.npz")
