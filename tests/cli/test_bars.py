"""Bars on a terminal: with the time left, inside a step, and beside the lines of a table."""

import io
import os
import pty
import sys
from functools import partial

import pytest

from cli.console import NotedBars, bar_columns, echo_beside_bars, watched_bar
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
