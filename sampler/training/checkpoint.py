"""Checkpoints: everything that a training run needs to go on, whole or not at all."""

import os
import pickle
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import torch

from sampler.errors import NetworkError, OutputError

CHECKPOINT = "checkpoint.pt"
PARTIAL = f"{CHECKPOINT}.tmp"
# what `zipfile` and `torch.load` raise over files that are cut short, altered, or not ours
DAMAGE = (
    OSError, EOFError, BadZipFile, zlib.error, pickle.UnpicklingError,
    RuntimeError, ValueError, LookupError, TypeError, AttributeError,
)  # fmt: skip


def write_checkpoint(folder: Path, job: dict[str, Any], values: dict[str, Any]) -> None:
    """Replace the folder's checkpoint; a power cut leaves the old one or the new one.

    Args:
        job: what is trained on what and how; a checkpoint of another job is never resumed.

    Raises:
        OutputError: the disk is full or the folder went away.
    """
    path = folder / PARTIAL
    content = BytesIO()  # on a full disk torch.save itself raises what says nothing of disks
    torch.save({"job": job, "state": values}, content)
    try:
        with path.open("wb") as file:
            file.write(content.getbuffer())
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
        found = load_checked(path.read_bytes())
        job_found, values = dict(found["job"]), found["state"]
    except DAMAGE as error:
        raise unreadable(path, type(error).__name__) from error
    if job_found != job:
        keys = sorted(job.keys() | job_found.keys())
        changed = ", ".join(key for key in keys if job_found.get(key) != job.get(key))
        raise NetworkError(
            f"{path} belongs to another training (its {changed} differ). Repeat its settings to go "
            "on with it, or give another --out, or --overwrite to replace it."
        )
    state: dict[str, Any] = values
    return state


def discard_checkpoint(folder: Path) -> None:
    """Remove the folder's checkpoint, and what a process that was killed while writing one left."""
    for name in (CHECKPOINT, PARTIAL):
        (folder / name).unlink(missing_ok=True)


def unreadable(path: Path, reason: str) -> NetworkError:
    """The error to raise where a checkpoint is not what it should be."""
    return NetworkError(
        f"{path} cannot be read ({reason}). Give --overwrite to train from the beginning, or "
        "another --out."
    )


def load_checked(content: bytes) -> dict[str, Any]:
    """What `torch.save` wrote, after a look at its checksums, which `torch.load` does not take."""
    with ZipFile(BytesIO(content)) as parts:
        # torch compresses nothing; what is compressed could be larger than memory
        if any(part.compress_type != ZIP_STORED for part in parts.infolist()):
            raise BadZipFile("it is compressed")
        damaged = parts.testzip()
    if damaged is not None:
        raise BadZipFile(f"{damaged} is altered")
    found: dict[str, Any] = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
    return found
