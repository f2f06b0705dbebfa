import os
import pickle
import zipfile

import numpy as np
import pytest
from image_files import jpeg_bytes

from patchindex import ImageSet
from patchindex.datasets.cards import load_card
from patchindex.datasets.named import read_cifar_batches, read_cifar_zip
from patchindex.errors import DatasetError

CLASSES = load_card("cifar10").class_names


@pytest.fixture
def batches(tmp_path, rng):
    """Five batches of four images, pickled as Python 2 and NumPy 1 did."""
    pixels = rng.integers(0, 256, (5, 4, 3, 32, 32), dtype=np.uint8)
    folder = tmp_path / "data" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for i, block in enumerate(pixels):
        batch = {"data": block.reshape(4, -1), "labels": [i, 1, 2, 9], "batch_label": "b"}
        pickled = pickle.dumps(batch, protocol=2)
        old = pickled.replace(b"cnumpy._core.multiarray", b"cnumpy.core.multiarray")
        (folder / f"data_batch_{i + 1}").write_bytes(old)
    return folder, pixels.reshape(20, 3, 32, 32)


@pytest.fixture
def archive(tmp_path):
    """Three images a class, each of one colour, that rises with rank and class."""
    path = tmp_path / "data" / "cifar10_jpeg.zip"
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        for label, name in enumerate(CLASSES):
            for rank in range(3):
                pixels = np.full((32, 32, 3), (10 * rank, 20 * label, 200), dtype=np.uint8)
                file.writestr(f"train/{name}/{rank:04}.jpg", jpeg_bytes(pixels))
                file.writestr(f"test/{name}/{rank:04}.jpg", b"not read")
    return path


def test_published_batches_load_in_their_order(batches, monkeypatch):
    folder, pixels = batches
    monkeypatch.setenv("PATCHINDEX_DATA", str(folder.parent))
    images = ImageSet.load("cifar10")
    assert np.array_equal(images.pixels, pixels)
    assert images.labels.tolist() == [label for i in range(5) for label in (i, 1, 2, 9)]
    assert images.class_names[9] == "truck"


def test_batches_past_the_limit_are_not_opened(batches):
    folder, pixels = batches
    paths = [folder / "data_batch_1", folder / "data_batch_2", folder / "absent"]
    read, labels = read_cifar_batches(paths, limit=6)
    assert np.array_equal(read, pixels[:6])
    assert labels.tolist() == [0, 1, 2, 9, 1, 1]


def test_a_pickle_that_could_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, ("touch " + str(tmp_path / "ran"),)

    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(DatasetError, match=r"system does not belong into one\. Delete it"):
        read_cifar_batches([tmp_path / "data_batch_1"])
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content", [b"", b"<html>", pickle.dumps([1, 2]), pickle.dumps({"data": 1})]
)
def test_a_file_that_is_not_a_batch_is_refused(tmp_path, content):
    (tmp_path / "data_batch_1").write_bytes(content)
    with pytest.raises(DatasetError, match="data_batch_1 cannot be read as a CIFAR-10 batch"):
        read_cifar_batches([tmp_path / "data_batch_1"])


def test_a_batch_of_another_shape_is_refused(tmp_path):
    batch = {"data": np.zeros((2, 100), dtype=np.uint8), "labels": [0, 1]}
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(batch, protocol=2))
    with pytest.raises(DatasetError, match=r"uint8 values of shape \(2, 100\) and 2 labels"):
        read_cifar_batches([tmp_path / "data_batch_1"])


def test_jpeg_copies_serve_where_the_batches_are_absent(archive, monkeypatch, caplog):
    monkeypatch.setenv("PATCHINDEX_DATA", str(archive.parent))
    images = ImageSet.load("cifar10")
    assert "cifar10: these are JPEG copies" in caplog.text
    assert images.pixels.shape == (30, 3, 32, 32)
    # classes take turns; JPEG keeps a plain colour to 2 levels
    assert images.labels.tolist() == [*range(10)] * 3
    expected = [(10 * (i // 10), 20 * (i % 10), 200) for i in range(30)]
    assert np.abs(images.pixels.mean(axis=(2, 3)) - expected).max() <= 2


@pytest.mark.usefixtures("batches")
def test_the_real_batches_come_before_jpeg_copies(archive, monkeypatch, caplog):
    monkeypatch.setenv("PATCHINDEX_DATA", str(archive.parent))
    assert len(ImageSet.load("cifar10", resolution="native")) == 20
    assert "JPEG" not in caplog.text


def test_jpeg_copies_are_resized_and_limited(archive):
    pixels, labels = read_cifar_zip(archive, CLASSES, size=(16, 24), limit=4)
    assert pixels.shape == (4, 3, 16, 24)
    assert labels.tolist() == [0, 1, 2, 3]


def test_images_past_the_limit_are_not_decoded(archive):
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("train/truck/9999.jpg", b"no image")
    assert len(read_cifar_zip(archive, CLASSES, limit=30)[0]) == 30
    with pytest.raises(DatasetError, match=r"cannot read the image .*zip/train/truck/9999\.jpg"):
        read_cifar_zip(archive, CLASSES)


def test_an_archive_without_training_images_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("test/cat/0000.jpg", b"")
    with pytest.raises(DatasetError, match=r"holds no training image. Files named train/CLASS/\*"):
        read_cifar_zip(tmp_path / "a.zip", CLASSES)


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    (tmp_path / "a.zip").write_text("<html>")
    with pytest.raises(DatasetError, match=r"a\.zip cannot be read as a zip archive"):
        read_cifar_zip(tmp_path / "a.zip", CLASSES)
