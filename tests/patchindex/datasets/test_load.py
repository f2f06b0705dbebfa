import logging
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torchvision
from image_files import write_mnist

from patchindex.errors import DatasetError
from patchindex.images import ImageSet
from patchindex.paths import datasets_dir

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz")
needs_fashion_mnist = pytest.mark.skipif(
    not FASHION_MNIST.exists(), reason="needs the Debian package dataset-fashion-mnist"
)
SHARED = Path(__file__).parents[4] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")


@pytest.fixture
def digits(rng):
    return rng.integers(0, 256, (12, 28, 28), dtype=np.uint8), np.arange(12) % 10


@pytest.fixture
def offline(monkeypatch):
    """A machine without a network: every download of torchvision's fails as it then does."""

    def fail(*_, **__):
        raise urllib.error.URLError("Name or service\nnot known")

    for name in ("MNIST", "FashionMNIST", "CIFAR10", "CelebA"):
        monkeypatch.setattr(torchvision.datasets, name, fail)


def test_the_sample_is_2000_images_with_200_of_each_class():
    images = ImageSet.load("sample")
    assert images.pixels.shape == (2000, 1, 32, 32)
    assert np.bincount(images.labels).tolist() == [200] * 10
    assert images.class_names[9] == "Ankle boot"
    assert images.name == "sample"


@needs_fashion_mnist
def test_the_sample_is_the_first_200_training_images_of_each_class():
    full = ImageSet.load("fashion_mnist", resolution="native", limit=4000)
    first = [np.flatnonzero(full.labels == label)[:200] for label in range(10)]
    kept = np.sort(np.concatenate(first))
    sample = ImageSet.load("sample", resolution="native")
    assert np.array_equal(sample.pixels, full.pixels[kept])
    assert np.array_equal(sample.labels, full.labels[kept])


@needs_fashion_mnist
def test_fashion_mnist_is_60000_training_images_at_32():
    images = ImageSet.load("fashion_mnist")
    assert images.pixels.shape == (60000, 1, 32, 32)
    assert np.bincount(images.labels).tolist() == [6000] * 10
    assert images.labels[:6].tolist() == [9, 0, 0, 3, 0, 2]


@needs_fashion_mnist
@pytest.mark.parametrize(
    ("resolution", "shape"), [("native", (28, 28)), ("48x32", (48, 32)), (16, (16, 16))]
)
def test_image_set_load_takes_every_form_of_resolution(resolution, shape):
    images = ImageSet.load("fashion_mnist", resolution=resolution, limit=10)
    assert images.pixels.shape == (10, 1, *shape)


def test_mnist_loads_from_a_folder_of_patchindex_data(digits, tmp_path, monkeypatch, caplog):
    write_mnist(tmp_path / "b" / "mnist", *digits)
    monkeypatch.setenv("PATCHINDEX_DATA", f"{tmp_path / 'a'}:{tmp_path / 'b'}")
    images = ImageSet.load("mnist", resolution="native")
    assert np.array_equal(images.pixels[:, 0], digits[0])
    assert np.array_equal(images.labels, digits[1])
    assert images.class_names == tuple("0123456789")
    assert "found 12 images, but the published set has 60000" in caplog.text


def test_mnist_loads_from_torchvision_s_layout_in_home(digits):
    write_mnist(datasets_dir() / "MNIST" / "raw", *digits)
    assert len(ImageSet.load("mnist", limit=5)) == 5


def test_patchindex_data_comes_before_home(digits, tmp_path, monkeypatch):
    write_mnist(datasets_dir() / "MNIST" / "raw", *digits)
    write_mnist(tmp_path / "mnist", digits[0][:3], digits[1][:3])
    monkeypatch.setenv("PATCHINDEX_DATA", str(tmp_path))
    assert len(ImageSet.load("mnist")) == 3


def test_test_digits_serve_with_a_warning_where_training_digits_are_absent(
    digits, tmp_path, monkeypatch, caplog
):
    write_mnist(tmp_path / "mnist", *digits, split="t10k")
    monkeypatch.setenv("PATCHINDEX_DATA", str(tmp_path))
    assert len(ImageSet.load("mnist")) == 12
    assert "mnist: these are the 10,000 test digits" in caplog.text


def test_training_digits_anywhere_come_before_test_digits(digits, tmp_path, monkeypatch, caplog):
    write_mnist(tmp_path / "mnist", digits[0][:3], digits[1][:3], split="t10k")
    write_mnist(datasets_dir() / "MNIST" / "raw", *digits)
    monkeypatch.setenv("PATCHINDEX_DATA", str(tmp_path))
    assert len(ImageSet.load("mnist")) == 12
    assert "test digits" not in caplog.text


