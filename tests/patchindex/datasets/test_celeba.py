"""CelebA's tree of files: sizes, crops, splits, and everything that can be wrong with it."""

import logging
import zipfile
from pathlib import Path

import numpy as np
import pytest
from image_files import jpeg_bytes

from patchindex import ImageSet
from patchindex.datasets.celeba import read_celeba
from patchindex.errors import DatasetError
from patchindex.paths import datasets_dir

REAL = Path(__file__).parents[4] / "shared" / "data" / "celeba"
needs_real_faces = pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/data/celeba")
SIZES = [(218, 178), (109, 89)]
JPEG_ATOL = 2  # gray levels of a plain color


def write_faces(root: Path, height: int = 218, width: int = 178) -> None:
    """Six files in torchvision's layout, gray outside the central square; 3 and 5 are no training.

    The square is red, by a shade of each file's own.
    """
    (root / "img_align_celeba").mkdir(parents=True, exist_ok=True)
    top = (height - width) // 2
    for i in range(1, 7):
        pixels = np.full((height, width, 3), 128, dtype=np.uint8)
        pixels[top : top + width] = (30 * i, 0, 0)
        (root / "img_align_celeba" / f"{i:06}.jpg").write_bytes(jpeg_bytes(pixels))
    write_partition(root, (0, 0, 1, 0, 2, 0))


def write_partition(root: Path, splits: tuple[int, ...], end: str = "\n") -> None:
    lines = [f"{i:06}.jpg {split}{end}" for i, split in enumerate(splits, start=1)]
    (root / "list_eval_partition.txt").write_bytes("".join(lines).encode())


