"""Plots of results that lie in a folder already, drawn from their accounts."""

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from patchindex import UserError
from sampler.output import RUN_ACCOUNT, VERIFY_ACCOUNT, reserve_output, settle_output, write_whole
from sampler.reverse import StepReport
from sampler.run_account import as_compared
from sampler.verification import StepComparison
from sampler.verify import Verification

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENDINGS = ("png", "svg")
ATTRIBUTION = "attribution"
NAMED_IN_TITLE = {
    "config": ("machine", "exact", "tolerance", "k", "tail", "nprobe", "num"),
    "source": ("dataset", "num_images", "shape", "index", "index_scales"),
}
# of a verification, where the machine is no choice
NAMED_IN_VERIFICATION = {
    "config": ("k", "tail", "nprobe"),
    "source": ("dataset", "num_images"),
}
Row = TypeVar("Row", StepReport, StepComparison)


class ResultsError(UserError, ValueError):
    """A folder whose results cannot be drawn."""


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
            figures |= draw(read_account(folder / name), folder / name)
    if not figures:
        raise no_results(folder)
    return figures


def write_figures(figures: Mapping[str, "Figure"], out: Path) -> tuple[Path, ...]:
    """Write each figure as PNG and SVG into a folder that is held; the files."""
    # matplotlib takes most of a second to import, which no other command should wait for
    from sampler.plots.plot_style import save_figure  # noqa: PLC0415

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


def read_account(path: Path) -> dict[str, Any]:
    """What a file of results holds.

    Raises:
        ResultsError: it cannot be read, or is no account.
    """
    try:
        account = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultsError(
            f"{path} cannot be read ({error.strerror}). Mend its permissions."
        ) from error
    except ValueError as error:
        raise ResultsError(
            f"{path} is not JSON ({error}). Make the results again, with --overwrite."
        ) from error
    if not isinstance(account, dict):
        raise ResultsError(
            f"{path} holds {type(account).__name__} and no account of results. "
            "Make the results again, with --overwrite."
        )
    return account


def draw_run(account: Mapping[str, Any], path: Path) -> dict[str, "Figure"]:
    """The steps and, with a trace, the training images of each sample.

    Raises:
        ResultsError: something is lacking that is drawn.
    """
    from sampler.plots.attribution_plot import attribution_figure  # noqa: PLC0415 - as above
    from sampler.plots.run_plot import steps_figure  # noqa: PLC0415

    check_named(account, NAMED_IN_TITLE, path)
    account = as_compared(account, path)
    whole = account["config"]["machine"] == "is"
    rows = read_rows(account, StepReport, path, whole_images=whole)
    check_asked(account, path, whole_images=whole)
    traced = account.get("trace") is not None
    if traced:
        check_attribution(account["trace"], path)
    figures = {"steps": steps_figure(rows, account)}
    return figures | ({ATTRIBUTION: attribution_figure(account)} if traced else {})


def draw_verification(account: Mapping[str, Any], path: Path) -> dict[str, "Figure"]:
    """The picture that `sampler verify` draws.

    Raises:
        ResultsError: something is lacking that is drawn.
    """
    from sampler.plots.verify_plot import verification_figure  # noqa: PLC0415 - as above

    check_named(account, NAMED_IN_VERIFICATION, path)
    rows = read_rows(account, StepComparison, path)
    title = Verification(rows=rows, finals=None, account=dict(account)).title
    return {"verify": verification_figure(rows, title)}


def read_rows(
    account: Mapping[str, Any], kind: type[Row], path: Path, *, whole_images: bool = False
) -> tuple[Row, ...]:
    """The steps; what is unknown is nan.

    Args:
        whole_images: were compared, so that no step has a patch size.

    Raises:
        ResultsError: there are none, or one lacks a number.
    """
    steps = account.get("steps")
    always = ("t",) if whole_images else ("t", "patch_size")  # every panel is drawn over them
    if not isinstance(steps, list) or not steps:
        raise lacking("steps", path)
    for number, step in enumerate(steps):
        for field in fields(kind):
            value = step.get(field.name, "") if isinstance(step, dict) else ""
            if not isinstance(value, int | float) and (field.name in always or value is not None):
                raise lacking(f"steps[{number}].{field.name}", path)
    return tuple(
        kind(**{field.name: known(step[field.name], field.name) for field in fields(kind)})
        for step in steps
    )


def known(value: Any, name: str) -> Any:
    """The number; JSON has no nan, so that what is unknown is null. None is of whole images."""
    return nan if value is None and name != "patch_size" else value


def check_asked(account: Mapping[str, Any], path: Path, *, whole_images: bool) -> None:
    """Raise ResultsError unless each step has the patch size that was asked for."""
    for number, step in enumerate(account["steps"]):
        if not whole_images and not isinstance(step.get("asked_patch_size"), int):
            raise lacking(f"steps[{number}].asked_patch_size", path)


def check_named(
    account: Mapping[str, Any], named: Mapping[str, tuple[str, ...]], path: Path
) -> None:
    """Raise ResultsError unless the account has these parts of its parts."""
    for part, names in named.items():
        check_keys(account.get(part), names, part, path)


def check_keys(held: object, names: tuple[str, ...], where: str, path: Path) -> None:
    """Raise ResultsError unless this part of the account has all of these."""
    for name in names:
        if not isinstance(held, dict) or name not in held:
            raise lacking(f"{where}.{name}", path)


def check_attribution(trace: object, path: Path) -> None:
    """Raise ResultsError unless every sample has its shares."""
    samples = trace.get("attribution") if isinstance(trace, dict) else None
    if not isinstance(samples, list) or not samples:
        raise lacking("trace.attribution", path)
    for number, sample in enumerate(samples):
        check_keys(
            sample, ("images", "others", "unattributed"), f"trace.attribution[{number}]", path
        )
        for image in sample["images"]:
            check_keys(
                image, ("image", "share", "label"), f"trace.attribution[{number}].images", path
            )


def lacking(name: str, path: Path) -> ResultsError:
    """The error of an account that lacks what is drawn."""
    return ResultsError(
        f"{path} lacks {name}, which is drawn: another version wrote it. "
        "Make the results again, with --overwrite."
    )
