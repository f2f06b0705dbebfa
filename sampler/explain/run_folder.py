"""A finished run as a folder holds it: its account, its trace, and the images it was made from."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from patchindex import ImageSet
from patchindex.errors import DatasetError
from sampler.errors import SamplerConfigError
from sampler.output import RUN_ACCOUNT, reserve_output
from sampler.run_account import as_compared
from sampler.trace import Trace


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run with a trace.

    Attributes:
        account: what `run.json` holds.
    """

    path: Path
    account: dict[str, Any]
    trace: Trace

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Read the account and open the trace.

        Raises:
            SamplerConfigError: the folder holds no run, or one without a trace.
            StoreError: the trace cannot be read.
        """
        account = read_account(path)
        if not account.get("trace"):
            raise SamplerConfigError(
                f"the run in {path} has no trace. Sample it again with `sampler run --trace`."
            )
        trace = Trace.open(path)
        told = (len(account["steps"]), len(account["trace"].get("attribution", ())))
        if trace.shape[:2] != told:
            raise SamplerConfigError(
                f"the trace in {path} has {trace.shape[0]} steps of {trace.shape[1]} samples, but "
                f"{RUN_ACCOUNT} tells of {told[0]} and {told[1]}. Sample the run again."
            )
        return cls(path, account, trace)

    def samples(self) -> Float[ndarray, "b c h w"]:
        """The finished samples.

        Raises:
            SamplerConfigError: they cannot be read.
        """
        file = self.path / "samples.npy"
        try:
            samples: Float[ndarray, "b c h w"] = np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise SamplerConfigError(
                f"{file} cannot be read ({error}). Sample the run again."
            ) from error
        return samples

    def check_images(self, images: ImageSet) -> None:
        """Raise DatasetError unless the run was made from these images."""
        source = self.account["source"]
        if images.sha256 != source["sha256"]:
            raise DatasetError(
                f"the run in {self.path} was made from {source['num_images']} images of "
                f"{source['dataset']}, but these are {len(images)} of {images.name}, and not the "
                "same ones. Give the --index that the run used, or its --dataset with the same "
                "--limit and --resolution."
            )


@contextmanager
def held_run(path: Path) -> Iterator[RunFolder]:
    """A run with a trace, into whose folder no other process writes meanwhile.

    Raises:
        LockedError: another process writes into it.
        OutputError: it cannot be written to.
        SamplerConfigError, StoreError: as for `RunFolder.open`.
    """
    if not path.is_dir():  # which must not be made
        raise no_run(path)
    with reserve_output(path, overwrite=True):
        yield RunFolder.open(path)


def read_account(path: Path) -> dict[str, Any]:
    """What `run.json` holds.

    Raises:
        SamplerConfigError: there is none, or it cannot be read.
    """
    file = path / RUN_ACCOUNT
    try:
        account = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise no_run(path) from None
    except (OSError, ValueError) as error:
        raise SamplerConfigError(
            f"{file} cannot be read ({error}). Sample the run again."
        ) from error
    if not isinstance(account, dict) or not {"source", "config", "steps"} <= account.keys():
        raise SamplerConfigError(
            f"{file} is not the account of a run. Give the folder that `sampler run` wrote."
        )
    return as_compared(account, file)


def no_run(path: Path) -> SamplerConfigError:
    """The error of a folder without a run."""
    return SamplerConfigError(
        f"{path} holds no run: there is no {RUN_ACCOUNT}. Give the folder that "
        "`sampler run --trace` wrote."
    )
