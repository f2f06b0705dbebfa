"""Plots of results that lie in a folder already, drawn from their accounts."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sampler.errors import ResultsError
from sampler.results.accounts import read_run, read_verification
from sampler.results.output import (
    RUN_ACCOUNT,
    VERIFY_ACCOUNT,
    reserve_output,
    settle_output,
    write_whole,
)
from sampler.studies.verify import StepComparison, Verification
from sampler.trajectory import StepReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENDINGS = ("png", "svg")
ATTRIBUTION = "attribution"
Row = TypeVar("Row", StepReport, StepComparison)


def plot_folder(folder: Path, out: Path) -> tuple[Path, ...]:
    """Draw what the folder holds; the files written, each figure as PNG and SVG.

    Raises:
        ResultsError: it holds no run or verification, or one that cannot be drawn.
        LockedError: another process writes into `out`.
        OutputError: `out` cannot be written to.
    """
    if not folder.is_dir():
        raise no_results(folder)
    if out.exists() and out.samefile(folder):
        with reserve_output(out, overwrite=True):
            return write_figures(draw_folder(folder), out)
    settle_output(folder)
    figures = draw_folder(folder)
    with reserve_output(out, overwrite=True):
        return write_figures(figures, out)


def draw_folder(folder: Path) -> dict[str, "Figure"]:
    """The figures of what the folder holds.

    Raises:
        ResultsError: it holds no run or verification, or one that cannot be drawn.
    """
    figures: dict[str, Figure] = {}
    for name, draw in ((RUN_ACCOUNT, draw_run), (VERIFY_ACCOUNT, draw_verification)):
        if (folder / name).exists():
            figures |= draw(folder / name)
    if not figures:
        raise no_results(folder)
    return figures


def write_figures(figures: Mapping[str, "Figure"], out: Path) -> tuple[Path, ...]:
    """Write each figure as PNG and SVG into a folder that is held; the files."""
    # matplotlib takes most of a second to import, which no other command should wait for
    from sampler.results.style import save_figure  # noqa: PLC0415

    files = {
        f"{name}.{ending}": saving(figure, save_figure)
        for name, figure in figures.items()
        for ending in ENDINGS
    }
    # that of a run that was here before
    gone = (f"{ATTRIBUTION}.*",) if "steps" in figures else ()
    write_whole(files, out, gone=gone)
    return tuple(out / name for name in files)


def no_results(folder: Path) -> ResultsError:
    """The error of a folder without anything to draw."""
    return ResultsError(
        f"{folder} holds neither {RUN_ACCOUNT} nor {VERIFY_ACCOUNT}. Give the folder that "
        "`sampler run` or `sampler verify` wrote."
    )


def saving(
    figure: "Figure", save_figure: Callable[["Figure", Path], None]
) -> Callable[[Path], None]:
    """Write this figure, in the format that the path's ending names."""
    return lambda path: save_figure(figure, path)


def draw_run(path: Path) -> dict[str, "Figure"]:
    """The steps and, with a trace, the training images of each sample.

    Raises:
        ResultsError: something that is drawn is lacking, or wrong.
    """
    from sampler.results.attribution_figures import attribution_figure  # noqa: PLC0415 - as above
    from sampler.results.step_figures import steps_figure  # noqa: PLC0415

    account = read_run(path)
    figures = {"steps": steps_figure(rows_of(account, StepReport), account)}
    traced = account.get("trace") is not None
    return figures | ({ATTRIBUTION: attribution_figure(account)} if traced else {})


def draw_verification(path: Path) -> dict[str, "Figure"]:
    """The picture that `sampler verify` draws.

    Raises:
        ResultsError: something that is drawn is lacking, or wrong.
    """
    from sampler.results.study_figures import verification_figure  # noqa: PLC0415 - as above

    account = read_verification(path)
    rows = rows_of(account, StepComparison)
    title = Verification(rows=rows, finals=None, account=account).title
    return {"verify": verification_figure(rows, title)}


def rows_of(account: Mapping[str, Any], kind: type[Row]) -> tuple[Row, ...]:
    """The steps; what is unknown is nan."""
    return tuple(
        kind(**{field.name: known(step[field.name], field.name) for field in fields(kind)})
        for step in account["steps"]
    )


def known(value: Any, name: str) -> Any:
    """The number; JSON has no nan, so that what is unknown is null. None is of whole images."""
    return nan if value is None and name != "patch_size" else value
