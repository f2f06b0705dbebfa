import json
import os
from pathlib import Path

import pytest

from patchindex.paths import (
    data_folders,
    datasets_dir,
    finished_indices,
    home,
    index_path,
    indices_dir,
)


def test_home_is_what_the_environment_says(monkeypatch):
    monkeypatch.setenv("PATCHINDEX_HOME", "/some/where")
    assert home() == Path("/some/where")
    assert datasets_dir() == Path("/some/where/datasets")
    assert indices_dir() == Path("/some/where/indices")


def test_a_tilde_in_home_is_the_user_s_folder(monkeypatch):
    monkeypatch.setenv("PATCHINDEX_HOME", "~/patches")
    assert home() == Path.home() / "patches"


@pytest.mark.parametrize(
    ("cache", "expected"),
    [("/xdg", "/xdg"), ("", "~/.cache"), ("relative", "~/.cache"), (None, "~/.cache")],
)
def test_without_it_home_is_in_the_user_s_cache_folder(monkeypatch, cache, expected):
    monkeypatch.setenv("PATCHINDEX_HOME", "")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if cache is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", cache)
    assert home() == Path(expected).expanduser() / "patchindex"


def test_data_folders_are_separated_as_in_path(monkeypatch):
    assert data_folders() == ()
    monkeypatch.setenv("PATCHINDEX_DATA", os.pathsep.join(["/a", "", "~/b"]))
    assert data_folders() == (Path("/a"), Path.home() / "b")


@pytest.mark.parametrize(
    ("source", "height", "width", "name"),
    [
        ("fashion_mnist", 32, 32, "fashion_mnist-32-zeros.zarr"),
        ("fashion_mnist", 48, 32, "fashion_mnist-48x32-zeros.zarr"),
        ("folder:/data/my cats", 64, 64, "my_cats-64-zeros.zarr"),
        ("folder:/data/v1.2/", 64, 64, "v1.2-64-zeros.zarr"),
        ("npz:images/faces.npz", 64, 64, "faces-64-zeros.zarr"),
        ("parquet:birds/train.parquet", 64, 64, "train-64-zeros.zarr"),
        ("webdataset:b/x-{000..146}.tar", 64, 64, "x__000..146_-64-zeros.zarr"),
        ("hf:user/birds:train[:10%]", 64, 64, "birds_train__10__-64-zeros.zarr"),
    ],
)
def test_an_index_is_named_after_dataset_resolution_and_boundary(source, height, width, name):
    path = index_path(source, height=height, width=width, boundary="zeros")
    assert path == indices_dir() / name


def test_an_index_of_a_part_has_another_name_than_that_of_the_whole_set():
    path = index_path("fashion_mnist", height=32, width=32, boundary="zeros", first=5000)
    assert path == indices_dir() / "fashion_mnist-32-zeros-first5000.zarr"


def test_an_index_of_cropped_images_is_named_apart(home: Path) -> None:
    path = index_path("celeba", height=32, width=32, boundary="zeros", cropped=True, first=9)
    assert path == home / "indices" / "celeba-32-zeros-crop-first9.zarr"


def test_a_relative_folder_gives_an_index_its_real_name(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    path = index_path("folder:.", height=8, width=8, boundary="zeros")
    assert path.name.startswith(tmp_path.name)


def test_the_index_completed_last_comes_first():
    assert finished_indices() == []
    for seconds, name in enumerate(("b", "c", "a")):
        write_index(f"{name}.zarr", {"status": "complete"}, seconds)
    assert [path.stem for path in finished_indices()] == ["a", "c", "b"]


def test_what_is_not_a_complete_index_is_passed_over():
    write_index("good.zarr", {"status": "complete"}, 0)
    write_index("building.zarr", {"status": "building"}, 1)
    write_index("other.zarr", {}, 2)
    write_index("good.tmp", {"status": "complete"}, 3)
    (indices_dir() / "empty.zarr").mkdir()
    (indices_dir() / "file.zarr").write_text("no folder")
    for name, text in (("garbled", "{"), ("list", "[]"), ("binary", "\udcff")):
        folder = indices_dir() / f"{name}.zarr"
        folder.mkdir()
        (folder / "zarr.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert finished_indices() == [indices_dir() / "good.zarr"]


def write_index(name, attributes, seconds):
    group = indices_dir() / name / "zarr.json"
    group.parent.mkdir(parents=True)
    group.write_text(json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes}))
    os.utime(group, (seconds, seconds))
