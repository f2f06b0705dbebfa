"""What `run.json` says, whichever version wrote it."""

from collections.abc import Mapping
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from patchindex.geometry import nearest_scale
from sampler.errors import SamplerConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# 1, which bears no number, has the patch sizes that were asked for in place of those compared
SCHEMA_VERSION = 2


def is_retrieved(account: Mapping[str, Any]) -> bool:
    """Whether an index found the patches of a run."""
    config, source = account["config"], account["source"]
    return source["index"] is not None and config["machine"] == "els" and not config["exact"]


def as_compared(account: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The account of a run, whose patch sizes are those that were compared.

    Args:
        path: names it in errors.

    Raises:
        SamplerConfigError: a version of the future wrote it, or it lacks what it must have.
    """
    version = account.get("schema_version", 1)
    if version == SCHEMA_VERSION:
        return dict(account)
    if version != 1:
        raise SamplerConfigError(
            f"{path} has schema version {version}, but this program reads up to {SCHEMA_VERSION}. "
            "Sample the run again, or use the program that wrote it."
        )
    try:
        asked = account["scales"]["patch_sizes"]
        sizes = [compared_size(account, size) for size in asked]
        steps = [
            step
            | {
                "patch_size": compared_size(account, step["patch_size"]),
                "asked_patch_size": step["patch_size"],
            }
            for step in account["steps"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise SamplerConfigError(
            f"{path} is not the account of a run, or lacks a part ({error}). Sample the run again."
        ) from error
    scales = {"asked": asked, "patch_sizes": None if None in sizes else sizes}
    return {
        **account,
        "schema_version": SCHEMA_VERSION,
        "scales": account["scales"] | scales,
        "steps": steps,
    }


def compared_size(account: Mapping[str, Any], asked: int) -> int | None:
    """What a run compared where this patch size was asked for; None for whole images."""
    if account["config"]["machine"] == "is":
        return None
    return (
        nearest_scale(account["source"]["index_scales"], asked) if is_retrieved(account) else asked
    )


def known_values(row: "DataclassInstance") -> dict[str, Any]:
    """The row's values; JSON has neither nan nor inf, so what is unknown is null."""
    return {name: known(value) for name, value in asdict(row).items()}


def known(value: int | float | tuple[float, ...] | None) -> int | float | list[Any] | None:
    """The number, or None if it is not finite; of several, each."""
    if isinstance(value, tuple):
        return [known(part) for part in value]
    return value if value is not None and isfinite(value) else None
