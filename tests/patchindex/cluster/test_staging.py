"""Copies of an index on a worker's own disk: whole, shared, and only of what was asked for."""

import shutil
import threading
from pathlib import Path

import pytest
from small_index import build_small

from patchindex import PatchIndex
from patchindex.cluster import staged
from patchindex.cluster.staging import Stage
from patchindex.errors import ClusterError
from patchindex.index import chunk_path


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> PatchIndex:
    return build_small(tmp_path_factory.mktemp("built") / "small.zarr")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "copies"


def files(path: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()
    }


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_copy_is_the_index(index, folder, scheme):
    copy = staged(f"{scheme}{index.path}", index.digest, folder)
    assert copy.parent == folder
    assert files(copy) == files(index.path)
    assert PatchIndex.open(copy).digest == index.digest


def test_object_storage_is_read_through_fsspec(index, folder):
    import fsspec  # noqa: PLC0415

    memory = fsspec.filesystem("memory")
    for name, content in files(index.path).items():
        memory.pipe(f"/bucket/small.zarr/{name}", content)
    copy = staged("memory://bucket/small.zarr", None, folder)
    assert files(copy) == files(index.path)
    memory.rm("/bucket", recursive=True)
    # what is there is not read again
    assert staged("memory://bucket/small.zarr", index.digest, folder) == copy


def test_workers_of_one_host_make_one_copy(index, folder, monkeypatch):
    copied = []
    copy_file = shutil.copyfileobj
    monkeypatch.setattr(
        "patchindex.cluster.staging.shutil.copyfileobj",
        lambda *args: (copied.append(1), copy_file(*args)),
    )
    threads = [
        threading.Thread(target=staged, args=(str(index.path), index.digest, folder))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(copied) == len(files(index.path))
    assert [path.name for path in folder.iterdir()] == [f"{index.digest[:16]}.zarr"]


def test_a_copy_that_was_cut_short_is_made_again(index, folder):
    half = folder / f"{index.digest[:16]}.zarr.copying"
    half.mkdir(parents=True)
    (half / "left").touch()
    assert files(staged(str(index.path), index.digest, folder)) == files(index.path)


def test_a_damaged_file_gets_no_name(index, folder, tmp_path):
    source = tmp_path / "damaged.zarr"
    shutil.copytree(index.path, source)
    codes = chunk_path(source / "scales/3/shards/0/codes", 2)
    content = bytearray(codes.read_bytes())
    content[0] ^= 1
    codes.write_bytes(content)
    with pytest.raises(ClusterError, match=r"scales/3/shards/0/codes did not arrive whole at .*"):
        staged(str(source), index.digest, folder)
    assert not folder.exists()


def test_another_index_is_refused(index, folder, tmp_path):
    other = build_small(tmp_path / "other.zarr", scales=(3,))
    with pytest.raises(ClusterError, match="is not the index that was asked for: it was replaced"):
        staged(str(other.path), index.digest, folder)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("/nowhere/x.zarr", "cannot be copied: .* Give what can be read"),
        ("nosuch://bucket/x.zarr", "cannot be copied: Protocol not known: nosuch"),
    ],
)
def test_what_cannot_be_read_is_told(folder, source, told):
    with pytest.raises(ClusterError, match=told):
        staged(source, None, folder)


def test_a_folder_without_an_index_is_told(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "zarr.json").write_text("{}")
    with pytest.raises(ClusterError, match=r"is no index\. Give one that `patchindex build` made"):
        staged(str(tmp_path / "empty"), None, folder)


def test_workers_copy_from_where_the_caller_copied(index, folder):
    stage = Stage(folder, {"/elsewhere/copy.zarr": str(index.path)})
    assert files(Path(stage.place_of("/elsewhere/copy.zarr", index.digest))) == files(index.path)
