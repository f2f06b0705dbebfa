"""Plots of results that lie in a folder already, drawn from their JSON files."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from patchindex import ImageSet, PatchIndex, UserError
from sampler.errors import ResultsError
from sampler.results.audit_result import AUDIT_FILE, read_audit
from sampler.results.output import reserve_output, settle_output, write_whole
from sampler.results.run_result import RUN_FILE, RunResult, read_run
from sampler.results.study_results import VERIFY_FILE, read_verification

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ENDINGS = ("png", "svg")
_ATTRIBUTION = "attribution"


def plot_folder(folder: Path, out: Path) -> tuple[Path, ...]:
    """Draw what the folder holds; the files written, each figure as PNG and SVG.

    Raises:
        ResultsError: it holds no run, verification or audit, or one that cannot be drawn.
        LockedError: another process writes into `out`.
        OutputError: `out` cannot be written to.
    """
    if not folder.is_dir():
        raise _no_results(folder)
    if out.exists() and out.samefile(folder):
        with reserve_output(out, overwrite=True):
            return _write_figures(_draw_folder(folder), out)
    settle_output(folder)
    figures = _draw_folder(folder)
    with reserve_output(out, overwrite=True):
        return _write_figures(figures, out)


def _draw_folder(folder: Path) -> dict[str, "Figure"]:
    """The figures of what the folder holds.

    Raises:
        ResultsError: it holds no run, verification or audit, or one that cannot be drawn.
    """
    figures: dict[str, Figure] = {}
    kinds = (
        (RUN_FILE, _draw_run),
        (VERIFY_FILE, _draw_verification),
        (AUDIT_FILE, _draw_audit),
    )
    for name, draw in kinds:
        if (folder / name).exists():
            figures |= draw(folder / name)
    if not figures:
        raise _no_results(folder)
    return figures


def _write_figures(figures: Mapping[str, "Figure"], out: Path) -> tuple[Path, ...]:
    """Write each figure as PNG and SVG into a folder that is held; the files."""
    # matplotlib takes most of a second to import, which no other command should wait for
    from sampler.results.style import save_figure  # noqa: PLC0415

    files = {
        f"{name}.{ending}": _saving(figure, save_figure)
        for name, figure in figures.items()
        for ending in _ENDINGS
    }
    # that of a run that was here before
    gone = [f"{_ATTRIBUTION}.{ending}" for ending in _ENDINGS] if "steps" in figures else []
    write_whole(files, out, gone=gone)
    return tuple(out / name for name in files)


def _no_results(folder: Path) -> ResultsError:
    """The error of a folder without anything to draw."""
    return ResultsError(
        f"{folder} holds neither {RUN_FILE} nor {VERIFY_FILE} nor {AUDIT_FILE}. Give the folder "
        "that `sampler run` or `sampler verify` wrote."
    )


def _saving(
    figure: "Figure", save_figure: Callable[["Figure", Path], None]
) -> Callable[[Path], None]:
    """Write this figure, in the format that the path's ending names."""
    return lambda path: save_figure(figure, path)


def _draw_run(path: Path) -> dict[str, "Figure"]:
    """The steps and, with a trace, the training images of each sample."""
    from sampler.results.attribution_figures import attribution_figure  # noqa: PLC0415 - as above
    from sampler.results.step_figures import steps_figure  # noqa: PLC0415

    run = read_run(path)
    figures = {"steps": steps_figure(run)}
    if run.trace is not None:
        samples, images = _samples_at_hand(path.parent, run), _images_at_hand(run)
        figures[_ATTRIBUTION] = attribution_figure(run, samples, images)
    return figures


def _samples_at_hand(folder: Path, run: RunResult) -> Float[ndarray, "b c h w"] | None:
    """The samples of a run, if they can be read."""
    try:
        samples = np.load(folder / "samples.npy", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    wanted = (run.config.num, *run.source.shape)
    if not isinstance(samples, ndarray) or samples.dtype != np.float32 or samples.shape != wanted:
        return None
    found: Float[ndarray, "b c h w"] = np.nan_to_num(samples)
    return found


def _images_at_hand(run: RunResult) -> ImageSet | None:
    """The training images, if the index that they were read from is still where it was.

    Datasets are not loaded: that may take minutes, or a download.
    """
    if run.source.index is None:
        return None
    try:
        images = PatchIndex.open(Path(run.source.index)).images
    except UserError:
        return None
    return images if images.sha256 == run.source.sha256 else None


def _draw_verification(path: Path) -> dict[str, "Figure"]:
    """The picture that `sampler verify` draws."""
    from sampler.results.study_figures import verification_figure  # noqa: PLC0415 - as above

    return {"verify": verification_figure(read_verification(path))}


def _draw_audit(path: Path) -> dict[str, "Figure"]:
    """The picture that `sampler verify --pixels` draws."""
    from sampler.results.study_figures import audit_figure  # noqa: PLC0415 - as above

    return {"audit": audit_figure(read_audit(path))}
