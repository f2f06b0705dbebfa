"""Crafted files and arguments: whatever they hold, the answer is a result or one line."""

import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults.contents import copy
from benchmarks.faults.forked import Fell, check_tidy, command
from benchmarks.faults.hostile_arguments import wild_arguments
from benchmarks.faults.hostile_cases import CANARY, Case, compare_with, edited, write_json
from benchmarks.faults.hostile_files import bad_checkpoint, bad_noise, bad_npz, bad_weights
from benchmarks.faults.hostile_index import bad_index
from benchmarks.faults.hostile_pictures import bad_pictures
from benchmarks.faults.hostile_texts import YAMLS, mangled
from benchmarks.faults.trials import Place

ROOM = 3 * 2**30
MOST_SECONDS = 40.0


def feed(place: Place) -> str:
    """One crafted input, of the sort that the trial's number says."""
    sorts: tuple[Callable[[Place, int], Case], ...] = (
        bad_npz, bad_pictures, bad_scales, bad_network, bad_run, bad_weights, bad_checkpoint,
        bad_noise, bad_index, wild_arguments,
    )  # fmt: skip
    case = sorts[place.number % len(sorts)](place, place.number // len(sorts))
    outcome = command(
        case.program, case.arguments, place.folder, before=lower, most_seconds=MOST_SECONDS
    )
    done = check_tidy(outcome, case.told)
    if (place.folder / CANARY).exists():
        raise Fell(f"{case.told}: code of the file ran")
    if done and case.must_refuse:
        raise Fell(f"{case.told}: it was taken")
    for path in place.folder.rglob("samples.npy"):
        if done and not np.isfinite(np.load(path)).all():
            raise Fell(f"{case.told}: samples that are no numbers")
    return "taken" if done else "refused"


def lower() -> None:
    """Have what asks for too much memory fail, and not the machine."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + ROOM, taken + ROOM))


def bad_scales(place: Place, variant: int) -> Case:
    """A file of scales that is none."""
    names = list(YAMLS)
    name = names[variant % len(names)]
    text = YAMLS[name]
    if variant >= len(names):
        name, text = "mangled", mangled("{0.5: 3, 1.0: 5}\n", place.rng)
    path = place.folder / "scales.yaml"
    path.write_bytes(text.encode("latin-1") if name == "latin-1" else text.encode())
    arguments = ("run", "--index", str(place.stage.index), "--num", "1", "--steps", "2",
                 "--scales", str(path), "--out", "found")  # fmt: skip
    return Case(f"scales: {name}", "sampler", arguments)


def bad_network(place: Place, variant: int) -> Case:
    """A network whose account is edited."""
    copy(place.stage.known["train"].folder / "net", place.folder / "net")
    path = place.folder / "net" / "network.json"
    account: dict[str, Any] = json.loads(path.read_text())
    sizes, network = account["network"]["sizes"], account["network"]
    edits: tuple[tuple[str, Callable[[], object]], ...] = (
        ("a huge width", lambda: sizes.update(widths=[10**9])),
        ("a huge depth", lambda: sizes.update(depth=10**12)),
        ("no width", lambda: sizes.update(widths=[])),
        ("a width of no number", lambda: sizes.update(widths=["64"])),
        ("a huge embedding", lambda: sizes.update(embedding=10**15)),
        ("a huge height", lambda: network.update(height=2**62)),
        ("2^63 classes", lambda: network.update(num_classes=2**63)),
        ("a schedule that is a list", lambda: account.update(schedule=["cosine"])),
        ("no schedule", lambda: account.pop("schedule")),
        ("a network that is a list", lambda: account.update(network=[1, 2])),
        ("a checksum that is a number", lambda: account.update(weights_sha256=5)),
    )
    if variant < len(edits):
        told, edit = edits[variant]
        edit()
    else:
        told = edited(account, place.rng)
    write_json(path, account)
    return Case(f"network.json: {told}", "sampler", compare_with(place, "net"))


def bad_run(place: Place, variant: int) -> Case:
    """A run whose account is edited, and what reads it."""
    copy(place.stage.known["traced"].folder / "run", place.folder / "run")
    path = place.folder / "run" / "run.json"
    whole: tuple[tuple[str, str], ...] = (
        ("a list", "[]"), ("a number", "7"), ("nothing", ""), ("deep", "[" * 100_000),
        ("not a number", '{"steps": NaN}'), ("steps of strings", '{"steps": ["a"]}'),
    )  # fmt: skip
    if variant < len(whole):
        told, text = whole[variant]
        path.write_text(text)
    else:
        account = json.loads(path.read_text())
        told = edited(account, place.rng)
        write_json(path, account)
    readers = (("explain", "run"), ("plot", "run"),
               ("leave-out", "run", "--sample", "1", "--top", "1"))  # fmt: skip
    arguments = readers[int(place.rng.integers(len(readers)))]
    return Case(f"run.json: {told}, {arguments[0]}", "sampler", arguments)
