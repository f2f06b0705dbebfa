"""A build whose shards are done by processes that may be killed, doubled, or cut off."""

import logging
import multiprocessing
import os
import signal
from functools import partial
from pathlib import Path

import pytest
from killed_units import killed_once
from small_index import array_checksums, small_config, small_images

from patchindex.cluster import connect
from patchindex.crew import LOCAL, ThisProcess
from patchindex.errors import ClusterError
from patchindex.index.build import build_index
from patchindex.index.patch_index import PatchIndex
from patchindex.progress import no_progress

CONFIG = small_config((3, 5), shard_patches=1100, block_patches=1100)
SHARDS = 10  # of a scale
ASSIGN = "scale 3: assign"


class Listener:
    """Passes on what the crew tells of its units."""

    tell = staticmethod(no_progress)

    def __call__(self, *step):
        self.tell(*step)


@pytest.fixture(scope="module")
def listener():
    return Listener()


@pytest.fixture(scope="module")
def crew(listener):
    with connect("local:2", progress=listener) as crew:
        yield crew


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Checksums of all arrays of the build of one process."""
    return checksums(tmp_path_factory.mktemp("built") / "small.zarr")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "small.zarr"


@pytest.fixture
def heard(listener):
    """All that the crew tells of its units."""
    steps = []
    listener.tell = lambda *step: steps.append(step)
    yield steps
    listener.tell = no_progress


def checksums(out, crew=LOCAL, **options):
    return array_checksums(build_index(small_images(), CONFIG, out, crew=crew, **options))


def interrupt_at(num_units, stage, done, _total):
    """Stop when so many shards are done."""
    if stage == ASSIGN and done >= num_units:
        raise KeyboardInterrupt


def marks(out):
    """When each shard was noted."""
    work = out.with_name(f"{out.name}.building")
    return {mark.name: mark.stat().st_mtime_ns for mark in work.glob("3-*.json")}


class OtherRun(ThisProcess):
    """A crew whose units are run otherwise."""

    def __init__(self, crew, run):
        self.admit, self.begin, self.run = crew.admit, crew.begin, run


@pytest.mark.slow
def test_processes_build_the_same_bits_and_tell_of_shards(out, built, crew, heard, caplog):
    caplog.set_level(logging.INFO, "patchindex")
    here = []
    assert checksums(out, crew, progress=lambda *step: here.append(step)) == built
    assert [step for step in heard if step[0] == ASSIGN] == [
        (ASSIGN, done, SHARDS) for done in range(SHARDS + 1)
    ]
    assert "that is for one process; 2 workers share the shards" in caplog.text
    assert {stage for stage, *_ in here} == {"scale 3: train", "scale 5: train"}
    assert [path.name for path in out.parent.glob("small*")] == ["small.zarr"]


def test_a_build_begun_here_is_finished_there(out, built, crew):
    with pytest.raises(KeyboardInterrupt):
        checksums(out, progress=partial(interrupt_at, 25))  # images
    finished = marks(out)
    assert 0 < len(finished) < SHARDS
    kept = []

    def run(work, units, *shared):
        kept.append(marks(out))
        return crew.run(work, units, *shared)

    assert checksums(out, OtherRun(crew, run)) == built
    assert kept[0] == finished


def test_a_build_begun_there_is_finished_here(out, built, crew, listener):
    listener.tell = partial(interrupt_at, 3)
    with pytest.raises(KeyboardInterrupt):
        checksums(out, crew)
    listener.tell = no_progress
    finished = marks(out)
    assert 3 <= len(finished) <= SHARDS
    assert checksums(out) == built


def test_a_unit_that_is_done_twice_at_once_is_written_once(out, built, crew, heard):
    def run_twice(work, units, *shared):
        # each worker gets one half, both in the same order
        return crew.run(work, [*units, *units], *shared)

    assert checksums(out, OtherRun(crew, run_twice)) == built
    assert heard[-1] == ("scale 5: assign", 2 * SHARDS, 2 * SHARDS)
    assert [path.name for path in out.parent.glob("small*")] == ["small.zarr"]


def test_what_units_left_is_removed(out, built, crew):
    with pytest.raises(KeyboardInterrupt):
        checksums(out, progress=partial(interrupt_at, 25))
    work = out.with_name("small.zarr.building")
    (work / "units-1" / "2" / "arrays").mkdir(parents=True)
    (work / "units-1" / "2" / "arrays" / "codes").write_bytes(bytes(1000))
    seen = []

    def run(shard_work, units, *shared):
        seen.extend(work.glob("units-*/*"))
        return crew.run(shard_work, units, *shared)

    assert checksums(out, OtherRun(crew, run)) == built
    assert not seen
    assert not work.exists()


def test_who_built_an_index_can_read_it(out, crew):
    index = build_index(small_images(), CONFIG, out, crew=crew)
    crew.admit(index)
    assert crew.run(PatchIndex.verify, [index, index]) == [None, None]


def test_a_folder_that_workers_do_not_see_is_refused(tmp_path, crew, monkeypatch):
    crew.admit()  # before the change of folder, which workers that start after it would inherit
    monkeypatch.chdir(tmp_path)
    theirs = Path("/proc/self/cwd")  # of each process another
    if not theirs.exists():
        pytest.skip("needs the /proc of Linux")
    with pytest.raises(
        ClusterError, match=r"worker-\d on .* does not see the output folder: give one that all"
    ):
        checksums(theirs / "small.zarr", crew)


@pytest.mark.slow
@pytest.mark.parametrize("change", ["rename", "replace"])
def test_a_worker_killed_in_the_middle_of_a_shard_changes_no_bit(
    out, built, crew, tmp_path, change
):
    """Before its arrays are in their place, and between that and their note."""
    fuse = tmp_path / "fuse"
    fuse.touch()

    def run(work, units, *shared):
        return crew.run(killed_once, units, work, fuse, change, *shared)

    assert checksums(out, OtherRun(crew, run)) == built
    assert not fuse.exists()
    assert [path.name for path in out.parent.glob("small*")] == ["small.zarr"]


@pytest.mark.slow
def test_a_build_goes_on_with_those_who_come_for_killed_workers(out, built, crew, listener):
    crew.admit(folder=out.parent)  # both are there
    workers = [process.pid for process in multiprocessing.active_children()]

    def kill_all(stage, done, _total):
        if (stage, done) == (ASSIGN, 1):
            listener.tell = no_progress
            for worker in workers:
                os.kill(worker, signal.SIGKILL)

    listener.tell = kill_all
    assert checksums(out, crew) == built
    assert not {process.pid for process in multiprocessing.active_children()} & set(workers)
