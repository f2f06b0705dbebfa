"""Who does the units that a computation is cut into: this process, or the workers of a cluster.

A unit is worked on by a pure function: what it returns depends on its arguments alone, so that a
unit may be done anywhere, and again where a machine was lost. How a computation is cut may depend
on the crew; what comes out may not, which is why sums merge along a fixed tree.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

Result = TypeVar("Result")


@runtime_checkable
class Crew(Protocol):
    """Who does the units.

    Attributes:
        size: units that are done at the same time.
    """

    @property
    def size(self) -> int:
        """Units that are done at the same time."""
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

    def run(self, work: Callable[..., Result], units: Sequence[Any], *shared: Any) -> list[Result]:
        """`[work(unit, *shared) for unit in units]`.

        Args:
            work: a pure function of a module, whose arguments and result can be pickled.
            units: done in any order, by whoever serves.
            shared: what every unit needs; it is sent to each worker once.
        """
        ...


class ThisProcess:
    """Units are done one after another in this process, each on all its threads."""

    size = 1

    def begin(self, stage: str) -> None:
        """Nothing is said."""

    def admit(self, index: Any = None, *, folder: Path | None = None) -> None:
        """This process finds what it has."""

    def shares(self, folder: Path) -> bool:  # noqa: ARG002 - as above
        """It does."""
        return True

    def run(self, work: Callable[..., Result], units: Sequence[Any], *shared: Any) -> list[Result]:
        """See `Crew.run`."""
        return [work(unit, *shared) for unit in units]


LOCAL: Crew = ThisProcess()
