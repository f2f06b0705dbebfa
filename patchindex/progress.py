"""How long work tells what it has done: through a callback that a command line turns into a bar."""

from collections.abc import Callable

# Called with the name of a stage, how much of it is done, and how much there is to do.
ProgressCallback = Callable[[str, int, int], None]


def no_progress(stage: str, done: int, total: int) -> None:
    """Tell nobody."""
