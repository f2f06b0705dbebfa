"""The script for Slurm runs what it is given, beside a scheduler and a worker of stand-ins."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STAND_INS = {
    "dask": 'while [ "$1" != --scheduler-file ]; do shift; done; echo {} > "$2"; exec sleep 60',
    "srun": 'echo "srun $*" >> log',
    "sampler": 'echo "sampler $*, cluster ${PATCHINDEX_CLUSTER##*/}" >> log',
    "patchindex": "exit 1",
}


@pytest.fixture
def stand_ins(tmp_path: Path) -> dict[str, str]:
    """An environment in whose path the programs of a cluster write down what they are given."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in STAND_INS.items():
        (programs / name).write_text(f"#!/bin/bash\n{text}\n")
        (programs / name).chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    return {"PATH": path, "SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "3"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["sampler", "compare", "--network", "a b"], "sampler compare --network a b"),
        ([], "sampler run --index i.zarr --out o --num 64"),
    ],
)
def test_slurm_runs_the_command_it_is_given_or_a_run(
    given: list[str], expected: str, stand_ins: dict[str, str], tmp_path: Path
) -> None:
    settings = stand_ins | ({} if given else {"INDEX": "i.zarr", "OUT": "o"})
    script = str(ROOT / "docs" / "cluster" / "slurm.sh")
    done = subprocess.run(
        ["/bin/bash", script, *given],
        check=False, env=settings, cwd=tmp_path, capture_output=True, timeout=30,
    )  # fmt: skip
    assert done.stderr.decode().strip() == ""
    log = (tmp_path / "log").read_text().splitlines()
    assert f"{expected}, cluster patchindex-7.json" in log
    assert any("patchindex worker --threads 3" in line for line in log)
    assert not (tmp_path / "patchindex-7.json").exists()
