"""Leave-out checks in a run's folder: kept beside the samples, one for each sample and pixel.

`leave_out.npz` holds the checks whole; `leave_out.json` tells people what it holds.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from sampler.errors import SamplerConfigError
from sampler.explain.leave_out import LeaveOut
from sampler.output import write_json, write_whole

CHECKS, PICTURES = "leave_out.json", "leave_out.npz"
IMAGES = ("finished", "without", "control")
REMEDY = "Free some space, or mend its permissions."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Check:
    """A check that was kept.

    Attributes:
        account: see `LeaveOut.account`.
        finished, without, control: see `LeaveOut`.
    """

    account: dict[str, Any]
    finished: Float[ndarray, "c h w"]
    without: Float[ndarray, "c h w"]
    control: Float[ndarray, "c h w"]

    @property
    def sample(self) -> int:
        """Number of the sample in the run."""
        return int(self.account["sample"])


def read_checks(folder: Path) -> list[Check]:
    """The checks that a run's folder holds, in the order of sample and pixel.

    Raises:
        SamplerConfigError: they cannot be read.
    """
    try:
        with (folder / PICTURES).open("rb") as file, np.load(file, allow_pickle=False) as found:
            accounts = json.loads(str(found["accounts"]))
            pictures = zip(*(found[name] for name in IMAGES), strict=True)
            return [
                Check(account=told, **dict(zip(IMAGES, images, strict=True)))
                for told, images in zip(accounts, pictures, strict=True)
            ]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise SamplerConfigError(
            f"{folder / PICTURES} cannot be read ({error}). Remove it, and repeat the checks with "
            "`sampler leave-out`."
        ) from error


def keep_check(folder: Path, found: LeaveOut) -> None:
    """Add a check to a run's folder, in place of an earlier one of the same sample and pixel.

    Raises:
        OutputError: the disk is full or the folder went away.
    """
    new = Check(account=found.account(), **{name: getattr(found, name) for name in IMAGES})
    checks = [check for check in read_checks(folder) if place_of(check) != place_of(new)]
    checks = sorted([*checks, new], key=place_of)
    accounts = [check.account for check in checks]
    arrays = {
        "accounts": np.array(json.dumps(accounts)),  # with the pictures that they are of
    } | {name: np.stack([getattr(check, name) for check in checks]) for name in IMAGES}
    write_whole(
        {
            PICTURES: lambda path: np.savez(path, allow_pickle=False, **arrays),
            CHECKS: lambda path: write_json({"checks": accounts}, path),
        },
        folder,
        REMEDY,
    )


def place_of(check: Check) -> tuple[int, list[int]]:
    """What a check is of: its sample, and its pixel if there is one."""
    return check.sample, check.account["pixel"] or []
