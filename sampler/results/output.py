"""Write the results of a command into its output folder: all files appear, or none.

What is written replaces what was there in one stroke. All new files are put into a hidden folder;
its renaming to `.replacing` decides that they count, and whoever holds the folder next moves in
what a killed process has not. Without the JSON file that moves in last, no folder holds results.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from patchindex import ImageSet
from patchindex.images import to_uint8
from patchindex.paths import locked_folder, sync
from patchindex.png import captioned, image_grid, save_png
from sampler.choices import CONFIG_FILE
from sampler.errors import OutputError
from sampler.results.audit_result import AUDIT_FILE, AuditResult
from sampler.results.checkpoint import RUNNING
from sampler.results.denoise_result import DENOISE_FILE
from sampler.results.json_files import write_json
from sampler.results.picture_result import PICTURE_FILE
from sampler.results.run_result import RUN_FILE, RunResult
from sampler.results.study_results import (
    CALIBRATE_FILE,
    COMPARE_FILE,
    VERIFY_FILE,
    CalibrateResult,
    CompareResult,
    VerifyResult,
)
from sampler.results.trace import TRACE

_HOLDING = {
    RUN_FILE: "a run",
    VERIFY_FILE: "a verification",
    AUDIT_FILE: "an audit",
    CALIBRATE_FILE: "a calibration",
    COMPARE_FILE: "a comparison",
    DENOISE_FILE: "a denoising study",
    PICTURE_FILE: "attributed pictures",
}
SINGLE = "samples"  # the folder of single pictures
# what other commands make of a run, and what would be wrong beside the next one
_OF_ANOTHER_RUN = (
    "explain.html", "leave_out*", "steps.png", "steps.svg", "attribution.*", "pictures.npy", SINGLE
)  # fmt: skip
_LOCK, REPLACING, _PLAN = ".lock", ".replacing", ".plan.json"
# left by a process that was killed
_SCRATCH = (".writing-*", ".tracing-*")


@contextmanager
def reserve_output(folder: Path, *, overwrite: bool, kind: str = RUN_FILE) -> Iterator[None]:
    """Make the folder, and keep every other process from writing into it.

    Args:
        kind: the file that says that the folder holds results of a kind.

    Raises:
        LockedError: another process writes into it.
        OutputError: it cannot be made or written, or holds results that may not be replaced.
    """
    with ExitStack() as held:
        try:
            held.enter_context(locked_folder(folder, name=_LOCK))
            _settle(folder)
        except OutputError:
            raise
        except OSError as error:
            raise _unwritable(folder, error) from error
        # a run leaves nothing of attributed pictures, whose trace has the same name
        lost = (kind, PICTURE_FILE) if kind == RUN_FILE else (kind,)
        there = [name for name in lost if (folder / name).exists()]
        if there and not overwrite:
            raise OutputError(
                f"{folder} already holds {_HOLDING[there[0]]}. "
                "Give another --out, or --overwrite to replace it."
            )
        yield


def settle_output(folder: Path) -> None:
    """Finish a replacement of the results that was cut short, before they are read.

    Raises:
        LockedError: another process is replacing them.
        OutputError: it cannot be finished.
    """
    if (folder / REPLACING).exists():
        with reserve_output(folder, overwrite=True):
            pass


def write_run(
    result: RunResult,
    samples: Float[Tensor, "b c h w"],
    folder: Path,
    trace: Path | None = None,
    images: ImageSet | None = None,
    *,
    options: str | None = None,
    singly: bool = False,
) -> None:
    """Write samples.npy, samples.png, the trace if there is one and, last, run.json.

    With a trace and the images also attribution.png, which shows the images of each sample.

    Args:
        samples: in [-1, 1].
        trace: moves into the folder from here.
        images: that the run was made from.
        options: config.yaml, the options of the command that made it.
        singly: also write each sample as it is: samples/000.png and so on.

    Raises:
        OutputError: the disk is full or the folder went away.
    """
    pictures = to_uint8(samples)
    files: dict[str, Callable[[Path], object]] = {
        "samples.npy": lambda path: np.save(path, samples.cpu().numpy()),
        "samples.png": lambda path: save_png(captioned(image_grid(pictures), result.caption), path),
        **_config_file(options),
    }
    if singly:
        files[SINGLE] = partial(_write_singly, pictures)
    if trace is not None and images is not None:
        # matplotlib takes most of a second to import, which no other run should wait for
        from sampler.results.attribution_figures import attribution_figure  # noqa: PLC0415
        from sampler.results.style import save_figure  # noqa: PLC0415

        figure = attribution_figure(result, samples.float().cpu().numpy(), images)
        files["attribution.png"] = lambda path: save_figure(figure, path)
    files[RUN_FILE] = lambda path: write_json(result, path)
    if trace is not None:  # after all that a full disk may refuse: it is there only once
        files[TRACE] = trace.rename
    write_whole(files, folder, last=RUN_FILE, gone=(*_OF_ANOTHER_RUN, CONFIG_FILE, TRACE, RUNNING))


def _write_singly(pictures: UInt8[ndarray, "b c h w"], folder: Path) -> None:
    """A folder with each picture in a file of its own, pixel by pixel, named by its number."""
    folder.mkdir()
    digits = max(3, len(str(len(pictures) - 1)))
    for number, picture in enumerate(pictures):
        save_png(picture.transpose(1, 2, 0), folder / f"{number:0{digits}}.png")


def write_verification(result: VerifyResult, folder: Path) -> None:
    """Write verify.png, verify.svg and, last, verify.json.

    Raises:
        OutputError: the disk is full or the folder went away.
    """
    # matplotlib takes most of a second to import, which no other command should wait for
    from sampler.results.study_figures import verification_figure  # noqa: PLC0415
    from sampler.results.style import save_figure  # noqa: PLC0415

    figure = verification_figure(result)
    files: dict[str, Callable[[Path], None]] = {
        "verify.png": lambda path: save_figure(figure, path),
        "verify.svg": lambda path: save_figure(figure, path),
        VERIFY_FILE: lambda path: write_json(result, path),
    }
    write_whole(files, folder, last=VERIFY_FILE)


def write_audit(result: AuditResult, folder: Path) -> None:
    """Write audit.png, audit.svg and, last, audit.json.

    Raises:
        OutputError: the disk is full or the folder went away.
    """
    from sampler.results.study_figures import audit_figure  # noqa: PLC0415 - as above
    from sampler.results.style import save_figure  # noqa: PLC0415

    figure = audit_figure(result)
    files: dict[str, Callable[[Path], None]] = {
        "audit.png": lambda path: save_figure(figure, path),
        "audit.svg": lambda path: save_figure(figure, path),
        AUDIT_FILE: lambda path: write_json(result, path),
    }
    write_whole(files, folder, last=AUDIT_FILE)


def write_calibration(
    result: CalibrateResult,
    maps: Float[Tensor, "t h w"] | None,
    folder: Path,
    *,
    options: str | None = None,
) -> None:
    """Write scales.yaml, scales.png, receptive_field.png and, last, calibrate.json.

    Args:
        maps: gradients of the network's center pixel at each time, if there is a network.
        options: config.yaml, the options of the command that made it.

    Raises:
        OutputError: the disk is full or the folder went away.
    """
    from sampler.results.study_figures import maps_figure, scales_figure  # noqa: PLC0415 - as above
    from sampler.results.style import save_figure  # noqa: PLC0415

    curve = scales_figure(result)
    files: dict[str, Callable[[Path], object]] = {
        "scales.yaml": lambda path: path.write_text(result.scales_yaml),
        "scales.png": lambda path: save_figure(curve, path),
        **_config_file(options),
    }
    if maps is not None and result.effective_width is not None:
        heat = maps_figure(maps, result.times, result.effective_width)
        files["receptive_field.png"] = lambda path: save_figure(heat, path)
    files[CALIBRATE_FILE] = lambda path: write_json(result, path)
    write_whole(files, folder, last=CALIBRATE_FILE, gone=("receptive_field.png", CONFIG_FILE))


def write_comparison(
    result: CompareResult,
    outputs: Mapping[int, Float[Tensor, "b c h w"]],
    predicted: Mapping[str, Float[Tensor, "b c h w"]],
    nearest: Mapping[int, Float[Tensor, "b c h w"]],
    folder: Path,
    *,
    options: str | None = None,
) -> None:
    """Write samples.png, scatter.png, images.npz and, last, compare.json.

    Args:
        outputs: the network's images by its number of steps.
        predicted: each predictor's images.
        nearest: the training images nearest to those of the network.
        options: config.yaml, the options of the command that made it.

    Raises:
        OutputError: the disk is full or the folder went away.
    """
    from sampler.results.study_figures import grid_figure, scatter_figure  # noqa: PLC0415 - as above
    from sampler.results.style import save_figure  # noqa: PLC0415

    images = {**predicted, **{f"network_{steps}": found for steps, found in outputs.items()}}
    arrays = {name: found.numpy() for name, found in images.items()}
    grid = grid_figure(result, outputs, {**predicted, "nearest": next(iter(nearest.values()))})
    scatter = scatter_figure(result)
    files: dict[str, Callable[[Path], object]] = {
        "images.npz": lambda path: np.savez(path, **arrays),  # type: ignore[arg-type]
        "samples.png": lambda path: save_figure(grid, path),
        "scatter.png": lambda path: save_figure(scatter, path),
        **_config_file(options),
        COMPARE_FILE: lambda path: write_json(result, path),
    }
    write_whole(files, folder, last=COMPARE_FILE, gone=(CONFIG_FILE,))


def _config_file(options: str | None) -> dict[str, Callable[[Path], object]]:
    """How the options are written, if there are any."""
    if options is None:
        return {}
    return {CONFIG_FILE: lambda path: path.write_text(options, encoding="utf-8")}


def write_whole(
    files: Mapping[str, Callable[[Path], object]],
    folder: Path,
    remedy: str = "Free some space or give another --out.",
    *,
    last: str | None = None,
    gone: Iterable[str] = (),
) -> None:
    """Write the named files into a folder that is held: all appear, or none.

    Args:
        remedy: what to do where that fails.
        last: the one of them that says that the others are there.
        gone: patterns of what vanishes in the same stroke, unless it is among the files.

    Raises:
        OutputError: the disk is full or the folder went away.
    """
    old = {path.name for pattern in gone for path in folder.glob(pattern)} - files.keys()
    plan = {"account": last, "gone": sorted(old)}
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".writing-") as scratch:
            staged = Path(scratch, REPLACING)
            staged.mkdir()
            for name, write in files.items():
                write(staged / name)
            write_json(plan, staged / _PLAN)
            for name in (*files, _PLAN, "."):
                sync(staged / name)
            staged.rename(folder / REPLACING)
        _settle(folder)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(
            f"the results cannot be written to {folder} ({_reason(error)}). {remedy}"
        ) from error


def _settle(folder: Path) -> None:
    """Finish what was decided for a folder that is held, and remove what never was."""
    if (folder / REPLACING / _PLAN).exists():
        _move_in(folder / REPLACING, folder)
    for path in [path for pattern in (REPLACING, *_SCRATCH) for path in folder.glob(pattern)]:
        _remove(path)


def _move_in(staged: Path, folder: Path) -> None:
    """Put staged files in the place of the old ones; may be cut short, and done again."""
    last, gone = _read_plan(staged / _PLAN)
    names = sorted(path.name for path in staged.iterdir() if path.name != _PLAN)
    if last is not None and last in names:
        _remove(folder / last)  # what it tells of is not whole from here on
        names.sort(key=lambda name: name == last)
    for name in gone:
        _remove(folder / name)
    for name in names:
        if (staged / name).is_dir():  # which replaces no other in one stroke
            _remove(folder / name)
        (staged / name).replace(folder / name)
    sync(folder)
    _remove(staged / _PLAN)


def _read_plan(file: Path) -> tuple[str | None, list[str]]:
    """The last of the staged files, and the names of what vanishes.

    Raises:
        OutputError: the plan is none of ours.
    """
    try:
        plan = json.loads(file.read_text(encoding="utf-8"))
        last, gone = plan["account"], list(plan["gone"])
        if all(_is_name(name) for name in gone) and (last is None or _is_name(last)):
            return last, gone
    except (ValueError, LookupError, TypeError, RecursionError):
        pass  # told below
    raise OutputError(
        f"{file.parent} holds no results that can be moved into its folder. Remove it."
    )


def _is_name(text: str) -> bool:
    """Whether it names an entry of a folder, and nothing outside."""
    return text not in ("", "..") and Path(text).name == text


def check_writable(folder: Path) -> None:
    """Make the folder and prove that it can be written to.

    Raises:
        OutputError: it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _unwritable(folder, error) from error


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write one file into a folder that nobody need hold; it appears whole or not at all.

    Raises:
        OutputError: the disk is full or the folder went away.
    """
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".drawing-") as scratch:
            write(Path(scratch, path.name))
            Path(scratch, path.name).replace(path)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({_reason(error)}). Free some space or give another --out."
        ) from error


def _remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _unwritable(folder: Path, error: OSError) -> OutputError:
    """The error of a folder that cannot be made or written."""
    return OutputError(
        f"output folder {folder} cannot be written ({_reason(error)}). "
        "Give another --out, or mend its permissions."
    )


def _reason(error: OSError) -> str:
    """What the operating system says, or else the error."""
    return error.strerror or str(error)
