"""Leave-out checks in a run's folder: kept beside the samples, one for each sample and pixel.

`leave_out.npz` holds the checks whole; `leave_out.json` tells people what it holds.
"""

import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from patchindex import ImageSet
from sampler.accounts import LARGEST, MANY, Shape, check, list_of, number, or_null, whole
from sampler.errors import SamplerConfigError
from sampler.explain.leave_out import LeaveOut
from sampler.output import write_json, write_whole

CHECKS, PICTURES = "leave_out.json", "leave_out.npz"
IMAGES = ("finished", "without", "control")
# what NumPy, `zipfile` and `json` raise over files that are cut short, altered, or not ours
DAMAGE = (
    OSError, EOFError, BadZipFile, zlib.error, ValueError, LookupError, TypeError, RecursionError,
    NotImplementedError,
)  # fmt: skip
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


def read_checks(folder: Path, images: ImageSet) -> list[Check]:
    """The checks that a run's folder holds, in the order of sample and pixel.

    Args:
        images: what the run was made from.

    Raises:
        ResultsError: what they tell of cannot be.
        SamplerConfigError: they cannot be read.
    """
    try:
        with (folder / PICTURES).open("rb") as file, np.load(file, allow_pickle=False) as found:
            accounts = json.loads(str(found["accounts"]))
            pictures = [found[name] for name in IMAGES]
    except FileNotFoundError:
        return []
    except DAMAGE as error:
        raise unreadable(folder, str(error)) from error
    shape = (images.channels, images.height, images.width)
    if not isinstance(accounts, list) or any(
        found.dtype != np.float32 or found.shape != (len(accounts), *shape) for found in pictures
    ):
        raise unreadable(folder, f"it does not hold float32 pictures of {shape}")
    for position, account in enumerate(accounts):
        check(account, shape_of_check(images), f"accounts[{position}]", folder / PICTURES)
    return [
        Check(account=told, **dict(zip(IMAGES, of_one, strict=True)))
        for told, of_one in zip(accounts, zip(*pictures, strict=True), strict=True)
    ]


def shape_of_check(images: ImageSet) -> dict[str, Shape]:
    """What the account of a check holds."""
    numbers = list_of(whole(0, len(images) - 1), 1, len(images))
    pixel = list_of(whole(0, max(images.height, images.width) - 1), 2, 2)
    return {
        "sample": whole(0, MANY), "pixel": or_null(pixel), "removed": numbers, "compared": numbers,
        "distance": number(0, LARGEST), "control_distance": number(0, LARGEST),
    }  # fmt: skip


def unreadable(folder: Path, why: str) -> SamplerConfigError:
    """The error of checks that cannot be read."""
    return SamplerConfigError(
        f"{folder / PICTURES} cannot be read ({why}). Remove it, and repeat the checks with "
        "`sampler leave-out`."
    )


def keep_check(folder: Path, found: LeaveOut, images: ImageSet) -> None:
    """Add a check to a run's folder, in place of an earlier one of the same sample and pixel.

    Args:
        images: what the run was made from.

    Raises:
        OutputError: the disk is full or the folder went away.
    """
    new = Check(account=found.account(), **{name: getattr(found, name) for name in IMAGES})
    checks = [kept for kept in read_checks(folder, images) if place_of(kept) != place_of(new)]
    checks = sorted([*checks, new], key=place_of)
    accounts = [kept.account for kept in checks]
    arrays = {
        "accounts": np.array(json.dumps(accounts)),  # with the pictures that they are of
    } | {name: np.stack([getattr(kept, name) for kept in checks]) for name in IMAGES}
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
