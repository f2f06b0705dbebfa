"""The benchmark of clusters: equal bits, and a network that does what it is told."""

import subprocess
import sys
from pathlib import Path
from time import perf_counter

import pytest
from small_index import build_small

from benchmarks.cluster import network
from benchmarks.cluster.crews import crew_rows
from benchmarks.cluster.network import hosts, why_not
from benchmarks.cluster.work import Work

CONNECT = """
import socket, sys
with socket.create_connection((sys.argv[1], 5000), timeout=1) as there:
    there.sendall(b"x" * int(sys.argv[2]))
    there.shutdown(socket.SHUT_WR)
    there.settimeout(10)
    there.recv(1)
"""
LISTEN = """
import socket, sys
with socket.create_server((sys.argv[1], 5000)) as server:
    print("listening", flush=True)
    while True:
        with server.accept()[0] as there:
            while there.recv(2**16):
                pass
"""


@pytest.mark.slow
def test_all_crews_do_the_same_works_with_the_same_bits(tmp_path: Path) -> None:
    index = build_small(tmp_path / "small.zarr")
    works = [
        (
            "small",
            Work(index=str(index.path), exact=exact, num=2, patch_size=3, steps=3, first=2),
        )
        for exact in (False, True)
    ]
    rows = list(crew_rows(works, (2,), tmp_path))
    assert [row["same_bits"] for row in rows] == [True, True]
    for row in rows:
        here, two = row["crews"]
        assert (here["workers"], two["workers"]) == (0, 2)
        assert here["more_seconds"] == 0
        assert len(two["seconds"]) == 2


def test_without_linux_or_root_one_line_says_so(monkeypatch) -> None:
    monkeypatch.setattr(network.os, "geteuid", lambda: 1000)
    assert "root" in (why_not() or "")
    monkeypatch.setattr(network.sys, "platform", "darwin")
    assert "Linux" in (why_not() or "")


@pytest.mark.slow
@pytest.mark.skipif(why_not() is not None, reason="needs Linux, root and /dev/net/tun")
def test_frames_are_counted_delayed_and_cut() -> None:
    with hosts(("a", "b")) as joined:
        address = joined.address("b")
        listening = joined.start(
            "b", [sys.executable, "-c", LISTEN, address], stdout=subprocess.PIPE
        )
        assert listening.stdout is not None
        assert listening.stdout.readline() == "listening\n"

        def connected(num_bytes: int) -> tuple[int, float]:
            start = perf_counter()
            command = [sys.executable, "-c", CONNECT, address, str(num_bytes)]
            done = joined.start("a", command, stderr=subprocess.DEVNULL).wait(30)
            return done, perf_counter() - start

        assert connected(10**6)[0] == 0
        assert 1e6 < joined.sent["a", "b"] < 1.2e6
        assert joined.sent["b", "a"] < 2e5
        usual = connected(1)[1]
        joined.delay = 0.3
        done, seconds = connected(1)
        assert done == 0
        assert seconds > usual + 0.9  # there and back for the greeting, and for the goodbye
        joined.delay, joined.cut = 0.0, {"b"}
        assert connected(1)[0] != 0
