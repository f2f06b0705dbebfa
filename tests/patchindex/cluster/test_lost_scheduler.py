"""What is said of a scheduler that goes away: one line, and not Dask's own."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

import pytest

from patchindex.cluster import connect
from patchindex.errors import ClusterError

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[3]


@contextmanager
def process(*module: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A module that runs until the end of the block."""
    started = subprocess.Popen(
        [sys.executable, "-m", *module], cwd=REPOSITORY, stderr=subprocess.DEVNULL
    )
    try:
        yield started
    finally:
        started.terminate()
        started.wait()


@pytest.mark.parametrize("meanwhile", [True, False])
def test_a_lost_scheduler_is_one_line_that_says_what_to_do(meanwhile: bool) -> None:
    """Whether units are worked on, or the next ones are handed out."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    address = f"tcp://127.0.0.1:{port}"
    where = ("--no-dashboard", "--dashboard-address", "127.0.0.1:0", "--host", "127.0.0.1")
    with (
        process("distributed.cli.dask_scheduler", *where, "--port", port) as scheduler,
        process("cli.patchindex", "worker", "--cluster", address, "--threads", "1"),
        connect(address) as crew,
    ):
        for _ in range(20):  # until the scheduler listens
            try:
                socket.create_connection(("127.0.0.1", int(port))).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.5)
        crew.admit()
        crew.begin("step 3 of 20")
        if meanwhile:
            Timer(1, scheduler.kill).start()
        else:
            scheduler.kill()
            scheduler.wait()
        with pytest.raises(ClusterError, match="the scheduler was lost in step 3 of 20"):
            crew.run(time.sleep, [10, 10])
