"""Signals: the first is noted, the second ends the process, and ignored ones stay ignored."""

import signal
import subprocess
import sys

import pytest
from interruptible import start_interruptible

from cli.console import noted_signals

WAITING = """
from time import sleep
from cli.console import noted_signals
with noted_signals() as signals:
    print("ready", flush=True)
    while True:
        if signals:
            print("noted", flush=True)
            signals.clear()
        sleep(0.01)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_noted_and_the_old_handlers_come_back(number: signal.Signals) -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    with noted_signals() as signals:
        assert not signals
        signal.raise_signal(number)
        assert signals == [number]
    assert {each: signal.getsignal(each) for each in before} == before


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with noted_signals() as signals:
            signal.raise_signal(signal.SIGTERM)
            assert not signals
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "second"),
    [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGINT)],
)
def test_a_second_signal_ends_the_process(first: signal.Signals, second: signal.Signals) -> None:
    process = start_interruptible([sys.executable, "-c", WAITING], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(first)
        assert process.stdout.readline() == "noted\n"
        process.send_signal(second)
        assert process.wait() == -second
