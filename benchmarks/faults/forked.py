"""Commands in forked copies of this process: milliseconds to start, and their deaths harm nobody.

The parent imports everything, computes nothing and starts no thread, so that its copies find torch,
OpenMP and FAISS as a fresh process would.
"""

import gc
import io
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, NoReturn

Program = Literal["patchindex", "sampler"]
MOST_SECONDS = 90.0
SIGNS_OF_A_BUG = (
    "Traceback (most recent call last)",
    "Exception ignored in",
    "Fatal Python error",
    "terminate called",
)


class Fell(Exception):  # noqa: N818 - the word of the table
    """A trial in which something was wrong, lost or ugly; the message says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a command ended.

    Attributes:
        code: its exit code; less than zero is the signal that ended it, None that it hung.
    """

    code: int | None
    out: str
    err: str
    seconds: float

    @property
    def last_words(self) -> str:
        """The end of what it told."""
        return self.err.strip()[-300:] or self.out.strip()[-300:]


def load_everything() -> None:
    """Import both command lines and draw once, so that no forked copy has to."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - only the parent of all trials pays

    from cli import patchindex, sampler  # noqa: PLC0415

    for each in (*patchindex.COMMANDS, *sampler.COMMANDS):
        each.load()
    figure = Figure()
    figure.subplots().set(title="t", xlabel="$x$", yscale="log")
    for kind in ("png", "svg"):
        figure.savefig(io.BytesIO(), format=kind)
    gc.collect()
    gc.freeze()  # else each copy's first collection writes to, and so copies, every page
    tasks = Path("/proc/self/task")
    if tasks.is_dir() and len(list(tasks.iterdir())) > 1:
        raise RuntimeError("an import has started threads, so that forked copies may hang")


@cache
def entry(program: Program) -> Callable[[list[str]], object]:
    """The function behind a command line."""
    from cli.patchindex import main as patchindex  # noqa: PLC0415 - after the threads are set
    from cli.sampler import main as sampler  # noqa: PLC0415

    return patchindex if program == "patchindex" else sampler


def command(
    program: Program,
    arguments: Sequence[str],
    where: Path,
    *,
    before: Callable[[], object] | None = None,
    meddle: Callable[[int], object] | None = None,
    most_seconds: float = MOST_SECONDS,
) -> Outcome:
    """Run `program arguments` in the folder `where`.

    Args:
        before: what the copy does first, such as lowering its limits.
        meddle: called with its process id once it runs.
    """

    def body() -> None:
        import torch  # noqa: PLC0415 - loaded by the parent

        torch.set_num_threads(1)
        if before is not None:
            before()
        entry(program)(list(arguments))

    return forked(body, where, meddle=meddle, most_seconds=most_seconds)


def forked(
    body: Callable[[], object],
    where: Path,
    *,
    meddle: Callable[[int], object] | None = None,
    most_seconds: float = MOST_SECONDS,
) -> Outcome:
    """Run `body` in a forked copy, as a program of its own: exit code, stdout and stderr."""
    said = [where / f".{name}-{time.monotonic_ns()}" for name in ("out", "err")]
    start = time.perf_counter()
    process = os.fork()
    if process == 0:
        become(body, where, said)
    if meddle is not None:
        meddle(process)
    code = ending(process, start + most_seconds)
    out, err = (path.read_text(errors="replace") if path.exists() else "" for path in said)
    for path in said:
        path.unlink(missing_ok=True)
    return Outcome(code=code, out=out, err=err, seconds=time.perf_counter() - start)


def become(body: Callable[[], object], where: Path, said: list[Path]) -> NoReturn:
    """Be the program: never returns."""
    code = 1
    try:
        os.chdir(where)
        redirect(said)
        code = exit_code(body)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def redirect(said: list[Path]) -> None:
    """Have the streams write to files and read nothing; take signals as a program does."""
    for number, (path, flags) in enumerate(
        [(Path(os.devnull), os.O_RDONLY), *((path, os.O_WRONLY | os.O_CREAT) for path in said)]
    ):
        descriptor = os.open(path, flags, 0o644)
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def exit_code(body: Callable[[], object]) -> int:
    """What Python would exit with after `body`."""
    try:
        body()
    except SystemExit as stop:
        if stop.code is None or isinstance(stop.code, int):
            return stop.code or 0
        print(stop.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def ending(process: int, deadline: float) -> int | None:
    """Exit code, or minus the signal; None if it had to be killed at the deadline."""
    while True:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.perf_counter() > deadline:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return None
        time.sleep(0.002)


def check_tidy(outcome: Outcome, name: str, *, codes: tuple[int, ...] = (0, 1)) -> bool:
    """Whether the command succeeded; False where it refused in one line.

    Raises:
        Fell: it hung, crashed, showed a traceback, or refused in no line or in several.
    """
    told = f"{outcome.err}\n{outcome.out}"
    if outcome.code is None:
        raise Fell(f"{name} hung for {outcome.seconds:.0f} s")
    if outcome.code < 0:
        raise Fell(f"{name} died of {signal.Signals(-outcome.code).name}: {outcome.last_words}")
    for sign in SIGNS_OF_A_BUG:
        if sign in told:
            raise Fell(f"{name} showed {sign.lower()!r}: {outcome.last_words}")
    if outcome.code not in codes:
        raise Fell(f"{name} ended with {outcome.code}: {outcome.last_words}")
    errors = [line for line in outcome.err.splitlines() if line.startswith("Error: ")]
    last = outcome.err.strip().rpartition("\n")[2]
    if outcome.code == 1 and errors != [last]:
        raise Fell(f"{name} refused, but not in one last line: {outcome.last_words}")
    return outcome.code == 0
