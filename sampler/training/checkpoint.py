"""Checkpoints: everything that a training run needs to go on, whole or not at all."""

import os
import pickle
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch

from sampler.errors import NetworkError, OutputError

CHECKPOINT = "checkpoint.pt"


def write_checkpoint(folder: Path, job: dict[str, Any], values: dict[str, Any]) -> None:
    """Replace the folder's checkpoint; a power cut leaves the old one or the new one.

    Args:
        job: what is trained on what and how; a checkpoint of another job is never resumed.

    Raises:
        OutputError: the disk is full or the folder went away.
    """
    path = folder / f"{CHECKPOINT}.tmp"
    try:
        with path.open("wb") as file:
            torch.save({"job": job, "state": values}, file)
            file.flush()
            os.fsync(file.fileno())
        path.replace(folder / CHECKPOINT)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise OutputError(
            f"the checkpoint cannot be written to {folder} ({error.strerror}). Free some space; "
            "the same command goes on from the last one."
        ) from error


def read_checkpoint(folder: Path, job: dict[str, Any]) -> dict[str, Any] | None:
    """The state to go on from; None if there is no checkpoint.

    Raises:
        NetworkError: the checkpoint is damaged, or of another job.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        job_found, values = found["job"], found["state"]
    except (
        OSError,
        RuntimeError,
        KeyError,
        TypeError,
        pickle.UnpicklingError,
        BadZipFile,
    ) as error:
        raise NetworkError(
            f"{path} cannot be read ({type(error).__name__}). Give --overwrite to train from the "
            "beginning, or another --out."
        ) from error
    if job_found != job:
        changed = ", ".join(sorted(key for key in job if job_found.get(key) != job[key]))
        raise NetworkError(
            f"{path} belongs to another training (its {changed} differ). Repeat its settings to go "
            "on with it, or give another --out, or --overwrite to replace it."
        )
    state: dict[str, Any] = values
    return state
