"""What a command tells its user: errors in one line, logs and progress on stderr."""

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import click
import torch
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from patchindex import UserError

PACKAGES = ("patchindex", "sampler", "cli")
INTERRUPTED = 130
MAKE_ROOM = (
    "Lower --device-memory, so that less stays there; then the number of samples (--num), where "
    "there is one; or give --device cpu."
)


class Commands(click.Group):
    """A command group whose users see one line where they erred, and our bugs as tracebacks."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; exit code 1 after a user's error, 130 after Ctrl-C."""
        log_to_stderr()
        if isinstance(sys.stdout, io.TextIOWrapper):  # names of files that are not UTF-8 pass
            sys.stdout.reconfigure(errors="surrogateescape")
        try:
            return super().invoke(ctx)
        except UserError as error:
            raise click.ClickException(one_line(str(error))) from error
        except RuntimeError as error:
            if not is_full_gpu(error):
                raise
            raise click.ClickException(one_line(f"{what_was_full(error)} {MAKE_ROOM}")) from error
        except click.UsageError as error:
            error.show()
            ctx.exit(1)  # not click's 2: all that a user can mend ends alike
        except KeyboardInterrupt:
            click.echo("\nInterrupted.", err=True)
            ctx.exit(INTERRUPTED)


def is_full_gpu(error: RuntimeError) -> bool:
    """Whether torch, CUDA itself or FAISS found no room on the GPU."""
    told = str(error).lower()
    full = "out of memory" in told and "cuda" in told
    return full or isinstance(error, torch.cuda.OutOfMemoryError)


def what_was_full(error: RuntimeError) -> str:
    """The first sentences of the message, which say how much was wanted and what there was."""
    known, _, _ = str(error).partition("\n")[0].partition(" Including ")
    return f"the GPU's memory is full ({known.strip().rstrip('.')})."


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
