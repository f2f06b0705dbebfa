"""Where the system starts fewer threads than were asked for, those that start do the work."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
import torch
from interruptible import start_interruptible

from patchindex.errors import KernelError
from patchindex.kernels.in_threads import in_threads
from patchindex.loaded import set_threads

# A pthread_create that starts so many threads and then fails like that of a full system.
LIMITED = r"""
    #define _GNU_SOURCE
    #include <dlfcn.h>
    #include <errno.h>
    #include <pthread.h>

    int threads_left = 1 << 30;

    int pthread_create(pthread_t* thread, const pthread_attr_t* attributes,
                       void* (*start)(void*), void* argument) {
        int (*real)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*) =
            dlsym(RTLD_NEXT, "pthread_create");
        if (__atomic_fetch_sub(&threads_left, 1, __ATOMIC_SEQ_CST) <= 0) return EAGAIN;
        return real(thread, attributes, start, argument);
    }
"""
# Everything is computed as it should be, and then with so few threads.
PROGRAM = """
    import ctypes, sys, torch
    from patchindex.geometry import PatchGeometry
    from patchindex.kernels import PairGroups, {back_end} as back_end
    torch.set_num_threads(4)
    pixels = torch.randint(0, 256, (700, 1, 6, 6), dtype=torch.uint8)
    y = torch.randn(3, 1, 6, 6)
    geometry = PatchGeometry(height=6, width=6, patch_size=3)
    groups = PairGroups(
        images=torch.arange(64).reshape(8, 8),
        image_shares=torch.arange(64, dtype=torch.int32).reshape(8, 8) // 4 % 3,
        displacement_shares=torch.arange(121, dtype=torch.int32).reshape(11, 11) % 3,
    )
    threads_left = ctypes.c_int.in_dll(ctypes.CDLL(None), "threads_left")
    entries = (
        lambda: back_end.exact_scan(pixels, y, 0.6, geometry),
        lambda: back_end.exact_scan(pixels, y, 0.6, geometry, groups),
    )
    for entry in entries:
        expected = entry()
        for left in (3, 1, 0):
            threads_left.value = left
            found = entry()
            assert left or threads_left.value < 0, "no thread was refused"
            for name in ("log_max", "sum_w", "sum_wc", "sum_w2", "num_scored"):
                assert torch.equal(getattr(found, name), getattr(expected, name)), name
            threads_left.value = 2**30
    print("the same", flush=True)
"""
# No thread can start, so that the scan, which takes minutes, is the caller's own work.
INTERRUPTED = """
    many = torch.zeros(200000, 1, 32, 32, dtype=torch.uint8)
    wide = PatchGeometry(height=32, width=32, patch_size=3)
    threads_left.value = 0
    print("ready", flush=True)
    try:
        back_end.exact_scan(many, torch.zeros(4, 1, 32, 32), 1.0, wide)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


@pytest.fixture(scope="module")
def limited(tmp_path_factory) -> Path:
    """The library that refuses threads."""
    compiler = shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs gcc and a linker that preloads libraries")
    folder = tmp_path_factory.mktemp("limited")
    source, library = folder / "limited.c", folder / "limited.so"
    source.write_text(LIMITED)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


def environment(library: Path) -> dict[str, str]:
    """Of a process that the library is loaded into, beside what is loaded already."""
    loaded = os.environ.get("LD_PRELOAD", "")
    return os.environ | {
        "LD_PRELOAD": f"{loaded} {library}".strip(),
        # OpenMP ends the process where a thread does not start: torch's operations stay alone
        "OMP_NUM_THREADS": "1",
    }


@pytest.mark.slow
@pytest.mark.parametrize("back_end", ["native_backend", "torch_scan"])
def test_fewer_threads_than_asked_for_compute_the_same_until_ctrl_c(limited, back_end):
    native = back_end == "native_backend"
    if native:
        pytest.importorskip("patchindex.kernels._native")
    program = PROGRAM.format(back_end=back_end) + (INTERRUPTED if native else "")
    process = start_interruptible(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(limited),
    )
    try:
        if native:
            while process.stdout.readline() not in ("ready\n", ""):
                continue
            threading.Event().wait(0.5)
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=100)
    finally:
        process.kill()  # or a scan that did not stop would go on for minutes
    assert out == ("interrupted\n" if native else "the same\n"), err


def test_in_threads_returns_results_in_the_order_of_the_items():
    assert in_threads(lambda item: item * 2, range(50)) == list(range(0, 100, 2))
    assert in_threads(str, []) == []


def test_in_threads_raises_what_the_work_raised_and_begins_no_further_item():
    begun: list[int] = []

    def work(item: int) -> None:
        begun.append(item)
        if item == 3:
            raise ZeroDivisionError("item 3")

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        with pytest.raises(ZeroDivisionError, match="item 3"):
            in_threads(work, range(50))
    finally:
        torch.set_num_threads(before)
    assert begun == [0, 1, 2, 3]


def test_in_threads_leaves_torchs_number_of_threads_as_it_was():
    before = torch.get_num_threads()
    assert in_threads(lambda _: torch.get_num_threads(), range(4)) == [1] * 4
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("count", [-(10**30), -1, 0, 2**31, 10**30])
def test_numbers_of_threads_that_no_machine_has_are_refused_in_one_line(count):
    before = torch.get_num_threads()
    with pytest.raises(
        KernelError, match=rf"threads is {count}\. Give 1\.\.\d+; more than"
    ) as told:
        set_threads(count)
    assert "\n" not in str(told.value)
    assert torch.get_num_threads() == before
