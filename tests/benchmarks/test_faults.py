"""The harness of attacks sees planted faults, and a small part of its attacks falls nowhere."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORKED = """
import os, pathlib, sys, time
from benchmarks.faults.forked import Fell, check_tidy, forked
here = pathlib.Path(sys.argv[1])
def silent(): pass
def bug(): raise RuntimeError("planted")
def crash(): os.abort()
def hang(): time.sleep(60)
def refuse(): print("Error: no such file.", file=sys.stderr); sys.exit(1)
def babble(): print("Error: one\\nand more", file=sys.stderr); sys.exit(1)
for body in (silent, bug, crash, hang, refuse, babble):
    try:
        print(body.__name__, check_tidy(forked(body, here, most_seconds=1), "it"))
    except Fell as why:
        print(body.__name__, "fell:", str(why).partition(":")[0])
"""
KILLED = """
import pathlib, sys
from benchmarks.faults.changes import count_changes
from benchmarks.faults.forked import forked
here, at = pathlib.Path(sys.argv[1]), int(sys.argv[2])
def work():
    count_changes(here, here.parent / "log", at)
    for name in "abc":
        (here / name).write_text(name)
        (here / name).rename(here / name.upper())
print(forked(work, here).code, sorted(path.name for path in here.iterdir()))
"""
COMPARED = """
import json, pathlib, sys
from benchmarks.faults.contents import contents, difference
root, found = pathlib.Path(sys.argv[1]), []
for seconds, seed in ((1.0, 0), (2.0, 0), (1.0, 1)):
    folder = root / f"{seconds}-{seed}"
    folder.mkdir()
    account = {"seconds": seconds, "seed": seed, "index": str(folder / "index")}
    (folder / "run.json").write_text(json.dumps(account))
    found.append(contents(folder, folder))
print(difference(found[1], found[0]))
print(difference(found[2], found[0]))
print(difference(found[2], {}))
"""

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="trials are forked")


def python(code: str, *arguments: object) -> list[str]:
    """Lines that a script prints in a process without threads, which may fork."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_bug_a_crash_a_hang_and_babble_fall_and_one_line_holds(tmp_path: Path) -> None:
    assert python(FORKED, tmp_path) == [
        "silent True",
        "bug fell: it showed 'traceback (most recent call last)'",
        "crash fell: it died of SIGABRT",
        "hang fell: it hung for 1 s",
        "refuse False",
        "babble fell: it refused, but not in one last line",
    ]


@pytest.mark.parametrize(
    ("at", "ended"),
    [(0, "-9 []"), (1, "-9 ['a']"), (2, "-9 ['A']"), (5, "-9 ['A', 'B', 'c']"),
     (6, "0 ['A', 'B', 'C']")],
)  # fmt: skip
def test_a_process_dies_before_the_change_with_the_number(
    tmp_path: Path, at: int, ended: str
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    assert python(KILLED, here, at) == [ended]


def test_times_and_places_do_not_make_a_difference_and_bits_do(tmp_path: Path) -> None:
    assert python(COMPARED, tmp_path) == ["", "other bits run.json", "left behind run.json"]


@pytest.mark.slow
def test_a_small_part_of_the_attacks_falls_nowhere(tmp_path: Path) -> None:
    out = tmp_path / "faults.jsonl"
    command = [sys.executable, "-m", "benchmarks.faults", "--size", "small", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = json.loads(out.read_text())["counts"]
    assert counts["build"]["held"] > 0
    assert sum(row["tried"] for row in counts.values()) >= 8
