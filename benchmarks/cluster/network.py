"""Hosts in network namespaces, joined by a switch that delays, loses, cuts and counts.

Each host has a network of its own; processors, memory and files are shared. Kernels without netem
are common, so frames pass through a thread of this process, at about a gigabit a second.
"""

import fcntl
import os
import random
import shutil
import struct
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from select import select
from threading import Thread
from time import perf_counter
from typing import Any

TUN = Path("/dev/net/tun")
TUNSETIFF, TAP_WITHOUT_HEADER = 0x400454CA, 0x1002
FRAME, AT_ONCE = 2**16, 64
NO_IPV6 = (b"\x08\x00", b"\x08\x06")  # types of IPv4 and ARP
PATIENCE = 10  # seconds for a process to end


def why_not() -> str | None:
    """Why there can be no hosts here; None if there can."""
    if not sys.platform.startswith("linux"):
        return "hosts in network namespaces need Linux."
    if os.geteuid() != 0:
        return "hosts in network namespaces need root."
    if shutil.which("ip") is None or not TUN.exists():
        return f"hosts in network namespaces need `ip` (iproute2) and {TUN}."
    return None


class Network:
    """Some hosts; `hosts` makes it.

    Attributes:
        delay: seconds that each frame waits, one way.
        loss: share of frames that vanish.
        cut: hosts from and to which nothing passes.
        sent: bytes of frames by host of origin and destination.
    """

    def __init__(self, names: Sequence[str], stack: ExitStack) -> None:
        self.delay, self.loss = 0.0, 0.0
        self.cut: set[str] = set()
        self.sent: Counter[tuple[str, str]] = Counter()
        self._names, self._ended = list(names), False
        self._random = random.Random(0)  # noqa: S311 - frames that vanish are no secret
        self._waiting: deque[tuple[float, int, bytes]] = deque()
        self._stack = stack
        self._devices = [self._plug_in(number) for number in range(len(names))]
        thread = Thread(target=self._switch, daemon=True)
        thread.start()
        stack.callback(thread.join)
        stack.callback(setattr, self, "_ended", True)

    def address(self, name: str) -> str:
        """Of a host."""
        return f"10.77.0.{self._names.index(name) + 1}"

    def start(self, name: str, command: Sequence[str], **how: Any) -> "subprocess.Popen[str]":
        """Start a process on a host; it is killed at the end if it has not ended."""
        inside = ["ip", "netns", "exec", self._space(name), *command]
        process = subprocess.Popen(inside, text=True, start_new_session=True, **how)  # noqa: S603
        self._stack.callback(_end, process)
        return process

    def _space(self, name: str) -> str:
        return f"patchindex-{os.getpid()}-{name}"

    def _plug_in(self, number: int) -> int:
        """A namespace whose network device is a file of this process."""
        space, device = self._space(self._names[number]), f"px{os.getpid()}-{number}"
        _ip("netns", "add", space)
        self._stack.callback(_ip, "netns", "del", space)
        file = os.open(TUN, os.O_RDWR | os.O_NONBLOCK)
        self._stack.callback(os.close, file)
        fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH22x", device.encode(), TAP_WITHOUT_HEADER))
        _ip("link", "set", device, "address", f"02:00:00:00:00:{number:02x}", "netns", space)
        _ip("-n", space, "addr", "add", f"10.77.0.{number + 1}/24", "dev", device)
        _ip("-n", space, "link", "set", device, "txqueuelen", "10000", "up")
        _ip("-n", space, "link", "set", "lo", "up")
        return file

    def _switch(self) -> None:
        """Pass frames on until the end."""
        while not self._ended:
            wait = max(0, self._waiting[0][0] - perf_counter()) if self._waiting else 0.1
            for file in select(self._devices, [], [], wait)[0]:
                with suppress(BlockingIOError):
                    for _ in range(AT_ONCE):
                        self._take(self._devices.index(file), os.read(file, FRAME))
            while self._waiting and self._waiting[0][0] <= perf_counter():
                _, to, frame = self._waiting.popleft()
                with suppress(OSError):  # its queue is full: that frame is lost
                    os.write(self._devices[to], frame)

    def _take(self, origin: int, frame: bytes) -> None:
        """Let a frame wait for its delivery, or not."""
        if frame[12:14] not in NO_IPV6:
            return
        number = frame[5]  # the last byte of the address
        to = [number] if number < len(self._names) else range(len(self._names))
        for goal in to:
            pair = self._names[origin], self._names[goal]
            if goal == origin or self.cut.intersection(pair) or self._random.random() < self.loss:
                continue
            self.sent[pair] += len(frame)
            self._waiting.append((perf_counter() + self.delay, goal, frame))


@contextmanager
def hosts(names: Sequence[str]) -> Iterator[Network]:
    """A network of so many hosts, until the end of the block; it needs root."""
    with ExitStack() as stack:
        yield Network(names, stack)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)  # noqa: S603, S607


def _end(process: "subprocess.Popen[str]") -> None:
    """Kill a process and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, 9)
    process.wait(PATIENCE)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
