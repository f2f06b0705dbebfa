"""A build that is interrupted, refused, or short of disk; and what the next one makes of it."""

import errno
import logging
import os
import resource
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from small_index import array_checksums, build_small, small_config, small_images

from patchindex.crew import ThisProcess
from patchindex.errors import LockedError, StoreError
from patchindex.index import plan, shard
from patchindex.index.build import build_index
from patchindex.index.job import WorkDir
from patchindex.index.patch_index import PatchIndex
from patchindex.index.store import chunk_path
from patchindex.paths import locked_folder


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build_small(tmp_path_factory.mktemp("built") / "small.zarr")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "small.zarr"


class InterruptAt:
    """A progress callback that stops the build at its n-th step."""

    def __init__(self, step):
        self.left = step

    def __call__(self, *_):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@contextmanager
def largest_file(num_bytes):
    """Refuse to write beyond, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.slow
def test_a_build_interrupted_at_every_step_gives_the_same_bits(out, built):
    interruptions = 0
    for step in range(1, 100):
        try:
            index = build_index(small_images(), small_config(), out, progress=InterruptAt(step))
        except KeyboardInterrupt:
            interruptions += 1
            assert not out.exists()
        else:
            break
    assert interruptions > 10
    assert array_checksums(index) == array_checksums(built)
    assert [path.name for path in out.parent.iterdir() if "small" in path.name] == ["small.zarr"]


def test_a_shard_without_its_mark_is_written_again(out, built):
    with pytest.raises(KeyboardInterrupt):
        build_index(small_images(), small_config(), out, progress=InterruptAt(19))
    work = out.parent / "small.zarr.building"
    marks = sorted(work.glob("3-*.json"))
    assert len(marks) > 1
    codes = chunk_path(work / "store/scales/3/shards/0/codes", 2)
    codes.write_bytes(bytes(codes.stat().st_size))
    (work / "3-0.json").unlink()
    assert array_checksums(build_small(out)) == array_checksums(built)


@pytest.mark.parametrize("moment", ["before", "at first", "at last"])
def test_a_unit_that_was_given_up_changes_nothing(out, built, monkeypatch, moment):
    """Its worker was lost, and goes on while another build may be in the folder."""
    write, work = shard._write_shard, WorkDir(out.with_name("small.zarr.building"))

    def give_up():
        with work.units():
            pass

    def write_and_give_up(*arguments, **options):
        if moment == "at first":
            give_up()
        write(*arguments, **options)
        if moment == "at last":
            give_up()

    def run(build_shard, units, scale):
        monkeypatch.setattr(shard, "_write_shard", write_and_give_up)
        if moment == "before":
            give_up()
        with pytest.raises(FileNotFoundError):
            build_shard(0, scale)
        raise KeyboardInterrupt

    crew = ThisProcess()
    crew.run = run
    with pytest.raises(KeyboardInterrupt):
        build_index(small_images(), small_config(), out, crew=crew)
    monkeypatch.undo()
    assert not list(work.path.glob("3-*.json"))
    assert not list((work.store / "scales/3/shards").glob("[0-9]*"))
    assert array_checksums(build_small(out)) == array_checksums(built)
    assert not work.path.exists()


def test_another_configuration_in_the_work_folder_starts_clean(out, built, caplog):
    with pytest.raises(KeyboardInterrupt):
        build_index(small_images(), small_config(seed=5), out, progress=InterruptAt(15))
    assert array_checksums(build_small(out)) == array_checksums(built)
    assert "belongs to another build; starting from the beginning" in caplog.text


def test_a_complete_index_is_left_alone(out, caplog):
    caplog.set_level(logging.INFO, "patchindex")
    created = build_small(out).manifest["created"]
    before = (out / "zarr.json").stat().st_mtime_ns
    assert build_small(out).manifest["created"] == created
    assert (out / "zarr.json").stat().st_mtime_ns == before
    assert "is complete already; nothing to do" in caplog.text


def test_an_index_of_another_configuration_is_not_replaced_unasked(out):
    build_small(out)
    with pytest.raises(
        StoreError, match=r"configuration \(seed 0, not 1\)\. Give another --out, or --overwrite"
    ):
        build_small(out, seed=1)


def test_a_damaged_index_is_not_replaced_unasked(out):
    build_small(out)
    (out / "zarr.json").write_text("{")
    with pytest.raises(
        StoreError, match=r"no index that can be used .* Give another --out, or --over"
    ):
        build_small(out)
    build_index(small_images(), small_config(), out, overwrite=True).verify()


def test_the_old_index_stays_until_the_new_one_is_complete(out):
    old = array_checksums(build_small(out))
    with pytest.raises(KeyboardInterrupt):
        build_index(
            small_images(), small_config(seed=1), out, progress=InterruptAt(20), overwrite=True
        )
    assert array_checksums(PatchIndex.open(out)) == old
    new = build_index(small_images(), small_config(seed=1), out, overwrite=True)
    assert array_checksums(new) != old
    assert not out.with_name("small.zarr.building").exists()


@pytest.mark.parametrize("renames_done", [1, 2])
def test_an_interrupted_swap_is_finished(out, built, monkeypatch, renames_done):
    build_small(out, seed=1)
    work = out.with_name("small.zarr.building")
    rename, left = type(out).rename, [renames_done]

    def rename_or_stop(self, target):
        if out not in (self, target):  # units of work leave their folders so, too
            return rename(self, target)
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return rename(self, target)

    monkeypatch.setattr(type(out), "rename", rename_or_stop)
    monkeypatch.setattr(
        "patchindex.index.job.sync",
        lambda path: rename_or_stop(out, out) if path == out.parent else None,
    )
    with pytest.raises(KeyboardInterrupt):
        build_index(small_images(), small_config(), out, overwrite=True)
    monkeypatch.undo()
    assert work.exists()
    steps = []
    index = build_index(
        small_images(),
        small_config(),
        out,
        progress=lambda *step: steps.append(step),
        overwrite=True,
    )
    assert array_checksums(index) == array_checksums(built)
    assert not steps
    assert not work.exists()


def test_what_is_not_an_index_is_never_overwritten(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("x")
    with pytest.raises(StoreError, match=r"thesis is not an index, so it is not overwritten"):
        build_index(small_images(), small_config(), tmp_path / "thesis", overwrite=True)
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "x"


def test_two_builds_of_one_target_do_not_mix(out):
    refused = r"another process is building .*small.zarr \(process .*\)\. Wait for it"
    work = out.with_name("small.zarr.building")
    with locked_folder(work), pytest.raises(LockedError, match=refused):
        build_small(out)
    build_small(out).verify()


def test_a_target_in_a_folder_of_the_system_is_refused_at_once():
    with pytest.raises(StoreError, match=r"cannot write /proc/.*: No such file or directory\. "):
        build_small(Path("/proc/small.zarr"))


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(
        StoreError, match=r"cannot write .*file.*: (Not a directory|File exists)\. "
    ):
        build_small(tmp_path / "file" / "small.zarr")


@pytest.mark.skipif(os.geteuid() == 0, reason="permission bits do not bind root")
def test_a_folder_without_permission_is_named(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(StoreError, match=r"cannot write .*closed.*: Permission denied. "):
        build_small(tmp_path / "closed" / "small.zarr")


@pytest.mark.parametrize("num_bytes", [2_000, 8_000, 50_000, 120_000, 160_000])
def test_a_build_that_could_not_write_resumes(out, built, num_bytes):
    refused = (
        rf"cannot write .*small.zarr.*: {os.strerror(errno.EFBIG)}. .*the same command resumes"
    )
    with largest_file(num_bytes), pytest.raises(StoreError, match=refused):
        build_small(out)
    assert array_checksums(build_small(out)) == array_checksums(built)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_full_disk_is_told_and_the_build_resumes_with_more(tmp_path, built, monkeypatch):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=500k", "tmpfs", disk]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        with pytest.raises(StoreError, match=r"needs 0.\d\d MB more disk at most, but .* free"):
            build_small(disk / "small.zarr")
        monkeypatch.setattr("patchindex.index.build.check_disk", lambda *_, **__: None)
        with pytest.raises(StoreError, match=r"cannot write .*: No space left on device. What is"):
            build_small(disk / "small.zarr")
        subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)
        assert array_checksums(build_small(disk / "small.zarr")) == array_checksums(built)
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)  # memory maps may still be open


def test_a_disk_that_is_too_small_is_told_before_the_build(out, monkeypatch):
    usage = shutil.disk_usage(out.parent)._replace(free=1000)
    monkeypatch.setattr(plan.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(
        StoreError, match=r"needs 0.\d\d MB more disk .* has 0.00 MB free. Free some"
    ):
        build_small(out)
