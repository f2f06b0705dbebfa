"""Builds and samples by workers of which one is killed at a random moment: are the bits the same?

    python -m benchmarks.cluster_kills --builds 20 --runs 10

Appends a JSON line to benchmarks/results/cluster_kills.jsonl for builds, exact samples and
retrieved samples. All are first done by this process alone; then in pairs by undisturbed workers,
and while SIGKILL ends one, whose process is started anew. Seconds lost are the difference in a
pair, which other users of the machine slow alike; all processes share that machine.
"""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory
from threading import Timer
from time import perf_counter
from typing import Any

import click
from jaxtyping import Float
from torch import Tensor

from benchmarks.record import RESULTS, append_rows, time_and_commit
from patchindex import ImageSet, IndexConfig, PatchIndex, build_index
from patchindex.cluster import connect
from patchindex.crew import LOCAL, Crew
from patchindex.environment import library_versions
from patchindex.paths import data_file
from sampler import ELSMachine
from sampler.noise import initial_noise
from sampler.trajectory import sample

SCALES = (3, 5)
WORKERS = 2
BLOCK_PATCHES = 2**14

# by a crew, into a new folder; what comes back is equal if all bits are
Work = Callable[[Crew, Path], Any]


@click.command()
@click.option("--num", default=2000, show_default=True, help="Images of the bundled sample.")
@click.option("--builds", default=20, show_default=True, help="Kills in builds.")
@click.option("--runs", default=10, show_default=True, help="Kills in samples of each machine.")
@click.option("--samples", default=4, show_default=True, help="In a run.")
@click.option("--steps", default=6, show_default=True, help="Of a run.")
@click.option("--shard-patches", default=2**16, show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of moments and victims.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=RESULTS / "cluster_kills.jsonl",
    show_default=True,
)
def main(
    *, num: int, builds: int, runs: int, samples: int, steps: int, shard_patches: int, seed: int,
    out: Path,
) -> None:  # fmt: skip
    images = ImageSet.load(
        f"npz:{data_file('sample', 'fashion_mnist_2000.npz')}", limit=num, resolution="native"
    )
    config = IndexConfig(scales=SCALES, shard_patches=shard_patches, block_patches=BLOCK_PATCHES)
    noise = initial_noise(samples, images, seed)
    told = {
        "num": num, "samples": samples, "steps": steps,
        "shard_patches": shard_patches, "workers": WORKERS, "seed": seed, "scales": SCALES,
    }  # fmt: skip
    with TemporaryDirectory() as scratch, connect(f"local:{WORKERS}") as crew:
        index = build_index(images, config, Path(scratch, "index.zarr"))
        run = partial(sampled, index.path, noise, steps)
        for kind, work, kills in (
            ("build", partial(checksums, images, config), builds),
            ("exact samples", partial(run, True), runs),
            ("retrieved samples", partial(run, False), runs),
        ):
            row = time_and_commit() | {"versions": library_versions(), "config": told}
            row |= {"kind": kind, "kills": kills}
            row |= measured(work, crew, kills, Path(scratch), Random(seed))  # noqa: S311
            append_rows(out, [row])
            click.echo(json.dumps(row, indent=1))


def checksums(images: ImageSet, config: IndexConfig, crew: Crew, folder: Path) -> Any:
    """Of all arrays of an index that the crew built."""
    index = build_index(images, config, folder / "built.zarr", crew=crew)
    return {name: entry["crc32c"] for name, entry in index.manifest["arrays"].items()}


def sampled(
    path: Path, noise: Float[Tensor, "b c h w"], steps: int, exact: bool, crew: Crew, _folder: Path
) -> Any:
    """Bytes of samples by the crew."""
    index = PatchIndex.open(path, crew=crew)
    crew.admit(index)
    done = sample(ELSMachine(index, exact=exact), noise, scales=SCALES, steps=steps)
    return done.images.numpy().tobytes()


def measured(work: Work, crew: Crew, kills: int, scratch: Path, random: Random) -> dict[str, Any]:
    """Seconds with and without kills, and how often all bits were those of this process alone."""
    expected, alone = timed(work, LOCAL, scratch)
    undisturbed, disturbed = [], []
    for _ in range(kills):
        crew.admit(folder=scratch)  # those who come for the killed ones are there
        undisturbed.append(timed(work, crew, scratch))
        victim = random.choice([worker.pid for worker in multiprocessing.active_children()])
        timer = Timer(random.uniform(0, undisturbed[-1][1]), os.kill, (victim, signal.SIGKILL))
        timer.start()
        disturbed.append(timed(work, crew, scratch))
        timer.join()  # the work may be done before
    lost = sorted(b[1] - a[1] for a, b in zip(undisturbed, disturbed, strict=True))
    return {
        "equal_undisturbed": sum(found == expected for found, _ in undisturbed),
        "equal": sum(found == expected for found, _ in disturbed),
        "seconds_alone": alone,
        "seconds_undisturbed": median(seconds for _, seconds in undisturbed),
        "seconds_disturbed": median(seconds for _, seconds in disturbed),
        "seconds_lost": {"median": median(lost), "least": lost[0], "most": lost[-1]},
    }


def timed(work: Work, crew: Crew, scratch: Path) -> tuple[Any, float]:
    """What comes of the work, and its seconds."""
    with TemporaryDirectory(dir=scratch) as folder:
        start = perf_counter()
        return work(crew, Path(folder)), perf_counter() - start


if __name__ == "__main__":
    main()
