import numpy as np
import pytest
from image_files import jpeg_bytes

from patchindex import ImageSet
from patchindex.datasets.named import read_celeba
from patchindex.errors import DatasetError


@pytest.fixture
def faces(tmp_path, monkeypatch):
    """Six files in torchvision's layout; 3 and 5 are not for training."""
    root = tmp_path / "data" / "celeba"
    (root / "img_align_celeba").mkdir(parents=True)
    for i in range(1, 7):
        # only the rows that the central crop keeps are red, by a shade of their own
        pixels = np.zeros((218, 178, 3), dtype=np.uint8)
        pixels[20:198] = (30 * i, 0, 0)
        (root / "img_align_celeba" / f"{i:06}.jpg").write_bytes(jpeg_bytes(pixels))
    write_partition(root, (0, 0, 1, 0, 2, 0))
    monkeypatch.setenv("PATCHINDEX_DATA", str(root.parent))
    return root


@pytest.mark.usefixtures("faces")
def test_faces_are_the_training_split_cropped_to_the_central_square():
    images = ImageSet.load("celeba", resolution="native")
    assert images.pixels.shape == (4, 3, 178, 178)
    assert images.labels is None
    # JPEG keeps plain colours to 2 levels, except in the 8x8 blocks that the crop's border cuts
    middle = images.pixels[:, :, 8:-8]
    expected = np.array([(30 * i, 0, 0) for i in (1, 2, 4, 6)])[:, :, None, None]
    assert np.abs(middle - expected.astype(int)).max() <= 2


@pytest.mark.usefixtures("faces")
def test_faces_come_at_32_unless_another_resolution_is_asked_for():
    assert ImageSet.load("celeba").pixels.shape == (4, 3, 32, 32)
    assert ImageSet.load("celeba", resolution=64, limit=2).pixels.shape == (2, 3, 64, 64)


@pytest.mark.usefixtures("faces")
def test_fewer_faces_than_published_are_noted(caplog):
    ImageSet.load("celeba")
    assert "celeba: found 4 images, but the published set has 162770" in caplog.text


def test_files_past_the_limit_are_not_read(faces):
    (faces / "img_align_celeba" / "000006.jpg").unlink()
    assert len(ImageSet.load("celeba", limit=3)) == 3


def test_a_missing_face_is_named(faces):
    (faces / "img_align_celeba" / "000004.jpg").unlink()
    with pytest.raises(DatasetError, match=r"cannot read the image .*000004\.jpg: .*No such file"):
        ImageSet.load("celeba")


def test_a_broken_face_is_named(faces):
    (faces / "img_align_celeba" / "000004.jpg").write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"cannot read the image .*000004\.jpg"):
        ImageSet.load("celeba")


def test_a_face_that_is_too_small_is_named(faces):
    small = jpeg_bytes(np.zeros((100, 200, 3), dtype=np.uint8))
    (faces / "img_align_celeba" / "000004.jpg").write_bytes(small)
    with pytest.raises(DatasetError, match=r"000004\.jpg is 100x200 pixels"):
        ImageSet.load("celeba")


def test_a_list_without_training_images_is_refused(faces):
    write_partition(faces, (1, 2))
    with pytest.raises(DatasetError, match="lists no training image"):
        ImageSet.load("celeba")


def test_a_garbled_list_is_refused(faces):
    (faces / "list_eval_partition.txt").write_text("000001.jpg 0\n<html> 404 \n")
    with pytest.raises(DatasetError, match=r"line 2 of .*partition\.txt is '<html> 404'"):
        ImageSet.load("celeba")


def test_a_list_that_is_not_text_is_refused(faces):
    (faces / "list_eval_partition.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DatasetError, match=r"partition\.txt cannot be read"):
        read_celeba(faces / "list_eval_partition.txt", faces / "img_align_celeba")


def write_partition(root, splits):
    lines = [f"{i:06}.jpg {split}\n" for i, split in enumerate(splits, start=1)]
    (root / "list_eval_partition.txt").write_text("".join(lines))
