"""A folder of results: held by one process, and its files replaced all at once, or none.

What is written replaces what was there in one stroke. All new files are put into a hidden folder;
its renaming to `.replacing` decides that they count, and whoever holds the folder next moves in
what a killed process has not. Without the JSON file that moves in last, no folder holds results.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from patchindex.paths import locked_folder, sync
from sampler.errors import OutputError
from sampler.results.audit_result import AUDIT_FILE
from sampler.results.denoise_result import DENOISE_FILE
from sampler.results.json_files import write_json
from sampler.results.picture_result import PICTURE_FILE
from sampler.results.run_result import RUN_FILE
from sampler.results.study_results import (
    CALIBRATE_FILE,
    COMPARE_FILE,
    VERIFY_FILE,
)

_HOLDING = {
    RUN_FILE: "a run",
    VERIFY_FILE: "a verification",
    AUDIT_FILE: "an audit",
    CALIBRATE_FILE: "a calibration",
    COMPARE_FILE: "a comparison",
    DENOISE_FILE: "a denoising study",
    PICTURE_FILE: "attributed pictures",
}
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
