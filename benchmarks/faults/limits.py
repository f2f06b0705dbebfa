"""Little memory, no disk, few descriptors, closed streams: success, or one line and no loss."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.faults.contents import contents, difference
from benchmarks.faults.forked import Fell, Outcome, Program, check_tidy, command
from benchmarks.faults.kills import repeat, small_blocks
from benchmarks.faults.stage import Job
from benchmarks.faults.trials import Place

MOST_FILE_BYTES, MOST_DISK_BYTES, MOST_DESCRIPTORS = 1_500_000, 1_500_000, 24
JOBS = ("build", "traced", "train", "blocks")
STREAMS = (">&-", "2>&-", ">&- 2>&-", "> /dev/full", "2> /dev/full", "| true", "<&-")


def limit(place: Place) -> str | None:
    """Under a limit a job succeeds or refuses in one line; without it, the same job ends well."""
    ways: tuple[Callable[[Place, Job], tuple[str, Outcome]], ...] = (
        little_memory, small_files, small_disk, few_descriptors,
    )  # fmt: skip
    name = JOBS[place.number // len(ways) % len(JOBS)]
    arguments = {
        "build": place.stage.build(),
        "blocks": place.stage.build(),
        "traced": place.stage.sample(0, "--trace", "--overwrite"),
        "train": place.stage.train(12, 4),
    }[name]
    before = small_blocks if name == "blocks" else None
    program: Program = "patchindex" if name in {"build", "blocks"} else "sampler"
    job = Job(name=name, program=program, arguments=arguments, before=before)
    try:
        told, outcome = ways[place.number % len(ways)](place, job)
        done = check_tidy(outcome, f"{name} {told}")
        repeat(place, job, place.stage.known[name], f"{name} {told}")
    finally:
        unmount(place)
    return "success" if done else "refused"


def little_memory(place: Place, job: Job) -> tuple[str, Outcome]:
    """From half a megabyte to two gigabytes more than the imports take."""
    room = int(2 ** (place.share * 12 - 1) * 2**20)
    told = f"with {room / 2**20:.1f} MB of memory"

    def lower() -> None:
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + room,) * 2)

    return told, limited(place, job, lower)


def small_files(place: Place, job: Job) -> tuple[str, Outcome]:
    """No file may be longer; what the job says is shorter, and ends in files too."""
    most = 4096 + int(place.share**2 * MOST_FILE_BYTES)
    lower = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (most, most))
    return f"with files of at most {most} bytes", limited(place, job, lower)


def small_disk(place: Place, job: Job) -> tuple[str, Outcome]:
    """A disk that fills; larger when the job is repeated."""
    pages = 4 + int(place.share**2 * MOST_DISK_BYTES / 4096)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={pages * 4096}", "none", str(place.folder)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:  # noqa: S603
        return small_files(place, job)
    try:
        return f"on a disk of {pages * 4096} bytes", limited(place, job, lambda: None)
    finally:
        more = ["mount", "-o", "remount,size=64m", str(place.folder)]
        subprocess.run(more, capture_output=True, check=True)  # noqa: S603


def few_descriptors(place: Place, job: Job) -> tuple[str, Outcome]:
    """So many files may be open besides those that are."""
    more = int(place.share * MOST_DESCRIPTORS)

    def lower() -> None:
        taken = len(list(Path("/dev/fd").iterdir()))
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken + more, taken + more))

    return f"with {more} descriptors", limited(place, job, lower)


def limited(place: Place, job: Job, lower: Callable[[], object]) -> Outcome:
    """The job under the limit."""

    def before() -> None:
        if job.before is not None:
            job.before()
        lower()

    return command(job.program, job.arguments, place.folder, before=before)


def unmount(place: Place) -> None:
    """Take the small disk away, if there is one."""
    if os.path.ismount(place.folder):
        subprocess.run(["umount", str(place.folder)], capture_output=True, check=True)  # noqa: S603, S607


def close_streams(place: Place) -> str | None:
    """A real process whose streams are closed or full: the work is done, or refused, untraced."""
    stage = place.stage
    redirection = STREAMS[place.number % len(STREAMS)]
    program, arguments, name = (
        ("patchindex", stage.build(), "build"),
        ("sampler", stage.sample(0, "--trace"), "traced"),
        ("patchindex", ("info", str(stage.index)), None),
    )[place.number // len(STREAMS) % 3]
    start = f"from cli.{program} import main; main()"
    line = f'"$@" {redirection}'
    outcome = subprocess.run(  # noqa: S603
        ["bash", "-c", f"set -o pipefail; {line}", "-", sys.executable, "-c", start, *arguments],  # noqa: S607
        cwd=place.folder, capture_output=True, text=True, check=False, timeout=120,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    told = f"{program} {arguments[0]} {redirection}"
    if "Traceback" in outcome.stderr or "Exception ignored" in outcome.stderr:
        raise Fell(f"{told}: {outcome.stderr.strip()[-300:]}")
    if outcome.returncode not in {0, 1, 141}:
        raise Fell(f"{told}: ended with {outcome.returncode}: {outcome.stderr.strip()[-300:]}")
    if name and outcome.returncode == 0:
        differing = difference(contents(place.folder, stage.root), stage.known[name].left)
        if differing:
            raise Fell(f"{told}: ended with 0, but {differing}")
    return "success" if outcome.returncode == 0 else "refused"
