"""Who does the units that a computation is cut into: this process, or the workers of a cluster.

A unit is worked on by a pure function: what it returns depends on its arguments alone, so that a
unit may be done anywhere, and again where a machine was lost. How a computation is cut may depend
on the crew; what comes out may not, which is why sums merge along a fixed tree.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from patchindex.progress import BarClass, is_bar_class, telling

Result = TypeVar("Result")

# Called with the share of the work in hand that is done, from 0 to 1.
ShareCallback = Callable[[float], None]
_tell: ContextVar[ShareCallback | None] = ContextVar("tell", default=None)


@contextmanager
def watched(tell: ShareCallback | BarClass, stage: str = "working") -> Iterator[None]:
    """Within, `tell` learns how far the work in hand is, in rising shares, or a bar shows it.

    Args:
        tell: called with shares, or a class of bars such as tqdm's.
        stage: what the bar is called.

    Example:
        >>> with watched(lambda share: print(f"{share:.0%}")):
        ...     machine.denoise(y, 0.5)
        >>> with watched(tqdm):
        ...     ImageSet.load("folder:photos", resolution=64)
    """
    if is_bar_class(tell):
        with telling(tell) as bar, watched(lambda share: bar(stage, share, 1)):
            bar(stage, 0, 1)
            yield
        return
    highest = 0.0

    def rising(share: float) -> None:
        nonlocal highest
        if share > highest:  # work may be done in several passes, each of which begins at 0
            highest = share
            tell(share)

    before = _tell.set(rising)
    try:
        yield
    finally:
        _tell.reset(before)


@contextmanager
def unwatched() -> Iterator[None]:
    """Within is done what is no part of the work that is watched."""
    with watched(lambda _share: None):
        yield


def tell_share(share: float) -> None:
    """Say how much of the work in hand is done, to whoever watches."""
    if tell := _tell.get():
        tell(share)


@contextmanager
def portion(number: int, total: int) -> Iterator[None]:
    """Within is done the work of this number, from 0, of so many in a row, all about as long."""
    tell = _tell.get()
    if tell is None:
        yield
        return
    with watched(lambda share: tell((number + share) / total)):
        yield
    tell((number + 1) / total)


@dataclass(frozen=True, slots=True, kw_only=True)
class CrewReport:
    """The workers of a cluster.

    Attributes:
        workers: how many there are now.
        lost: names of those that went away.
        kernels, devices: of all that there were; of more than one kind if they are mixed.
    """

    workers: int
    lost: tuple[str, ...]
    kernels: tuple[str, ...]
    devices: tuple[str, ...]


@runtime_checkable
class Crew(Protocol):
    """Who does the units."""

    @property
    def size(self) -> int:
        """Units that are done at the same time."""
        ...

    @property
    def memory(self) -> int | None:
        """Bytes that the smallest worker has; None where that does not matter."""
        ...

    def begin(self, stage: str) -> None:
        """Name what the next units are for, in messages."""
        ...

    def admit(self, index: Any = None, *, folder: Path | None = None) -> None:
        """Let those serve who find an index and share a folder with this process.

        Raises:
            UserError: somebody cannot.
        """
        ...

    def shares(self, folder: Path) -> bool:
        """Whether all see this folder; then only those serve who do."""
        ...

    def report(self) -> "CrewReport | None":
        """Who serves; None for this process alone."""
        ...

    def run(self, work: Callable[..., Result], units: Sequence[Any], *shared: Any) -> list[Result]:
        """`[work(unit, *shared) for unit in units]`.

        Args:
            work: a pure function of a module, whose arguments and result can be pickled.
            units: the crew keeps those at one place of equally long sequences to one worker.
            shared: what every unit needs; it is sent to each worker once.
        """
        ...


class ThisProcess:
    """Units are done one after another in this process, each on all its threads."""

    size = 1
    memory = None

    def begin(self, stage: str) -> None:
        """Nothing is said."""

    def admit(self, index: Any = None, *, folder: Path | None = None) -> None:
        """This process finds what it has."""

    def shares(self, folder: Path) -> bool:  # noqa: ARG002 - as above
        """It does."""
        return True

    def report(self) -> "CrewReport | None":
        """There is no other."""
        return None

    def run(self, work: Callable[..., Result], units: Sequence[Any], *shared: Any) -> list[Result]:
        """See `Crew.run`."""
        results = []
        for number, unit in enumerate(units):
            with portion(number, len(units)):
                results.append(work(unit, *shared))
        return results


LOCAL: Crew = ThisProcess()
