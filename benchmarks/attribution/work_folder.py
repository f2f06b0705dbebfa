"""A folder that keeps what a long measurement has found, so that the same command goes on."""

import json
import shlex
from dataclasses import asdict, fields
from math import isnan
from pathlib import Path
from typing import Any

from patchindex import UserError
from patchindex.paths import whole_file

JOB = "job.json"


class WorkFolderError(UserError, ValueError):
    """A folder that cannot be gone on with."""


def claim(folder: Path, job: dict[str, Any]) -> None:
    """Make the folder that of this job, or see that it is already.

    Args:
        job: all that decides what is found, as JSON can hold it.

    Raises:
        WorkFolderError: the folder holds what another job found.

    Example:
        >>> claim(Path("work"), {"seed": 0})
    """
    folder.mkdir(parents=True, exist_ok=True)
    found, asked = read_json(folder / JOB), json.loads(json.dumps(job))
    if found is None:
        write_json(folder / JOB, asked)
        return
    if found != asked:
        keys = sorted(found.keys() | asked.keys())
        changed = ", ".join(key for key in keys if found.get(key) != asked.get(key))
        raise WorkFolderError(
            f"{folder} holds a measurement with other settings (its {changed} differ). Repeat its "
            "settings to go on with it, or give another --work."
        )


def read_json(path: Path) -> Any | None:
    """What the file holds; None if there is none.

    Raises:
        WorkFolderError: it is damaged.
    """
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WorkFolderError(
            f"{path} cannot be read ({error}). Remove it, and the same command makes it anew."
        ) from error


def write_json(path: Path, values: Any) -> None:
    """Write the file whole, or not at all."""
    with whole_file(path) as partial:
        partial.write_text(json.dumps(values), encoding="utf-8")


def without_nan(row: dict[str, Any]) -> dict[str, Any]:
    """The row with None for numbers that are none, which JSON cannot hold."""
    return {
        key: tuple(map(_or_none, value)) if isinstance(value, tuple) else _or_none(value)
        for key, value in row.items()
    }


def _or_none(value: Any) -> Any:
    return None if isinstance(value, float) and isnan(value) else value


def command_of(module: str, config: Any) -> str:
    """The command that measures with a configuration: options for what is no default.

    Args:
        config: a dataclass whose fields have defaults and are the command's options.

    Example:
        >>> command_of("benchmarks.attribution.leave_out", Config(samples=4))
        'python -m benchmarks.attribution.leave_out --samples 4'
    """
    words = ["python", "-m", module]
    values = asdict(config)
    for field in fields(config):
        if (value := values[field.name]) != field.default:
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            words += [f"--{field.name.replace('_', '-')}", text]
    return shlex.join(words)
