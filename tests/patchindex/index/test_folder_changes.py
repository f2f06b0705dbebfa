"""What a folder that grew says of its index, and what a build says of an index that it meets."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchindex import ImageSet, IndexConfig, PatchIndex, build_index
from patchindex.errors import StoreError
from patchindex.index import folder_changes

CONFIG = IndexConfig(scales=(3,))


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for seed in range(6):
        picture(tmp_path / "photos" / "ab"[seed % 2] / f"{seed}.png", seed)
    return tmp_path / "photos"


def indexed(photos: Path, config: IndexConfig = CONFIG) -> PatchIndex:
    return build_index(ImageSet.load(f"folder:{photos}"), config, photos.parent / "photos.zarr")


def test_a_folder_that_stayed_has_no_changes(photos: Path) -> None:
    (photos / "notes.txt").write_text("no image")
    picture(photos / ".thumbs" / "0.png", 9)
    picture(photos / "a" / ".hidden.png", 9)
    index = indexed(photos)
    picture(photos / "loose.png", 9)  # beside the classes, where none is read
    assert folder_changes(index) is not None
    assert not folder_changes(index)


def test_files_that_came_went_and_changed_are_named(photos: Path) -> None:
    index = indexed(photos)
    picture(photos / "c" / "new.JPG", 7)
    picture(photos / "a" / "9.png", 8)
    (photos / "b" / "1.png").unlink()
    os.utime(photos / "a" / "0.png", (2e10, 2e10))
    changes = folder_changes(index)
    assert changes.added == ("a/9.png", "c/new.JPG")
    assert (changes.removed, changes.changed) == (("b/1.png",), ("a/0.png",))
    assert str(changes) == (
        "2 files not in it (a/9.png, ...), 1 file gone (b/1.png), 1 file changed (a/0.png)"
    )


def test_nothing_is_known_of_other_sources_and_folders_that_are_not_there(photos: Path) -> None:
    index = indexed(photos)
    photos.rename(photos.parent / "moved")
    assert folder_changes(index) is None
    sample = ImageSet.load("sample", resolution=8, limit=4)
    assert folder_changes(build_index(sample, CONFIG, photos.parent / "sample.zarr")) is None


def test_a_build_says_in_what_an_index_differs(photos: Path) -> None:
    indexed(photos)
    with pytest.raises(StoreError, match=r"another configuration \(scales \[3\], not \[3, 5\]\)"):
        indexed(photos, IndexConfig(scales=(3, 5)))
    picture(photos / "a" / "9.png", 8)
    with pytest.raises(StoreError, match=r"from other images .*\(6 images, not 7\)\. Give another"):
        indexed(photos)
    (photos / "a" / "9.png").unlink()
    (photos / "a" / "0.png").rename(photos / "a" / "00.png")
    with pytest.raises(StoreError, match=r"\(images under other names\)"):
        indexed(photos)
