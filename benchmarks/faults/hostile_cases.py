"""What a crafted input is, and edits of JSON that turn good ones into bad ones."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults.forked import Program
from benchmarks.faults.trials import Place

CANARY = "canary"  # a file that only code of a crafted input would make
WILD: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**63, 10**30, -(10**30), 0.5, 1e308, float("nan"), float("inf"),
    "", "x", "\u0000", "\ud800", "<script>", "a" * 10_000, [], [[]], {}, {"": None}, [0] * 1000,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Case:
    """A command that reads something crafted.

    Attributes:
        must_refuse: there is no right result.
    """

    told: str
    program: Program
    arguments: tuple[str, ...]
    must_refuse: bool = False


def edited(value: Any, rng: np.random.Generator) -> str:
    """Replace or remove one entry of the JSON value, in place; what was done, in words."""
    path: list[str] = []
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = keys[int(rng.integers(len(keys)))]
        path.append(str(key))
        child = value[key]
        if not isinstance(child, dict | list) or not child or rng.random() < 0.25:
            break
        value = child
    if rng.random() < 0.2:
        del value[key]
        return f"no {'.'.join(path)}"
    value[key] = WILD[int(rng.integers(len(WILD)))]
    return f"{'.'.join(path)} = {value[key]!r:.40}"


def write_json(path: Path, value: Any) -> None:
    """Write it as Python does: with NaN and lone surrogates escaped."""
    path.write_text(json.dumps(value))


def compare_with(place: Place, network: str) -> tuple[str, ...]:
    """Arguments that ask a network."""
    dataset = f"npz:{place.stage.root / 'pictures'}.npz"
    return ("compare", "--dataset", dataset, "--network", network, "--num", "1", "--steps", "2",
            "--network-steps", "2", "--scales", "3,5", "--out", "compared")  # fmt: skip
