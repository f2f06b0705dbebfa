"""The folder of a run: checked before the work, written as a whole after it."""

import json
import tempfile
from pathlib import Path

import numpy as np

from sampler.errors import OutputError
from sampler.picture import image_grid, save_png
from sampler.run import Run

SAMPLES, PICTURE, ACCOUNT = "samples.npy", "samples.png", "run.json"


def reserve_output(folder: Path, *, overwrite: bool) -> None:
    """Make the folder and prove that it can be written to.

    Raises:
        OutputError: it cannot be made or written, or holds a run that may not be replaced.
    """
    if (folder / ACCOUNT).exists() and not overwrite:
        raise OutputError(
            f"{folder} already holds a run. Give another --out, or --overwrite to replace it."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            f"output folder {folder} cannot be written ({error.strerror}). "
            "Give another --out, or mend its permissions."
        ) from error


def write_run(run: Run, folder: Path) -> None:
    """Write samples.npy, samples.png and, last, run.json; each appears whole or not at all.

    Raises:
        OutputError: the disk is full or the folder went away.
    """
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".writing-") as scratch:
            np.save(Path(scratch, SAMPLES), run.result.images.numpy())
            save_png(image_grid(run.result.images), Path(scratch, PICTURE))
            Path(scratch, ACCOUNT).write_text(json.dumps(run.account, indent=1) + "\n")
            for name in (SAMPLES, PICTURE, ACCOUNT):
                Path(scratch, name).replace(folder / name)
    except OSError as error:
        raise OutputError(
            f"the run cannot be written to {folder} ({error.strerror}). "
            "Free some space or give another --out."
        ) from error