def write_colored(root: Path, rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Six faces of random colors in coarse squares, as they were before JPEG [n, 3, h, w]."""
    coarse = rng.integers(0, 256, (6, 3, 4, 4), dtype=np.uint8)
    rows, cols = np.arange(height) * 4 // height, np.arange(width) * 4 // width
    faces = coarse[:, :, rows][..., cols]
    for i, face in enumerate(faces, start=1):
        path = root / "img_align_celeba" / f"{i:06}.jpg"
        path.write_bytes(jpeg_bytes(np.ascontiguousarray(face.transpose(1, 2, 0))))
    write_partition(root, (0,) * 6)
    return faces


@pytest.fixture
def faces(tmp_path, monkeypatch):
    root = tmp_path / "data" / "celeba"
    write_faces(root)
    monkeypatch.setenv("PATCHINDEX_DATA", str(root.parent))
    return root


def reds() -> np.ndarray:
    """The training files' shades."""
    return np.array([(30 * i, 0, 0) for i in (1, 2, 4, 6)])[:, :, None, None]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_faces_are_the_training_split_cut_to_the_central_square(faces, height, width):
    write_faces(faces, height, width)
    images = ImageSet.load("celeba", resolution=width)
    assert images.pixels.shape == (4, 3, width, width)
    assert images.labels is None
    assert images.crop == "center"
    # JPEG keeps plain colors, except in the 8x8 blocks that the square's border cuts
    assert np.abs(images.pixels[:, :, 8:-8] - reds().astype(int)).max() <= JPEG_ATOL


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_whole_faces_are_stretched_where_no_crop_is_asked_for(faces, height, width, caplog):
    write_faces(faces, height, width)
    images = ImageSet.load("celeba", resolution=32, crop="none")
    assert images.crop == "none"
    assert "4 of 4 images are stretched from width / height 0.817 to 1" in caplog.text
    # the square's 178 of 218 rows become 26 of 32, the gray above and below it three each
    assert np.abs(images.pixels[:, :, 5:-5] - reds().astype(int)).max() <= JPEG_ATOL
    assert np.abs(images.pixels[:, :, [0, 1, -2, -1]] - 128.0).max() <= JPEG_ATOL


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("crop", [None, "none"])
def test_native_faces_are_whole(faces, height, width, crop):
    write_faces(faces, height, width)
    images = ImageSet.load("celeba", resolution="native", crop=crop)
    assert images.pixels.shape == (4, 3, height, width)
    assert images.crop == "none"


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("crop", ["none", "center"])
def test_random_colors_come_through_at_any_resolution(faces, rng, height, width, crop):
    """Beside the middles of the squares, which neither JPEG nor resizing blurs."""
    before = write_colored(faces, rng, height, width).astype(int)
    images = ImageSet.load("celeba", resolution="48x64", crop=crop)
    assert images.pixels.shape == (6, 3, 48, 64)
    kept = height if crop == "none" else round(width * 48 / 64)  # rows; all columns either way
    top = (height - kept) // 2
    for row, col in [(24, 8), (24, 24), (24, 40), (24, 56)]:
        y, x = top + int((row + 0.5) * kept / 48), int((col + 0.5) * width / 64)
        if 6 < (y * 4 % height) / 4 < height / 4 - 6:
            assert np.abs(images.pixels[:, :, row, col] - before[:, :, y, x]).max() <= 6


@pytest.mark.usefixtures("faces")
def test_a_shape_of_whole_faces_cuts_nothing_off(caplog):
    whole = ImageSet.load("celeba", resolution="native")
    again = ImageSet.load("celeba", resolution="218x178")
    assert np.array_equal(again.pixels, whole.pixels)
    assert "stretched" not in caplog.text


@pytest.mark.usefixtures("faces")
def test_faces_come_at_32_unless_another_resolution_is_asked_for(caplog):
    with caplog.at_level(logging.INFO):
        assert ImageSet.load("celeba").pixels.shape == (4, 3, 32, 32)
    assert "4 of 4 images are cut from width / height 0.817 to 1 around their" in caplog.text
    assert ImageSet.load("celeba", resolution=64, limit=2).pixels.shape == (2, 3, 64, 64)


@pytest.mark.usefixtures("faces")
def test_fewer_faces_than_published_are_noted(caplog):
    ImageSet.load("celeba")
    assert "celeba: found 4 images, but the published set has 162770" in caplog.text


def test_the_published_list_has_windows_line_ends(faces):
    write_partition(faces, (0, 1, 0), end="\r\n")
    assert len(ImageSet.load("celeba")) == 2


def test_faces_past_the_limit_need_not_be_there(faces):
    (faces / "img_align_celeba" / "000006.jpg").unlink()
    assert len(ImageSet.load("celeba", limit=3)) == 3


def test_missing_faces_are_counted_before_any_is_decoded(faces):
    (faces / "img_align_celeba" / "000001.jpg").write_bytes(b"no image")
    (faces / "img_align_celeba" / "000004.jpg").unlink()
    lacks = r"lacks 1 of the 4 training faces that .*partition\.txt names, such as 000004\.jpg\. Un"
    with pytest.raises(DatasetError, match=lacks):
        ImageSet.load("celeba")


@pytest.mark.parametrize("name", ["000001.jpg", "000004.jpg"])
@pytest.mark.parametrize("kept", [0, 400])
def test_a_broken_face_is_named(faces, name, kept):
    path = faces / "img_align_celeba" / name
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DatasetError, match=rf"cannot read the image .*{name}: .* Mend the file"):
        ImageSet.load("celeba")


@pytest.mark.parametrize("shape", [(218, 218), (100, 200), (178, 178)])
def test_what_is_no_aligned_face_is_named(faces, shape):
    """Such as the faces in the wild."""
    other = jpeg_bytes(np.zeros((*shape, 3), dtype=np.uint8))
    (faces / "img_align_celeba" / "000001.jpg").write_bytes(other)
    told = rf"000001\.jpg is {shape[0]}x{shape[1]} pixels, but CelebA's aligned faces are 218x178"
    with pytest.raises(DatasetError, match=told):
        ImageSet.load("celeba")


