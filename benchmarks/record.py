"""Result rows as JSON lines, each with the time and the commit of the run that measured it."""

import json
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def time_and_commit() -> dict[str, Any]:
    """What every row begins with: when it was measured, and the checked-out code that was."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(  # noqa: S603
        command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"time": now, "commit": done.stdout.strip()}


def append_rows(out: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Add each row to a file of JSON lines as soon as it comes."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a") as lines:
        for row in rows:
            lines.write(json.dumps(row) + "\n")
            lines.flush()
