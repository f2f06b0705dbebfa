"""How long work tells what it has done: through a callback, or a class of bars such as tqdm's."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# Called with the name of a stage, how much of it is done, and how much there is to do.
ProgressCallback = Callable[[str, float | int, int], None]
# Such as `tqdm.auto.tqdm`: called with desc=, total= and bar_format=; bars have `update`, `close`.
BarClass = Callable[..., Any]
Progress = ProgressCallback | BarClass

# done and left in time and not in units, of which parts are told
BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left{postfix}"
COUNTED = "{desc}: {percentage:3.0f}%|{bar}| {n:.4g}/{total} [{elapsed}, {remaining} left{postfix}]"

LONGEST_IN_UNIT = 100  # seconds or minutes, of what is told in these


def no_progress(stage: str, done: float | int, total: int) -> None:
    """Tell nobody."""


def format_duration(seconds: float) -> str:
    """Seconds for people, in s, min or h.

    Example:
        >>> format_duration(43), format_duration(130), format_duration(9000)
        ('43 s', '2 min', '2.5 h')
    """
    if seconds < LONGEST_IN_UNIT:
        return f"{max(seconds, 1):.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < LONGEST_IN_UNIT else f"{minutes / 60:.1f} h"


def is_bar_class(progress: object) -> bool:
    """Whether it makes bars, and is no callback."""
    return hasattr(progress, "update")


@contextmanager
def telling(progress: Progress | None) -> Iterator[ProgressCallback]:
    """A callback for long work from what a user gave: a class of bars, a callback, or nothing.

    Example:
        >>> from tqdm.auto import tqdm
        >>> with telling(tqdm) as tell:
        ...     tell("sampling", 3.5, 20)
    """
    if progress is None or not is_bar_class(progress):
        yield progress or no_progress
        return
    bars = StageBars(progress)
    try:
        yield bars
    finally:
        bars.close()


class StageBars:
    """Shows one bar at a time, with the time that is left.

    Args:
        make: a class of bars, such as `tqdm.auto.tqdm`.
        settings: for each bar, beside its text and length.
    """

    def __init__(self, make: BarClass, **settings: Any) -> None:
        self._make, self._settings = make, settings
        self.bar: Any = None
        self._stage = ""

    def __call__(self, stage: str, done: float | int, total: int) -> None:
        """Report that `done` of `total` steps of `stage` are done."""
        if self.bar is None or self._stage != stage:
            self.close()
            self._stage = stage
            self.bar = self._make(
                desc=stage, total=total, bar_format=COUNTED if total > 1 else BAR, **self._settings
            )
        self.bar.update(done - self.bar.n)

    def close(self) -> None:
        """End the bar."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


class LocalProgress:
    """A callback as part of a unit's work: it is called in this process, and nowhere else.

    A crew of other processes tells of finished units instead.
    """

    def __init__(self, tell: ProgressCallback = no_progress) -> None:
        self._tell = tell

    def __call__(self, stage: str, done: float | int, total: int) -> None:
        """Pass it on."""
        self._tell(stage, done, total)

    def __reduce__(self) -> tuple[type["LocalProgress"], tuple[()]]:
        """Where it is sent to, it tells nobody."""
        return LocalProgress, ()