@pytest.mark.parametrize("resolution", [32, "native"])
def test_faces_of_two_archives_are_not_mixed(faces, resolution):
    half = jpeg_bytes(np.zeros((109, 89, 3), dtype=np.uint8))
    (faces / "img_align_celeba" / "000004.jpg").write_bytes(half)
    told = r"000004\.jpg is 109x89 pixels, but 000001\.jpg is 218x178\. Unpack one archive"
    with pytest.raises(DatasetError, match=told):
        ImageSet.load("celeba", resolution=resolution)


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


def test_a_file_in_place_of_the_folder_is_refused(faces):
    with pytest.raises(DatasetError, match=r"partition\.txt cannot be read \(Not a directory\)"):
        read_celeba(faces / "list_eval_partition.txt", faces / "list_eval_partition.txt")


def test_a_tree_without_the_list_is_incomplete_and_nothing_is_downloaded(faces):
    (faces / "list_eval_partition.txt").unlink()
    with pytest.raises(DatasetError, match=r"^celeba is incomplete: .* lacks list_eval") as caught:
        ImageSet.load("celeba")
    message = str(caught.value)
    assert "list_eval_partition.txt (2,836,386 bytes, MD5" in message
    assert "img_align_celeba.zip (1,443,490,838 bytes, MD5" in message
    assert "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html (non-commercial research" in message
    assert f"into {datasets_dir() / 'celeba'} by hand" in message
    assert "\n" not in message


def test_an_archive_that_is_not_unpacked_is_named(tmp_path, monkeypatch):
    root = tmp_path / "celeba"
    root.mkdir()
    with zipfile.ZipFile(root / "img_align_celeba.zip", "w"):
        pass
    monkeypatch.setenv("PATCHINDEX_DATA", str(tmp_path))
    told = r"lacks list_eval_partition\.txt, img_align_celeba, but img_align_celeba\.zip, which mus"
    with pytest.raises(DatasetError, match=told):
        ImageSet.load("celeba")


@needs_real_faces
@pytest.mark.parametrize(
    ("resolution", "crop", "shape"),
    [(32, None, (32, 32)), (64, "none", (64, 64)), (64, "center", (64, 64)),
     ("native", None, (109, 89))],
)  # fmt: skip
def test_real_faces_at_half_size(tmp_path, monkeypatch, resolution, crop, shape):
    with zipfile.ZipFile(REAL / "celeba_subset.zip") as archive:
        members = [f"celeba/img_align_celeba/{i:06}.jpg" for i in range(1, 31)]
        archive.extractall(tmp_path, [*members, "celeba/list_eval_partition.txt"])
    monkeypatch.setenv("PATCHINDEX_DATA", str(tmp_path))
    images = ImageSet.load("celeba", resolution=resolution, crop=crop, limit=30)
    assert images.pixels.shape == (30, 3, *shape)
    middle = [size // 2 for size in shape]
    # faces in the middle: skin is redder than blue there
    colors = images.pixels[:, :, middle[0], middle[1]].mean(axis=0)
    assert colors[0] > colors[2] + 20


@needs_real_faces
def test_real_faces_at_half_and_at_full_size_are_alike(tmp_path, monkeypatch):
    found = []
    for name in ("celeba_orig178x218_first32.zip", "celeba_subset.zip"):
        with zipfile.ZipFile(REAL / name) as archive:
            few = [m for m in archive.namelist() if m[-10:-4] <= "000032" and m.endswith(".jpg")]
            archive.extractall(tmp_path / name, [*few, "celeba/list_eval_partition.txt"])
        monkeypatch.setenv("PATCHINDEX_DATA", str(tmp_path / name))
        found.append(ImageSet.load("celeba", resolution=32, limit=32).pixels.astype(float))
    assert found[0].shape == found[1].shape == (32, 3, 32, 32)
    # JPEG of half the size and resizing twice: a few gray levels
    assert np.abs(found[0] - found[1]).mean() < 3
