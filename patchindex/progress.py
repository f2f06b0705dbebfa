"""How long work tells what it has done: through a callback that a command line turns into a bar."""

from collections.abc import Callable

# Called with the name of a stage, how much of it is done, and how much there is to do.
ProgressCallback = Callable[[str, int, int], None]


def no_progress(stage: str, done: int, total: int) -> None:
    """Tell nobody."""


class LocalProgress:
    """A callback as part of a unit's work: it is called in this process, and nowhere else.

    A crew of other processes tells of finished units instead.
    """

    def __init__(self, tell: ProgressCallback = no_progress) -> None:
        self._tell = tell

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Pass it on."""
        self._tell(stage, done, total)

    def __reduce__(self) -> tuple[type["LocalProgress"], tuple[()]]:
        """Where it is sent to, it tells nobody."""
        return LocalProgress, ()
