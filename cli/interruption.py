"""Signals that ask a command to end, noted so that it can save its work first."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def noted_signals() -> Iterator[list[int]]:
    """The SIGINT or SIGTERM that came, in a list that is empty until then.

    The first signal is only noted. A second one ends the process at once, as the system would,
    in the middle of a long computation too. Signals that the process was told to ignore, as
    jobs in the background are of Ctrl-C, are ignored still.
    """
    received: list[int] = []
    heeded = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        for each in heeded:
            signal.signal(each, signal.SIG_DFL)

    before = {number: signal.signal(number, note) for number in heeded}
    try:
        yield received
    finally:
        for number, handler in before.items():
            # None: it was not set from Python, and cannot be set again from here
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
