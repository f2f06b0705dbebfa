"""What a command tells its user: errors in one line, logs and progress on stderr."""

import errno
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Protocol, TextIO

import click
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from cli.shortages import told_shortage
from patchindex import UserError

PACKAGES = ("patchindex", "sampler", "cli")
INTERRUPTED = 130


class Commands(click.Group):
    """A command group whose users see one line where they erred, and our bugs as tracebacks."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; exit code 1 after a user's error, 130 after Ctrl-C."""
        open_streams()
        log_to_stderr()
        try:
            return super().invoke(ctx)
        except UserError as error:
            raise click.ClickException(one_line(str(error))) from error
        except click.UsageError as error:
            error.show()
            ctx.exit(1)  # not click's 2: all that a user can mend ends alike
        except KeyboardInterrupt:
            click.echo("\nInterrupted.", err=True)
            ctx.exit(INTERRUPTED)
        except Exception as error:
            told = told_failure(error)
            if told is None:
                raise
            raise click.ClickException(one_line(told)) from error


def told_failure(error: Exception) -> str | None:
    """What the user can mend of an error; None if it is our bug, or the reader went away."""
    if isinstance(error, OSError) and error.errno == errno.EPIPE:
        return None  # click ends quietly
    try:
        sys.stdout.flush()
    except OSError as refused:
        sys.stdout = nowhere()  # or the interpreter tries once more as it ends
        return f"results cannot be printed ({refused.strerror}). Send them elsewhere."
    return told_shortage(error)


def open_streams() -> None:
    """Print nowhere where a stream is closed, and any name of a file where it is open."""
    sys.stdout, sys.stderr = sys.stdout or nowhere(), sys.stderr or nowhere()
    if isinstance(sys.stdout, TextIOWrapper):  # names of files that are not UTF-8 pass
        sys.stdout.reconfigure(errors="surrogateescape")


def nowhere() -> TextIO:
    """A stream that takes everything."""
    return Path(os.devnull).open("w", encoding="utf-8")


def one_line(message: str) -> str:
    """The message without line breaks."""
    return " ".join(message.split())


def log_to_stderr(level: int = logging.INFO) -> None:
    """Show our packages' log records on stderr, and only there."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    for name in PACKAGES:
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.handlers = [handler]


@contextmanager
def resumable(hint: str) -> Iterator[None]:
    """After Ctrl-C, tell the user how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(f"\n{hint}", err=True)
        raise


@contextmanager
def progress_bars() -> Iterator["SteppedProgress"]:
    """A callback for long work: a bar for each stage on a terminal, else a line for each."""
    if not sys.stderr.isatty():
        yield StageLines()
        return
    bars = StageBars()
    with logging_redirect_tqdm([logging.getLogger(name) for name in PACKAGES]):
        try:
            yield bars
        finally:
            bars.close()


class SteppedProgress(Protocol):
    """A progress callback that can show a word beside the numbers."""

    def __call__(self, stage: str, done: int, total: int, /) -> None:
        """Report that `done` of `total` steps of `stage` are done."""

    def note(self, text: str) -> None:
        """Show the text from now on, where there is room for it."""


class StageLines:
    """Names each stage once."""

    def __init__(self) -> None:
        self.stage = ""

    def __call__(self, stage: str, _done: int, _total: int) -> None:
        """Report a step of `stage`."""
        if stage != self.stage:
            self.stage = stage
            click.echo(stage, err=True)

    def note(self, text: str) -> None:
        """Show nothing: there is no room beside a stage's name."""


class StageBars:
    """Shows one bar at a time."""

    def __init__(self) -> None:
        self.bar: tqdm[Any] | None = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Report that `done` of `total` steps of `stage` are done."""
        if self.bar is None or self.bar.desc != stage:
            self.close()
            self.bar = tqdm(desc=stage, total=total, file=sys.stderr, leave=False)
            self.bar.desc = stage
        self.bar.update(done - self.bar.n)

    def note(self, text: str) -> None:
        """Show the text behind the bar."""
        if self.bar is not None:
            self.bar.set_postfix_str(text)

    def close(self) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
