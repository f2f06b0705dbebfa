"""The lock of a folder, and what outlives the death of its holder."""

import os
import signal
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path

import pytest
from filelock import FileLock
from forked import end, ignore_threads, kill, start

from patchindex.errors import LockedError
from patchindex.paths import locked_folder, sync

pytestmark = ignore_threads
# what a Windows interpreter lacks, or has under the same name without these functions
WITHOUT_POSIX = """
    import os, sys

    import filelock, platformdirs  # which pick their own way by the platform

    for name in ("fcntl", "resource", "pwd", "grp", "termios", "syslog"):
        sys.modules[name] = None
    for name in ("posix_fallocate", "fork", "getuid", "geteuid", "sched_getaffinity", "mkfifo"):
        delattr(os, name)
    import patchindex, sampler, cli.sampler, cli.patchindex
    import sampler.results.output, patchindex.index, patchindex.index.build, sampler.training
"""


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "results"


@pytest.fixture
def holder(folder):
    """Another process that holds the folder."""
    readable, writable = os.pipe()

    def hold():
        with locked_folder(folder):
            os.write(writable, b"held")
            signal.pause()

    process = start(hold)
    assert os.read(readable, 4) == b"held"
    yield process
    kill(process)


def test_a_held_folder_is_refused_and_its_holder_named(folder, holder):
    refused = rf"another process is writing to .*results \(process {holder} of .*\)\. Wait for"
    with pytest.raises(LockedError, match=refused), locked_folder(folder):
        pass
    assert (folder / "lock").exists()


def test_a_killed_holder_lets_go(folder):
    def take_and_die():
        with locked_folder(folder):
            os.kill(os.getpid(), signal.SIGKILL)

    assert end(start(take_and_die)) == -signal.SIGKILL
    assert (folder / "lock").exists()
    with locked_folder(folder):
        pass


def test_a_folder_is_locked_within_a_process_too(folder):
    with locked_folder(folder):
        with pytest.raises(LockedError, match="process"), locked_folder(folder):
            pass
        assert (folder / "lock").exists()
    with locked_folder(folder):
        pass


def test_a_lock_leaves_nothing_behind(folder, tmp_path):
    (tmp_path / "mine").mkdir()
    with locked_folder(folder), locked_folder(tmp_path / "mine"):
        pass
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine"]


def test_a_lock_outlives_the_removal_of_its_folder(folder):
    with locked_folder(folder):
        (folder / "lock").unlink()
        folder.rmdir()
        with locked_folder(folder):  # as the next process would
            pass
    assert not folder.exists()


def test_the_lock_of_the_next_holder_is_left_alone(folder):
    first, second = locked_folder(folder), locked_folder(folder)
    first.__enter__()
    (folder / "lock").unlink()
    folder.rmdir()
    second.__enter__()
    first.__exit__(None, None, None)
    with pytest.raises(LockedError, match="another process"), locked_folder(folder):
        pass
    second.__exit__(None, None, None)
    assert not folder.exists()


def test_holders_take_turns_where_the_folder_is_removed_each_time(folder, tmp_path):
    def take_turns():
        done = 0
        while done < 20:
            with suppress(LockedError), locked_folder(folder):
                (tmp_path / "alone").mkdir()
                (tmp_path / "alone").rmdir()
                done += 1

    processes = [start(take_turns) for _ in range(3)]
    assert [end(process) for process in processes] == [0, 0, 0]


# what the lock's own making of the folder may answer while another process removes it
@pytest.mark.parametrize("answer", [FileNotFoundError, FileExistsError])
def test_a_folder_removed_while_it_is_locked_is_made_again(folder, monkeypatch, answer):
    acquire, refused = FileLock.acquire, []

    def refuse_once(lock, *args, **options):
        if not refused:
            refused.append(lock)
            raise answer
        return acquire(lock, *args, **options)

    monkeypatch.setattr(FileLock, "acquire", refuse_once)
    with locked_folder(folder):
        assert (folder / "lock").exists()
    assert refused


@pytest.mark.parametrize("place", ["/proc/x", "file/x"])
def test_a_folder_that_cannot_be_made_is_refused_at_once(tmp_path, place):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match=r"\[Errno"), locked_folder(tmp_path / place):
        pass


@pytest.mark.slow
def test_what_windows_lacks_is_not_needed_to_import():
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(WITHOUT_POSIX)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.stderr == ""
    assert done.returncode == 0


def test_a_folder_that_cannot_be_flushed_is_passed_over(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    sync(tmp_path)

    def refuse(descriptor):
        raise OSError(22, os.strerror(22))

    monkeypatch.setattr(os, "fsync", refuse)
    sync(tmp_path)
    with pytest.raises(OSError, match="Invalid argument"):
        sync(tmp_path / "file")


@pytest.mark.parametrize("failures", [3, 10**6])
def test_a_folder_that_its_last_holder_removes_meanwhile_is_made_again(
    tmp_path, monkeypatch, failures
) -> None:
    folder, removals, taken = tmp_path / "work", [], FileLock.acquire

    def acquire(lock):
        """As the lock does if the folder goes away before the file in it is opened."""
        if len(removals) < failures:
            folder.rmdir()
            removals.append(folder)
            raise FileNotFoundError(lock.lock_file)
        taken(lock)

    monkeypatch.setattr(FileLock, "acquire", acquire)
    if failures == 3:
        with locked_folder(folder):
            assert (folder / "lock").is_file()
        assert len(removals) == 3
    else:
        with pytest.raises(FileNotFoundError), locked_folder(folder):
            pass
    assert not folder.exists()