def test_what_is_nowhere_is_downloaded_into_home(digits, monkeypatch):
    def download(root, *, train, download):
        assert (train, download) == (True, True)
        write_mnist(root / "MNIST" / "raw", *digits)

    monkeypatch.setattr(torchvision.datasets, "MNIST", download)
    assert np.array_equal(ImageSet.load("mnist", resolution=28).pixels[:, 0], digits[0])
    assert (datasets_dir() / "MNIST" / "raw").is_dir()


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", ["mnist", "cifar10", "celeba"])
def test_a_failed_download_says_where_we_looked_and_where_to_put_the_files(
    name, tmp_path, monkeypatch
):
    monkeypatch.setenv("PATCHINDEX_DATA", str(tmp_path / "extra"))
    with pytest.raises(
        DatasetError, match=f"^{name} is not on this machine, and its dow"
    ) as caught:
        ImageSet.load(name)
    message = str(caught.value)
    assert "(URLError: <urlopen error Name or service not known>)" in message
    assert f"Looked in {tmp_path / 'extra'}" in message
    assert f"into {datasets_dir()}" in message
    assert "PATCHINDEX_DATA" in message
    assert "\n" not in message


def test_a_download_that_brings_nothing_is_an_error(monkeypatch):
    monkeypatch.setattr(torchvision.datasets, "MNIST", lambda *_, **__: None)
    with pytest.raises(DatasetError, match=r"download failed \(it did not bring the files"):
        ImageSet.load("mnist")


def test_a_home_that_cannot_be_made_is_an_error(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("PATCHINDEX_HOME", str(tmp_path / "file"))
    with pytest.raises(DatasetError, match=r"download failed \((NotADirectory|FileExists)Error"):
        ImageSet.load("mnist")


@pytest.mark.parametrize(
    ("name", "guess"),
    [
        ("fashion-mnist", r" Did you mean fashion_mnist\?"),
        ("FashionMNIST", r" Did you mean fashion_mnist\?"),
        ("cifar100", r" Did you mean cifar10\?"),
        ("imagenet", ""),
        ("", ""),
        ("images.npz", r" Did you mean npz:images\.npz\?"),
        ("a/train.parquet", r" Did you mean parquet:a/train\.parquet\?"),
        ("a-000.tar", r" Did you mean webdataset:a-000\.tar\?"),
    ],
)
def test_an_unknown_dataset_is_refused_with_what_there_is(name, guess):
    names = "celeba, cifar10, fashion_mnist, mnist, sample"
    forms = f"{names}, or folder:PATH for .*, npz:PATH .*, or hf:NAME"
    with pytest.raises(
        DatasetError, match=f"^unknown dataset '{name}'.{guess} Give one of {forms}"
    ):
        ImageSet.load(name)


def test_a_bare_path_is_refused_with_the_form_it_needs(tmp_path):
    with pytest.raises(DatasetError, match=f"Did you mean folder:{tmp_path}?"):
        ImageSet.load(str(tmp_path))


@pytest.mark.parametrize("kind", ["folder", "npz"])
def test_a_form_without_its_path_is_refused(kind):
    with pytest.raises(DatasetError, match=f"{kind}: lacks a path"):
        ImageSet.load(f"{kind}:")


@needs_shared
@pytest.mark.parametrize(
    ("name", "channels", "labels"),
    [("mnist", 1, [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]), ("cifar10", 3, list(range(10)))],
)
def test_the_files_beside_the_repository_can_be_loaded(monkeypatch, name, channels, labels):
    monkeypatch.setenv("PATCHINDEX_DATA", str(SHARED))
    images = ImageSet.load(name, limit=10)
    assert images.pixels.shape == (10, channels, 32, 32)
    assert images.labels.tolist() == labels


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(limit):
    with pytest.raises(DatasetError, match=f"limit is {limit}. Give at least 1 image"):
        ImageSet.load("sample", limit=limit)


def test_a_limit_above_the_number_of_images_takes_all_of_them(caplog):
    caplog.set_level(logging.INFO)
    assert len(ImageSet.load("sample", limit=5000)) == 2000
    assert "the limit is 5000, but sample has 2000 images: all are used" in caplog.text


@pytest.mark.parametrize("limit", [1, 7])
def test_a_limit_keeps_the_first_images(limit):
    few, all_of_them = ImageSet.load("sample", limit=limit), ImageSet.load("sample")
    assert np.array_equal(few.pixels, all_of_them.pixels[:limit])
    assert np.array_equal(few.labels, all_of_them.labels[:limit])


def test_a_bad_resolution_is_refused_before_anything_is_read():
    with pytest.raises(DatasetError, match="resolution is 'huge'"):
        ImageSet.load("folder:/does/not/exist", resolution="huge")
