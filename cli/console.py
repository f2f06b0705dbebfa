"""What commands tell their user: errors in one line, logs, progress; and signals that end them."""

import errno
import logging
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Any, Protocol, TextIO

import click

from patchindex.crew import LOCAL, Crew, watched
from patchindex.errors import UserError
from patchindex.progress import StageBars, format_duration
from patchindex.shortage import is_full_gpu, is_full_memory, is_without_threads

MAKE_ROOM = (
    "Lower --device-memory, so that less stays there; then the number of samples (--num), where "
    "there is one; or give --device cpu."
)
LESS_WORK = "Give fewer samples (--num) or images (--limit), or raise the limit of this process."
NUL = ("embedded null byte", "embedded null character")
REMEDIES = {
    errno.ENOSPC: "Free some space, or give another --out.",
    errno.EDQUOT: "Free some space, or give another --out.",
    errno.EFBIG: "Raise the largest size of a file for this process (`ulimit -f unlimited`).",
    errno.EMFILE: "Let this process open more files (`ulimit -n 1024`).",
    errno.ENFILE: "Close other programs, or let the system open more files.",
    errno.ENOMEM: LESS_WORK,
    errno.EACCES: "Mend its permissions, or give another path.",
    errno.EPERM: "Mend its permissions, or give another path.",
    errno.EROFS: "Give a path that can be written to.",
    errno.ENAMETOOLONG: "Give a shorter one.",
    errno.ELOOP: "Give a path whose links lead somewhere.",
    errno.EIO: "Look after the disk, or give another path.",
}
# these are the user's only of a path that is not ours
OF_A_PATH = {
    errno.ENOENT: "Give a path that exists.",
    errno.ENOTDIR: "Give a path that exists.",
    errno.EISDIR: "Give the path of a file.",
}
OURS = tuple(
    Path(__file__).resolve().parents[1] / name for name in ("patchindex", "sampler", "cli")
)
LONGEST = 80


def format_shortage(error: BaseException) -> str | None:
    """What was refused and what to do; None if the error is none of the user's."""
    for each in chain(error):
        if isinstance(each, OSError) and (told := format_refusal(each)):
            return told
        if is_full_gpu(each):
            return f"{what_was_full(each)} {MAKE_ROOM}"
        if is_full_memory(each):
            return f"there is not enough memory. {LESS_WORK}"
        if is_without_threads(each):
            return f"no thread can be started: memory or processes are too few. {LESS_WORK}"
        if isinstance(each, ValueError) and str(each).startswith(NUL):
            return "a path or name holds a NUL character. Give one without."
    return None


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and those that it is said to have come of."""
    while error is not None:
        yield error
        error = error.__cause__


def format_refusal(error: OSError) -> str | None:
    """What the operating system refused; None where it may be our own bug."""
    remedy = REMEDIES.get(error.errno or 0)
    name = None if error.filename is None else os.fsdecode(error.filename)
    if remedy is None and name is not None and not is_ours(name):
        remedy = OF_A_PATH.get(error.errno or 0)
    if remedy is None:
        return None
    where = "" if name is None else f"{shortened(name)}: "
    return f"{where}{os.strerror(error.errno or 0)}. {remedy}"


def is_ours(name: str) -> bool:
    """Whether a path lies in this installation, whose files no user names."""
    return any(Path(name).absolute().is_relative_to(folder) for folder in OURS)


def shortened(name: str) -> str:
    """A path that fits into a line."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST // 2]}...{name[-LONGEST // 4 :]}"


def what_was_full(error: BaseException) -> str:
    """The first sentences of the message, which say how much was wanted and what there was."""
    known, _, _ = str(error).partition("\n")[0].partition(" Including ")
    return f"the GPU's memory is full ({known.strip().rstrip('.')})."


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


USUAL_COLUMNS = 80
LINE_SECONDS, LINE_SHARE = 15, 0.01  # at least, between two lines of progress
PACKAGES = ("patchindex", "sampler", "cli")
MISTAKEN, INTERRUPTED = 1, 130
BEGAN = "cli.began"  # of a context: when its command did


class Commands(click.Group):
    """A command group whose users see one line where they erred, and our bugs as tracebacks."""

    def make_context(self, *args: Any, **settings: Any) -> click.Context:
        """See `click.Command`; exit code 1 after what cannot be read."""
        with read_or_mistaken():
            return super().make_context(*args, **settings)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; exit code 1 after a user's error, 130 after Ctrl-C."""
        open_streams()
        log_to_stderr()
        ctx.meta[BEGAN] = monotonic()
        try:
            with read_or_mistaken():
                return super().invoke(ctx)
        except UserError as error:
            raise click.ClickException(one_line(str(error))) from error
        except KeyboardInterrupt:
            click.echo("\nInterrupted.", err=True)
            ctx.exit(INTERRUPTED)
        except Exception as error:
            told = format_failure(error)
            if told is None:
                raise
            raise click.ClickException(one_line(told)) from error


