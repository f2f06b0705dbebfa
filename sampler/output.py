"""The folder of results: checked before the work, written as a whole after it."""

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sampler.errors import OutputError
from sampler.picture import image_grid, save_png
from sampler.run import Run
from sampler.theory.calibrate import CalibrationRun
from sampler.theory.compare import ComparisonRun
from sampler.trace import TRACE
from sampler.verify import Verification

RUN_ACCOUNT, VERIFY_ACCOUNT = "run.json", "verify.json"
CALIBRATE_ACCOUNT, COMPARE_ACCOUNT = "calibrate.json", "compare.json"
HOLDING = {
    RUN_ACCOUNT: "a run",
    VERIFY_ACCOUNT: "a verification",
    CALIBRATE_ACCOUNT: "a calibration",
    COMPARE_ACCOUNT: "a comparison",
}


# what other commands make of a run, and what would be wrong beside the next one
OF_ANOTHER_RUN = ("explain.html", "leave_out*", "steps.png", "steps.svg", "attribution.*")
# left by a process that was killed
SCRATCH = (".writing-*", ".tracing-*")


def reserve_output(folder: Path, *, overwrite: bool, account: str = RUN_ACCOUNT) -> None:
    """Make the folder and prove that it can be written to.

    Args:
        account: the file that says that the folder holds results of this kind.

    Raises:
        OutputError: it cannot be made or written, or holds results that may not be replaced.
    """
    if (folder / account).exists() and not overwrite:
        raise OutputError(
            f"{folder} already holds {HOLDING[account]}. "
            "Give another --out, or --overwrite to replace it."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        for path in [path for pattern in SCRATCH for path in folder.glob(pattern)]:
            shutil.rmtree(path)
    except OSError as error:
        raise OutputError(
            f"output folder {folder} cannot be written ({error.strerror}). "
            "Give another --out, or mend its permissions."
        ) from error


def write_run(run: Run, folder: Path) -> None:
    """Write samples.npy, samples.png, the trace if there is one and, last, run.json.

    Raises:
        OutputError: the disk is full or the folder went away.
    """
    for path in [path for pattern in OF_ANOTHER_RUN for path in folder.glob(pattern)]:
        path.unlink()
    files: dict[str, Callable[[Path], object]] = {
        "samples.npy": lambda path: np.save(path, run.result.images.cpu().numpy()),
        "samples.png": lambda path: save_png(image_grid(run.result.images), path),
    }
    if run.trace_path is not None:
        files[TRACE] = run.trace_path.rename
    files[RUN_ACCOUNT] = lambda path: write_json(run.account, path)
    write_whole(files, folder)
    if run.trace_path is None:  # of a run that was here before
        shutil.rmtree(folder / TRACE, ignore_errors=True)


def write_verification(verification: Verification, folder: Path) -> None:
    """Write verify.png, verify.svg and, last, verify.json.

    Raises:
        OutputError: the disk is full or the folder went away.
    """
    # matplotlib takes most of a second to import, which no other command should wait for
    from sampler.plots.plot_style import save_figure  # noqa: PLC0415
    from sampler.plots.verify_plot import verification_figure  # noqa: PLC0415

    figure = verification_figure(verification.rows, verification.title)
    files: dict[str, Callable[[Path], None]] = {
        "verify.png": lambda path: save_figure(figure, path),
        "verify.svg": lambda path: save_figure(figure, path),
        VERIFY_ACCOUNT: lambda path: write_json(verification.account, path),
    }
    write_whole(files, folder)


def write_calibration(run: CalibrationRun, folder: Path) -> None:
    """Write scales.yaml, scales.png, receptive_field.png and, last, calibrate.json.

    Raises:
        OutputError: the disk is full or the folder went away.
    """
    from sampler.plots.plot_style import save_figure  # noqa: PLC0415
    from sampler.theory.calibration_plot import maps_figure, scales_figure  # noqa: PLC0415 - as above

    curve = scales_figure(run, run.title)
    files: dict[str, Callable[[Path], object]] = {
        "scales.yaml": lambda path: path.write_text(run.scales_yaml()),
        "scales.png": lambda path: save_figure(curve, path),
    }
    if run.maps is not None:
        heat = maps_figure(run.maps, run.calibration.times, run.account["effective_width"])
        files["receptive_field.png"] = lambda path: save_figure(heat, path)
    files[CALIBRATE_ACCOUNT] = lambda path: write_json(run.account, path)
    write_whole(files, folder)


def write_comparison(run: ComparisonRun, folder: Path) -> None:
    """Write samples.png, scatter.png, images.npz and, last, compare.json.

    Raises:
        OutputError: the disk is full or the folder went away.
    """
    from sampler.plots.plot_style import save_figure  # noqa: PLC0415
    from sampler.theory.comparison_plot import grid_figure, scatter_figure  # noqa: PLC0415 - as above

    images = run.predicted | {f"network_{steps}": found for steps, found in run.outputs.items()}
    arrays = {name: found.numpy() for name, found in images.items()}
    grid, scatter = grid_figure(run), scatter_figure(run)
    files: dict[str, Callable[[Path], object]] = {
        "images.npz": lambda path: np.savez(path, allow_pickle=False, **arrays),
        "samples.png": lambda path: save_figure(grid, path),
        "scatter.png": lambda path: save_figure(scatter, path),
        COMPARE_ACCOUNT: lambda path: write_json(run.account, path),
    }
    write_whole(files, folder)


def write_whole(
    files: Mapping[str, Callable[[Path], object]],
    folder: Path,
    remedy: str = "Free some space or give another --out.",
) -> None:
    """Write each named file, in this order; each appears whole or not at all.

    Args:
        remedy: what to do where that fails.

    Raises:
        OutputError: the disk is full or the folder went away.
    """
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".writing-") as scratch:
            for name, write in files.items():
                write(Path(scratch, name))
            for name in files:
                if (folder / name).is_dir():  # which cannot be replaced in one stroke
                    (folder / name).rename(Path(scratch, f"{name}.old"))
                Path(scratch, name).replace(folder / name)
    except OSError as error:
        raise OutputError(
            f"the results cannot be written to {folder} ({error.strerror}). {remedy}"
        ) from error


def write_json(account: Mapping[str, Any], path: Path) -> None:
    """Write JSON that people can read."""
    path.write_text(json.dumps(account, indent=1) + "\n")
