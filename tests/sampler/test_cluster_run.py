"""Real processes of Dask: the bits of one process, whoever is lost; and nothing that stays."""

import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pretended_crew
import pytest
import torch
from click.testing import CliRunner
from distributed import Client
from interruptible import start_interruptible
from small_index import build_small, small_images

from cli.sampler import main
from patchindex import PatchIndex, UserError
from patchindex.cluster import connect
from patchindex.crew import Crew
from patchindex.errors import ClusterError
from sampler import ELSMachine, ISMachine, LSMachine
from sampler.posterior import Posterior
from sampler.results.checkpoint import RUNNING

# Dask's own threads and sockets end a moment after their owner
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
STATES = torch.randn(5, 1, 12, 12, generator=torch.Generator().manual_seed(0))
SOON_SECONDS = 20


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("indices")
    build_small(folder / "small.zarr", small_images(70, side=12), scales=(3, 5))
    return folder / "small.zarr"


@pytest.fixture(scope="module")
def crew(path: Path) -> Iterator[Crew]:
    with connect("local:2") as found:
        found.admit(PatchIndex.open(path))
        yield found


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of this process: whoever names them does so in whole units."""
    monkeypatch.setattr("sampler.exact.BLOCK_PIXELS", 2**22)


MACHINES: dict[str, Callable[[PatchIndex], Any]] = {
    "exact": lambda index: ELSMachine(index, exact=True),
    "retrieved": lambda index: ELSMachine(index, k=16, tail=2),
    "tolerance": lambda index: ELSMachine(index, k=16, tail=2, tolerance=0.05),
    "LS": lambda index: LSMachine(index.images),
    "IS": lambda index: ISMachine(index.images),
}


def assert_equal_bits(a: Posterior, b: Posterior) -> None:
    pretended_crew.assert_equal_bits(a, b)
    if b.sources is not None:
        assert torch.equal(a.sources.ids, b.sources.ids)
        assert torch.equal(a.sources.weights, b.sources.weights)
        assert torch.equal(a.sources.image_shares.share, b.sources.image_shares.share)


@pytest.mark.parametrize("label", [None, 3])
@pytest.mark.parametrize("kind", MACHINES)
def test_workers_give_the_bits_of_one_process(path, crew, kind: str, label: int | None) -> None:
    num_sources = 0 if kind == "LS" else 4

    def posterior(index: PatchIndex) -> Posterior:
        machine = MACHINES[kind](index)
        return machine.posterior(STATES, 0.5, 3, label=label, num_sources=num_sources)

    assert crew.size == 2
    assert_equal_bits(posterior(PatchIndex.open(path, crew=crew)), posterior(PatchIndex.open(path)))


def test_an_error_of_the_users_comes_back_as_such(path, crew) -> None:
    with pytest.raises(UserError, match=r"unit [12] is wrong"):
        crew.run(fail_at, [1, 2])
    assert crew.run(abs, [-3, 4, -5]) == [3, 4, 5]


def fail_at(unit: int) -> None:
    raise UserError(f"unit {unit} is wrong. Give another.")


def slow_square(unit: int, seconds: float) -> int:
    time.sleep(seconds)
    return unit**2


def pids(crew: Any) -> list[int]:
    return [told.pid for told in crew._serving.values()]


@contextmanager
def later(seconds: float, do: Callable[[], None]) -> Iterator[None]:
    timer = threading.Timer(seconds, do)
    timer.start()
    yield
    timer.join()


def wait_until(true: Callable[[], bool], seconds: float = SOON_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_stroke_in_the_middle_takes_back_what_was_asked_for(crew) -> None:
    def stop(_stage: str, done: int, _total: int) -> None:
        if done:
            raise KeyboardInterrupt

    before, crew._progress = crew._progress, stop
    try:
        with pytest.raises(KeyboardInterrupt):
            crew.run(slow_square, list(range(40)), 0.2)
    finally:
        crew._progress = before
    tasks = crew._client.cluster.scheduler.tasks
    wait_until(lambda: not tasks, 5)
    assert crew.run(slow_square, [3], 0) == [9]


@pytest.mark.slow
@pytest.mark.parametrize(
    "every", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["one", "all"]
)
def test_killed_workers_change_no_bit(path, crew, caplog, every: bool) -> None:
    wait_until(lambda: crew.run(abs, [1, 2]) == [1, 2] and crew.size == 2)
    doomed = pids(crew)[: 2 if every else 1]

    def kill() -> None:
        for pid in doomed:
            os.kill(pid, signal.SIGKILL)

    with later(0.5, kill):
        assert crew.run(slow_square, list(range(8)), 0.4) == [n**2 for n in range(8)]
    assert "was lost in" in caplog.text
    assert ("no worker is left; waiting for one" in caplog.text) == every
    here = ELSMachine(PatchIndex.open(path), k=16, tail=2).posterior(STATES, 0.7, 5)
    index = PatchIndex.open(path, crew=crew)
    assert_equal_bits(ELSMachine(index, k=16, tail=2).posterior(STATES, 0.7, 5), here)


def end_here(_unit: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_replaced_index_is_told_and_not_searched(path, crew, tmp_path) -> None:
    build_small(tmp_path / "one.zarr", small_images(20, side=12), scales=(3,))
    index = PatchIndex.open(tmp_path / "one.zarr", crew=crew)
    index.path.rename(tmp_path / "gone.zarr")
    with pytest.raises(UserError, match=r"one\.zarr"):
        ELSMachine(index, exact=True).posterior(STATES, 0.5, 3)
    build_small(tmp_path / "one.zarr", small_images(21, side=12), scales=(3,))
    with pytest.raises(UserError, match=r"is not the index that was pickled: it was replaced"):
        ELSMachine(index, exact=True).posterior(STATES, 0.5, 3)


def test_a_folder_is_shared_if_all_see_it(crew, tmp_path) -> None:
    assert crew.shares(tmp_path / "new")
    assert len(list((tmp_path / "new").iterdir())) == 1
    assert crew.shares(tmp_path / "new")
    assert len(list((tmp_path / "new").iterdir())) == 1


COMMON = ("--steps", 2, "--num", 3, "--scales", "5,3", "--k", 16, "--tail", 2, "--trace")


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(main, ["run", *map(str, arguments)])


def children() -> set[int]:
    """Workers of this process, and what else it has started."""
    own = {pid for pid, (_, parent, _) in processes().items() if parent == os.getpid()}
    return {pid for pid in own if "resource_tracker" not in command_of(pid)}


def command_of(pid: int) -> str:
    """Its command line; Python keeps a process that tracks resources until it ends itself."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def members(group: int) -> set[int]:
    return {pid for pid, (_, _, its) in processes().items() if its == group}


