"""What a run keeps of its last step, so that the same command goes on after an interruption.

    DIR/.running/
      job.json       all that determines the run; another one starts from the beginning
      done.json      steps that are done, and their reports; written last
      N.npz          states after step N, and sums of the trace
      heads-JOB/N/   what retrieval found at step N, a file a state (`KeptHead`)
      trace.zarr     the trace so far

A step counts once done.json says so. It vanishes in the same stroke in which results appear.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from patchindex.device import CPU
from patchindex.paths import sync, whole_file
from patchindex.step_store import StepStore
from sampler.errors import OutputError
from sampler.estimator import DAMAGED_ARRAYS, Head, ImageShares, KeptHead
from sampler.posterior import Posterior
from sampler.results.trace import TRACE
from sampler.trajectory import CORRECTED, Begun, StepReport, Transition

logger = logging.getLogger(__name__)

RUNNING = ".running"
_JOB, _DONE, _HEADS = "job.json", "done.json", "heads"
_SHARES = ("state", "image", "share")
_NAMED_BY = 16  # digits of the job's hash


class Checkpoint:
    """The folder of one run's checkpoint; made by whoever holds the output folder.

    Attributes:
        reports: of the steps that are done.
        begun: the trajectory so far, or None.
        trace_total: see `TraceWriter`.

    Args:
        folder: of the run.
        job: all that determines the run, as JSON.

    Raises:
        OutputError: it cannot be written.
    """

    def __init__(self, folder: Path, job: Mapping[str, Any]) -> None:
        self._path = folder.absolute() / RUNNING  # which means the same to all workers
        self.reports: tuple[StepReport, ...] = ()
        self.begun: Begun | None = None
        self.trace_total: ImageShares | None = None
        text = json.dumps(job, sort_keys=True)
        self._job_hash = hashlib.sha256(text.encode()).hexdigest()[:_NAMED_BY]
        try:
            if self._read_job() != text or not self._load():
                shutil.rmtree(self._path, ignore_errors=True)
                self.heads.mkdir(parents=True)
                with whole_file(self._path / _JOB) as path:
                    path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise _unwritable(self._path, error) from error

    @property
    def heads(self) -> Path:
        """Where heads are kept."""
        # of this job alone: a worker may still be at a unit of one that was given up
        return self._path / f"{_HEADS}-{self._job_hash}"

    @property
    def trace(self) -> Path:
        """Where the trace grows."""
        return self._path / TRACE

    def save(
        self,
        done: Transition[Posterior],
        reports: Sequence[StepReport],
        trace_total: ImageShares | None,
    ) -> None:
        """Note a step that was done, and forget the one before.

        Raises:
            OutputError: the disk is full.
        """
        number = len(reports)
        arrays: dict[str, Any] = {"reached": done.reached.cpu().numpy()}
        if trace_total is not None:
            arrays |= {name: getattr(trace_total, name).numpy() for name in _SHARES}
        try:
            if isinstance(done.answer.head, Head):
                KeptHead.write(done.answer.head, self.heads / f"{number}", range(len(done.reached)))
            np.savez(self._path / f"{number}.npz", **arrays)
            sync(self._path / f"{number}.npz")
            head = done.answer.head
            noted = {
                "steps": [asdict(report) for report in reports],
                "head": None if head is None else head.patch_size,
                "parts": head.parts if isinstance(head, KeptHead) else 1,
            }
            with whole_file(self._path / _DONE) as path:
                path.write_text(json.dumps(noted), encoding="utf-8")
                sync(path)
            (self._path / f"{number - 1}.npz").unlink(missing_ok=True)
            for unneeded in (f"{number - 1}", CORRECTED.format(number)):
                shutil.rmtree(self.heads / unneeded, ignore_errors=True)
        except OSError as error:
            raise _unwritable(self._path, error) from error

    def _read_job(self) -> str | None:
        try:
            return (self._path / _JOB).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None

    def _load(self) -> bool:
        """Take up what is there; False if that is damaged, or nothing."""
        try:
            noted = json.loads((self._path / _DONE).read_bytes())
            reports = tuple(StepReport(**values) for values in noted["steps"])
            number, patch_size = len(reports), noted["head"]
            with (
                (self._path / f"{number}.npz").open("rb") as file,
                np.load(file, allow_pickle=False) as found,
            ):
                arrays = {name: torch.from_numpy(found[name]) for name in found.files}
            reached, known = arrays.pop("reached"), None
            if patch_size is not None:
                known = KeptHead(
                    folder=self.heads / f"{number}",
                    patch_size=patch_size,
                    states=range(len(reached)),
                    parts=noted["parts"],
                )
                for state in known.states:
                    known[state : state + 1].load(CPU)
            if arrays:
                StepStore.open(self.trace)
        except FileNotFoundError:
            return False
        except (*DAMAGED_ARRAYS, TypeError) as error:
            logger.warning("%s is damaged (%s): starting from the beginning", self._path, error)
            return False
        self.reports = reports
        self.begun = Begun(reached=reached, steps=number, known=known)
        if arrays:
            self.trace_total = ImageShares(num_states=len(reached), **arrays)
        return True


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{path} cannot be written ({error.strerror or error}). Free some space, or give another "
        "--out."
    )