def seconds_so_far() -> float:
    """Since the command began: libraries are loaded and pictures drawn in this time, too."""
    began: float = click.get_current_context().meta[BEGAN]
    return monotonic() - began


@contextmanager
def read_or_mistaken() -> Iterator[None]:
    """End a mistake on the command line as all that a user can mend, not with click's code 2."""
    try:
        yield
    except click.UsageError as error:
        error.show()
        raise click.exceptions.Exit(MISTAKEN) from error


def format_failure(error: Exception) -> str | None:
    """What the user can mend of an error; None if it is our bug, or the reader went away."""
    if isinstance(error, OSError) and error.errno == errno.EPIPE:
        return None  # click ends quietly
    try:
        sys.stdout.flush()
    except OSError as refused:
        sys.stdout = nowhere()  # or the interpreter tries once more as it ends
        return f"results cannot be printed ({refused.strerror}). Send them elsewhere."
    return format_shortage(error)


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


def echo_lines(lines: Iterable[str]) -> None:
    """Print results."""
    for line in lines:
        click.echo(line)


def echo_json(result: Any) -> None:
    """Print a result as its file has it."""
    from sampler.results.json_files import json_text  # noqa: PLC0415 - imports pydantic

    click.echo(json_text(result), nl=False)


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
    """A callback for long work: a bar for each stage on a terminal, else a line now and then."""
    if not sys.stderr.isatty():
        yield StageLines()
        return
    from tqdm import tqdm  # noqa: PLC0415 - half a second
    from tqdm.contrib.logging import logging_redirect_tqdm  # noqa: PLC0415

    bars = NotedBars(tqdm, file=sys.stderr, leave=False, ncols=bar_columns())
    with logging_redirect_tqdm([logging.getLogger(name) for name in PACKAGES]):
        try:
            yield bars
        finally:
            bars.close()


def bar_columns() -> int | None:
    """How wide a bar is; None leaves that to the bar.

    Terminals in containers and of `script` may say that they have no column at all, in which no bar
    would be seen.
    """
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or USUAL_COLUMNS
    except (OSError, ValueError):
        return None


@contextmanager
def watched_bar(stage: str, total: int = 1, *, crew: Crew = LOCAL) -> Iterator[None]:
    """A bar for the work within that the machines tell of, or lines; see `progress_bars`.

    Args:
        total: of what is counted on the bar; 1 for nothing.
        crew: who does the work; a cluster's shows units on a bar of its own.
    """
    if sys.stderr.isatty() and crew is not LOCAL:
        yield
        return
    with progress_bars() as tell, watched(lambda share: tell(stage, share * total, total)):
        tell(stage, 0, total)
        yield


def echo_beside_bars(line: str) -> None:
    """Print a line of a table at once, above the bar if there is one."""
    if "tqdm" not in sys.modules:
        click.echo(line)
    else:
        from tqdm import tqdm  # noqa: PLC0415

        with tqdm.external_write_mode(file=sys.stdout):
            click.echo(line)
    sys.stdout.flush()
    StageLines.told_at = monotonic()


class SteppedProgress(Protocol):
    """A progress callback that can show a word beside the numbers."""

    def __call__(self, stage: str, done: float | int, total: int, /) -> None:
        """Report that `done` of `total` steps of `stage` are done, and perhaps part of another."""

    def note(self, text: str) -> None:
        """Show the text from now on, where there is room for it."""


class StageLines:
    """Tells in a line how much of a stage is done, where the last line was some time ago.

    Attributes:
        told_at: when anything was printed of the work in hand, rows of tables included.
    """

    told_at = 0.0

    def __init__(self) -> None:
        self.stage = ""
        self.began = StageLines.told_at = monotonic()
        self.share_at_first = self.told_share = 0.0

    def __call__(self, stage: str, done: float | int, total: int) -> None:
        """Report that `done` of `total` steps of `stage` are done, some perhaps before it began."""
        now, share = monotonic(), done / max(total, 1)
        if stage != self.stage:
            self.stage, self.began = stage, now
            self.share_at_first = self.told_share = share
        if now < StageLines.told_at + LINE_SECONDS or share >= 1:
            return
        if share < self.told_share + LINE_SHARE:  # work of hours has a hundred lines at most
            return
        StageLines.told_at, self.told_share = now, share
        left = (now - self.began) * (1 - share) / (share - self.share_at_first)
        click.echo(f"{stage}: {100 * share:.0f} %, about {format_duration(left)} left", err=True)

    def note(self, text: str) -> None:
        """Show nothing: losses have lines of their own."""


class NotedBars(StageBars):
    """Shows one bar at a time, and words behind it."""

    def note(self, text: str) -> None:
        """Show the text behind the bar."""
        if self.bar is not None:
            self.bar.set_postfix_str(text)