def runs(pid: int) -> bool:
    return pid in processes()


def processes() -> dict[int, tuple[str, int, int]]:
    """State, parent and group of every process that has not ended."""
    found = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            state, parent, group = file.read_text().rpartition(")")[2].split()[:3]
            if state != "Z":
                found[int(file.parent.name)] = state, int(parent), int(group)
    return found


@pytest.mark.slow
def test_a_run_on_a_cluster_is_the_run_without_one(path, tmp_path) -> None:
    assert invoke("--index", path, *COMMON, "--out", tmp_path / "one").exit_code == 0
    before = children()
    done = invoke("--index", path, *COMMON, "--cluster", "local:2", "--out", tmp_path / "two")
    assert done.exit_code == 0, done.output
    assert "2 workers serve" in done.stderr
    one, two = (np.load(tmp_path / name / "samples.npy") for name in ("one", "two"))
    np.testing.assert_array_equal(one, two)
    for file in (tmp_path / "one" / "trace.zarr").rglob("*"):
        if file.is_file():
            again = tmp_path / "two" / file.relative_to(tmp_path / "one")
            assert again.read_bytes() == file.read_bytes(), file
    assert not (tmp_path / "two" / RUNNING).exists()
    wait_until(lambda: children() <= before)


@pytest.mark.slow
def test_no_process_stays_after_an_error(path) -> None:
    before = children()
    seen: list[int] = []

    def fail() -> None:
        with connect("local:1") as crew:
            crew.admit(PatchIndex.open(path))
            seen.extend(pids(crew))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert len(seen) == 1
    wait_until(lambda: not any(runs(pid) for pid in seen))
    wait_until(lambda: children() <= before)


@pytest.mark.slow
def test_a_unit_that_ends_every_worker_ends_the_run(path) -> None:
    with connect("local:1") as crew:
        crew.admit(PatchIndex.open(path))
        crew.begin("step 7")
        with pytest.raises(ClusterError, match=r"step 7: a unit ended 4 workers"):
            crew.run(end_here, [0])


@pytest.mark.slow
def test_ctrl_c_ends_the_command_and_its_workers_and_the_rest_goes_on(path, tmp_path) -> None:
    arguments = ["--steps", 6, *COMMON[2:], "--cluster", "local:1", "--out", tmp_path / "run"]
    words = [str(word) for word in ("run", "--index", path, *arguments)]
    process = start_interruptible(
        [sys.executable, "-c", "from cli.sampler import main; main()", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.readline()  # the first step is done
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to all of them
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told.splitlines()[-1] == "Interrupted."
    assert "Traceback" not in told
    wait_until(lambda: not members(process.pid))
    again = invoke("--index", path, *arguments[:-4], "--out", tmp_path / "run")
    assert again.exit_code == 0
    assert "going on after step" in again.stderr


def test_images_without_an_index_are_refused() -> None:
    done = invoke("--dataset", "sample", "--limit", 4, "--cluster", "local:1", "--steps", 1)
    assert done.exit_code == 1
    assert "--dataset was given with --cluster, whose workers read images from" in done.stderr


def test_what_is_no_index_is_told(tmp_path) -> None:
    done = invoke("--index", tmp_path, "--cluster", "local:1", "--steps", 1)
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert str(tmp_path) in done.stderr.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("nowhere", r"there is no cluster 'nowhere'\. Give local, local:4, tcp://HOST:8786, or"),
        ("local:0", r"local:0 is no number of processes"),
        ("local:many", r"local:many is no number of processes"),
        ("local:-1", r"local:-1 is no number of processes"),
        ("local:99999", r"local:99999 is no number of processes"),
        ("ftp://host:1", r"no scheduler answers at ftp://host:1"),
        ("tcp://127.0.0.1", r"no scheduler answers at tcp://127\.0\.0\.1 "),
        ("tcp://no.such.host.invalid:8786", r"no scheduler answers at tcp://no\.such"),
        ("CLOSED", r"no scheduler answers at tcp://127.*Start one with `dask scheduler`"),
        ("FILE", r"no scheduler answers at .*scheduler\.json"),
    ],
)
def test_a_cluster_that_is_not_there_is_told_in_a_line(
    address: str, line: str, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(sys.modules["patchindex.cluster.connect"], "CONNECT_SECONDS", 1)
    if address == "CLOSED":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    if address == "FILE":
        (tmp_path / "scheduler.json").write_text("{}")
        address = str(tmp_path / "scheduler.json")
    start = time.monotonic()
    with pytest.raises(ClusterError, match=line), connect(address) as crew:
        crew.admit()  # which connects
    assert time.monotonic() - start < SOON_SECONDS
    left = [each for each in gc.get_objects() if issubclass(type(each), Client)]
    assert all(each.status != "connecting" for each in left)  # none waits where it is collected
