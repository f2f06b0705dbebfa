"""What a machine refuses a command is one line that names it; our bugs keep their tracebacks."""

import errno
import os
import resource
import sys
import tempfile
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner
from forked import end, ignore_threads, start

from cli import patchindex, sampler
from cli.console import Commands, format_shortage
from patchindex.errors import StoreError

pytestmark = ignore_threads


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "", "a.npy"), "a.npy: No space left on device. Free some space, or"),
        (OSError(errno.EFBIG, ""), "File too large. Raise the largest size of a file"),
        (OSError(errno.EMFILE, "", "x"), "x: Too many open files. Let this process open more"),
        (OSError(errno.EACCES, "", "x"), "x: Permission denied. Mend its permissions, or give"),
        (
            OSError(errno.EROFS, "", "x"),
            "x: Read-only file system. Give a path that can be written",
        ),
        (OSError(errno.EIO, "", b"x"), "x: Input/output error. Look after the disk"),
        (
            FileNotFoundError(errno.ENOENT, "", "/no/such"),
            "/no/such: No such file or directory. Gi",
        ),
        (
            OSError(errno.ENAMETOOLONG, "", "n" * 300),
            "n" * 40 + "..." + "n" * 20 + ": File name to",
        ),
        (MemoryError(), "there is not enough memory. Give fewer samples (--num) or images"),
        (RuntimeError("std::bad_alloc"), "there is not enough memory. "),
        (RuntimeError("could not create a primitive"), "there is not enough memory. "),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you"),
            "there is not enough mem",
        ),
        (ImportError("x.so: failed to map segment from shared object"), "there is not enough mem"),
        (RuntimeError("can't start new thread"), "no thread can be started: memory or processes"),
        (
            ValueError("embedded null byte"),
            "a path or name holds a NUL character. Give one without",
        ),
    ],
)
def test_what_ran_out_is_told_with_a_remedy(error, line):
    assert format_shortage(error).startswith(line)


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "", str(Path(sampler.__file__).parent / "lost.txt")),
        OSError(errno.EBADF, ""),
        OSError(errno.ENOENT, ""),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        ValueError("not enough memory of what was"),
        KeyError("std::bad_alloc"),
    ],
)
def test_our_own_bugs_are_none_of_the_users(error):
    assert format_shortage(error) is None


def test_a_shortage_that_a_library_reports_otherwise_is_found():
    error = KeyError("meta")
    error.__cause__ = OSError(errno.EMFILE, "", "x")
    assert format_shortage(error).startswith("x: Too many open files")
    error.__cause__, error.__context__ = None, OSError(errno.EMFILE, "", "x")
    assert format_shortage(error) is None  # which our code may have handled already


def outcome(arguments, tmp_path, prepare):
    """Exit code, stdout and stderr of a forked `patchindex` that is prepared so."""

    def work():
        for name, descriptor in (("stdout", 1), ("stderr", 2)):
            os.dup2(os.open(tmp_path / name, os.O_WRONLY | os.O_CREAT), descriptor)
            setattr(sys, name, os.fdopen(os.dup(descriptor), "w"))
        prepare()
        try:
            patchindex.main(arguments)
        except SystemExit as ended:
            sys.stdout.flush()
            os._exit(ended.code)

    code = end(start(work))
    return code, *((tmp_path / name).read_text() for name in ("stdout", "stderr"))


def full(name):
    """A stream to a device on which no room is left."""
    setattr(sys, name, os.fdopen(os.open("/dev/full", os.O_WRONLY), "w"))


def broken(name):
    """A stream whose reader is gone."""
    readable, writable = os.pipe()
    os.close(readable)
    setattr(sys, name, os.fdopen(writable, "w"))


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_closed_stream_is_no_error(tmp_path, name):
    code, out, err = outcome(["datasets"], tmp_path, lambda: setattr(sys, name, None))
    assert (code, err) == (0, "")
    assert ("cifar10" in out) == (name == "stderr")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_results_that_cannot_be_printed_are_an_error(tmp_path):
    code, _, err = outcome(["datasets"], tmp_path, lambda: full("stdout"))
    told = "Error: results cannot be printed (No space left on device). Send them elsewhere.\n"
    assert (code, err) == (1, told)


def test_a_reader_that_goes_away_ends_a_command_quietly(tmp_path):
    code, _, err = outcome(["datasets"], tmp_path, lambda: broken("stdout"))
    assert (code, err) == (1, "")


def test_few_descriptors_are_told(tmp_path):
    def lower():
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))

    code, out, err = outcome(["datasets"], tmp_path, lower)
    assert (code, out) == (1, "")
    assert err.startswith("Error: ")
    assert err.endswith(
        "Too many open files. Let this process open more files (`ulimit -n 1024`).\n"
    )


@pytest.mark.parametrize(
    "raised", [StoreError("told"), KeyError("meta"), torch.cuda.OutOfMemoryError()]
)
def test_bugs_show_where_they_are(raised):
    @click.group(cls=Commands)
    def main():
        pass

    @main.command()
    def fail():
        raise raised

    result = CliRunner().invoke(main, ["fail"])
    assert result.exit_code == 1
    assert (result.exception is raised) == isinstance(raised, KeyError)


LONG = "n" * 300


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--dataset", "sample", "--limit", 2, "--noise", LONG],
        ["run", "--dataset", f"npz:{LONG}"],
        ["run", "--dataset", f"folder:{LONG}"],
        ["run", "--dataset", LONG],
        ["run", "--index", LONG],
        ["run", "--dataset", "sample", "--limit", 2, "--scales", LONG],
        ["run", "--dataset", "sample", "--limit", 2, "--out", LONG],
        ["compare", "--dataset", "sample", "--network", LONG],
        ["explain", LONG],
        ["plot", LONG],
        ["plot", tempfile.gettempdir(), "--out", LONG],
        ["explain", "a\0b"],
        ["run", "--dataset", "npz:a\0b"],
        ["run", "--index", "a\0b"],
        ["run", "--dataset", "sample", "--limit", 2, "--out", "a\0b"],
        ["run", "--dataset", "sample", "--limit", 2, "--noise", "a\0b"],
    ],
    ids=lambda arguments: " ".join(map(str, arguments))[:40].replace("\0", "0"),
)
def test_names_that_no_file_can_have_are_one_line(arguments):
    result = CliRunner().invoke(sampler.main, [*map(str, arguments)])
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.stderr.splitlines()[-1].startswith("Error: ")
