"""The course of training: a line for every 50 steps, in a file that can be read meanwhile."""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from patchindex.paths import whole_file
from sampler.errors import OutputError

METRICS, METRIC_STEPS = "metrics.jsonl", 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """How training stands after a step.

    Attributes:
        step: steps done.
        loss: mean over the steps since the last line, of which there are up to 50.
        learning_rate: of this step.
        seconds: spent on training until then, interruptions left out.
    """

    step: int
    loss: float
    learning_rate: float
    seconds: float

    def line(self) -> str:
        """The metric as a line of JSON."""
        return f"{json.dumps(asdict(self))}\n"


# Called with each metric once its line is in the file.
MetricCallback = Callable[[Metric], None]


def no_report(metric: Metric) -> None:
    """Tell nobody."""


def write_metrics(metrics: Iterable[Metric], folder: Path) -> None:
    """Make the file hold just these: what was written after the last checkpoint is done again.

    Raises:
        OutputError: the disk is full or the folder went away.
    """
    try:
        with whole_file(folder / METRICS) as path:
            path.write_text("".join(metric.line() for metric in metrics), encoding="utf-8")
    except OSError as error:
        raise unwritable(folder, error) from error


def append_metric(metric: Metric, folder: Path) -> None:
    """Add a line to the file.

    Raises:
        OutputError: the disk is full or the folder went away.
    """
    try:
        with (folder / METRICS).open("a", encoding="utf-8") as file:
            file.write(metric.line())
    except OSError as error:
        raise unwritable(folder, error) from error


def unwritable(folder: Path, error: OSError) -> OutputError:
    """The error to raise where the file cannot be written."""
    return OutputError(
        f"{METRICS} cannot be written to {folder} ({error.strerror}). Free some space; the same "
        "command goes on from the last checkpoint, if there is one."
    )
