"""Bars on a terminal: with the time left, inside a step, and beside the lines of a table."""

import io
import os
import pty
import sys
from functools import partial

import pytest

from cli.console import NotedBars, bar_columns, echo_beside_bars, progress_bars, watched_bar
from patchindex.crew import LOCAL, portion


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """What a person would read on stderr; in a test's body, as pytest sets the stream before it."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def test_a_bar_counts_steps_and_parts_of_them_and_leaves_nothing(capsys, monkeypatch) -> None:
    stderr = terminal(monkeypatch)
    monkeypatch.setattr("cli.console.NotedBars", partial(NotedBars, mininterval=0))
    with watched_bar("sampling", 2):
        for number in range(2):
            with portion(number, 2):
                LOCAL.run(abs, [1, 2])
            echo_beside_bars(f"row {number}")
    shown = [part.strip() for part in stderr.getvalue().split("\r") if part.strip()]
    assert shown[0].startswith("sampling:   0%")
    assert any("0.5/2 [" in part and "left]" in part for part in shown)
    assert stderr.getvalue().rpartition("\r")[2] == ""  # the bar is gone
    assert capsys.readouterr().out == "row 0\nrow 1\n"


def test_without_a_terminal_or_with_a_cluster_there_is_no_bar(capsys, monkeypatch) -> None:
    class Elsewhere:
        """Another crew than this process."""

        size = 2

    stderr = terminal(monkeypatch)
    with watched_bar("sampling", crew=Elsewhere()):
        LOCAL.run(abs, [1, 2])
    assert stderr.getvalue() == ""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with watched_bar("sampling"):
        LOCAL.run(abs, [1, 2])
        echo_beside_bars("row")
    assert sys.stderr.getvalue() == ""
    assert capsys.readouterr().out == "row\n"


def test_a_terminal_without_columns_has_a_bar_of_usual_width() -> None:
    controller, user = pty.openpty()  # which says that it has none
    with os.fdopen(user, "w") as stream, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        assert bar_columns() == 80
    os.close(controller)


class Clock:
    """Time that passes when it is told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """The clock of lines about progress, which go to a stream that is no terminal."""
    clock = Clock()
    monkeypatch.setattr("cli.console.monotonic", clock)
    return clock


def test_without_a_terminal_a_line_now_and_then_says_what_is_left(clock, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress_bars() as tell:
        for done in range(41):  # 2 s each
            tell("calibrate", done, 40)
            clock.now += 2
        tell("els", 0.5, 40)
        clock.now += 60
        tell("els", 1, 40)
    assert sys.stderr.getvalue().splitlines() == [
        "calibrate: 20 %, about 64 s left",
        "calibrate: 40 %, about 48 s left",
        "calibrate: 60 %, about 32 s left",
        "calibrate: 80 %, about 16 s left",
        "els: 2 %, about 78 min left",
    ]


def test_what_was_done_before_counts_for_no_speed_and_little_news_for_no_line(
    clock, monkeypatch
) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress_bars() as tell:
        for done in (500, 504, 520):  # goes on with a half
            tell("train", done, 1000)
            clock.now += 100
    assert sys.stderr.getvalue().splitlines() == ["train: 52 %, about 80 min left"]


def test_lines_keep_away_from_rows_and_from_short_work(clock, capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with watched_bar("sampling", 4):
        for number in range(4):
            with portion(number, 4):
                clock.now += 10
            echo_beside_bars(f"row {number}")
    assert sys.stderr.getvalue() == ""
    with watched_bar("reading images"), portion(0, 2):
        clock.now += 30
    assert sys.stderr.getvalue() == "reading images: 50 %, about 30 s left\n"
    assert capsys.readouterr().out.count("row") == 4
