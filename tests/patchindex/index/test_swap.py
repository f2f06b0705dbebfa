"""Putting an index in place of another: whatever stroke is the last, the next command heals it."""

import os
import shutil
from contextlib import suppress

import pytest
from small_index import array_checksums, build_small, small_config, small_images

from patchindex.errors import StoreError
from patchindex.index.build import build_index
from patchindex.index.job import WorkDir
from patchindex.index.patch_index import PatchIndex

CHANGES = ("rename", "replace", "unlink", "rmdir")
IMAGES = small_images(12)
NEW, OTHER = (small_config((3,), seed=seed) for seed in (1, 2))


class Killed(BaseException):
    """The process is gone: nothing that it would still have cleaned up happens."""


class KillAt:
    """Stops at the n-th change of a folder, and refuses every later one."""

    def __init__(self, monkeypatch, after):
        self.left = after
        for name in CHANGES:
            monkeypatch.setattr(os, name, self.counted(getattr(os, name)))

    def counted(self, change):
        def change_or_stop(*arguments, **options):
            self.left -= 1
            if self.left < 0:
                raise Killed
            return change(*arguments, **options)

        return change_or_stop


@pytest.fixture(scope="module")
def before_the_swap(tmp_path_factory):
    """An old index, and beside it a finished one that is not swapped in yet."""
    folder = tmp_path_factory.mktemp("swap") / "state"
    build_small(folder / "live.zarr", IMAGES, scales=(3,))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WorkDir, "swap_in", stop)
        with pytest.raises(Killed):
            build_index(IMAGES, NEW, folder / "live.zarr", overwrite=True)
    return folder


@pytest.fixture(scope="module")
def new_checksums(tmp_path_factory):
    return array_checksums(build_index(IMAGES, NEW, tmp_path_factory.mktemp("new") / "new.zarr"))


def stop(*_):
    raise Killed


def swap(out, config=NEW, *, overwrite=True):
    return build_index(IMAGES, config, out, overwrite=overwrite)


def swap_until(source, folder, after):
    """Place of an index whose swap was cut short after so many changes, and how many were left."""
    out = shutil.copytree(source, folder) / "live.zarr"
    with pytest.MonkeyPatch.context() as patch, suppress(Killed):
        kill = KillAt(patch, after)
        WorkDir(folder / "live.zarr.building").swap_in(out)
    return out, kill.left


def places(source, folder):
    """Counts of changes after which a swap is cut short: the first, the last, some between."""
    total = 10**6 - swap_until(source, folder, 10**6)[1]
    return [*range(5), *range(5, total - 6, 17), *range(total - 6, total)]


def test_a_swap_cut_short_anywhere_is_finished_by_the_same_command(
    before_the_swap, new_checksums, tmp_path
):
    for after in places(before_the_swap, tmp_path / "whole"):
        out, _ = swap_until(before_the_swap, tmp_path / f"{after}", after)
        assert array_checksums(swap(out)) == new_checksums, after
        assert [path.name for path in out.parent.iterdir()] == ["live.zarr"], after


def test_a_swap_cut_short_loses_no_index_to_another_build(before_the_swap, tmp_path):
    for after in (0, 1, 2, 9):
        out, _ = swap_until(before_the_swap, tmp_path / f"{after}", after)
        with pytest.raises(StoreError, match=r"was built from other images or with another conf"):
            swap(out, OTHER, overwrite=False)
        PatchIndex.open(out).verify()


def test_a_clean_up_cut_short_keeps_no_build_from_starting_again(tmp_path):
    out = tmp_path / "live.zarr"
    job = {"left": "over"}
    wanted = array_checksums(swap(out))
    work = WorkDir(tmp_path / "live.zarr.building")
    for left in (["job", "images", "3"], ["images", "3"], ["3"], ["job", "3"]):
        work.path.mkdir()
        for name in left:
            work.write_json(name, job)
        assert array_checksums(swap(out)) == wanted
        assert not work.path.exists()


def test_a_folder_that_cannot_be_emptied_is_named(before_the_swap, tmp_path, monkeypatch):
    out = shutil.copytree(before_the_swap, tmp_path / "state") / "live.zarr"

    def refuse(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "rmdir", refuse)
    with pytest.raises(StoreError, match=r"cannot write .*: Permission denied. What is finished"):
        swap(out)
    monkeypatch.undo()
    swap(out).verify()


def test_what_zarr_left_unfinished_is_not_in_an_index(tmp_path, monkeypatch):
    out = tmp_path / "live.zarr"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("patchindex.index.build.finalize", stop)
        with pytest.raises(Killed):
            swap(out)
    store = tmp_path / "live.zarr.building" / "store"
    strays = [store / "zarr.0f3b.partial", store / "scales" / "3" / "zarr.77.partial"]
    for stray in strays:
        stray.write_text("{")
    swap(out)
    assert not list(out.rglob("*.partial"))


def test_an_index_with_what_zarr_left_unfinished_can_be_replaced(tmp_path):
    out = tmp_path / "live.zarr"
    swap(out)
    (out / "zarr.9a1c2f.partial").write_text("{")
    swap(out).verify()
    assert not list(out.rglob("*.partial"))
