"""An index larger than memory: tiles of real photographs, indexed, sampled and audited in little.

    python -m benchmarks.beyond_memory --source folder:photos --num 200000 --room 3.6 --scratch DIR

Appends a JSON line to benchmarks/results/beyond_memory.jsonl. Tiles of 3 x 64 x 64 pixels are cut
out of the source's images, at random places and sizes, into DIR/tiles.npy. Another process then may
allocate only --room GB beyond what it holds after its imports (files that it maps do not count: the
system drops their pages when memory is short). A build works on about 1 GB, however many patches
there are. It needs Linux.
"""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

import click
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from benchmarks.record import RESULTS, append_rows, time_and_commit
from patchindex import ImageSet, IndexConfig, PatchIndex, build_index
from patchindex.datasets import load_images, resize_images
from patchindex.environment import library_versions
from sampler.results.json_files import as_json
from sampler.results.run_result import SamplerConfig
from sampler.studies.audit import AuditConfig, audit, plan_audit

SIDE = 64
GIGABYTE = 1e9
TILES_PER_BLOCK = 1024


@click.command()
@click.option("--source", default="cifar10", show_default=True, help="NAME or folder:PATH.")
@click.option("--num", default=5000, show_default=True, help="Tiles.")
@click.option("--room", default=1.2, show_default=True, help="GB that may be allocated.")
@click.option("--scales", default="3,5", show_default=True)
@click.option("--steps", default=2, show_default=True, help="Of one sample.")
@click.option("--pixels", default=16, show_default=True, help="Audited at each step.")
@click.option("--scratch", type=click.Path(path_type=Path), required=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=RESULTS / "beyond_memory.jsonl",
    show_default=True,
)
@click.option("--inside", is_flag=True, hidden=True, help="This is the process with the limit.")
def main(
    *, source: str, num: int, room: float, scales: str, steps: int, pixels: int, scratch: Path,
    out: Path, inside: bool,
) -> None:  # fmt: skip
    sizes = tuple(int(scale) for scale in scales.split(","))
    if inside:
        limit_memory(room)
        click.echo(json.dumps(measured(scratch, sizes, steps, pixels)))
        return
    scratch.mkdir(parents=True, exist_ok=True)
    write_tiles(source, num, scratch / "tiles.npy")
    command = [sys.executable, "-m", "benchmarks.beyond_memory", "--inside", "--room", str(room),
               "--scales", scales, "--steps", str(steps), "--pixels", str(pixels),
               "--scratch", str(scratch)]  # fmt: skip
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise click.ClickException(f"it did not fit: exit code {done.returncode}, told above.")
    config = {"source": source, "num": num, "room_bytes": round(room * GIGABYTE), "scales": sizes}
    found = json.loads(done.stdout.splitlines()[-1])
    row = time_and_commit() | {"versions": library_versions(), "config": config} | found
    append_rows(out, [row])
    click.echo(json.dumps(row, indent=1))


def write_tiles(source: str, num: int, path: Path, seed: int = 0) -> None:
    """Tiles of the source's images as a .npy file, a block at a time."""
    photos = load_images(source, resolution=None if source.startswith("folder:") else "native")
    rng = np.random.default_rng(seed)
    tiles = np.lib.format.open_memmap(path, "w+", np.uint8, (num, 3, SIDE, SIDE))
    for i in range(num):
        tiles[i] = tile(photos.pixels[rng.integers(len(photos))], rng)
        if i % TILES_PER_BLOCK == 0:
            tiles.flush()
    tiles.flush()


def tile(photo: UInt8[ndarray, "c h w"], rng: np.random.Generator) -> UInt8[ndarray, "3 64 64"]:
    """A square of half to all of a photograph's shorter side, perhaps mirrored."""
    _, height, width = photo.shape
    side = int(rng.integers(min(height, width) // 2, min(height, width) + 1))
    top, left = (int(rng.integers(length - side + 1)) for length in (height, width))
    square = photo[:, top : top + side, left : left + side]
    cut = square[:, :, ::-1] if rng.integers(2) else square
    resized = resize_images(np.ascontiguousarray(cut[None]), (SIDE, SIDE))[0]
    return np.broadcast_to(resized, (3, SIDE, SIDE))


def limit_memory(room: float) -> None:
    """Let this process allocate so many gigabytes beyond what it holds now."""
    import resource  # noqa: PLC0415 - which Windows lacks

    held = int(status_of("VmData")) * 1024
    limit = held + round(room * GIGABYTE)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def status_of(name: str) -> str:
    """A number that Linux tells of this process, in kB for memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{name}:"))


def measured(scratch: Path, scales: tuple[int, ...], steps: int, pixels: int) -> dict[str, Any]:
    """Seconds and bytes of the index, and the audit of a sample."""
    tiles = np.load(scratch / "tiles.npy", mmap_mode="r")
    images = ImageSet.from_array(tiles, name="tiles", layout="nchw")
    path, start = scratch / "tiles.zarr", perf_counter()
    build_index(images, IndexConfig(scales=scales), path, overwrite=True)
    build_seconds = perf_counter() - start
    sampling = SamplerConfig(num=1, steps=steps, scales=",".join(map(str, scales)))
    done = audit(plan_audit(PatchIndex.open(path), AuditConfig(sampling=sampling, pixels=pixels)))
    return {
        "index_bytes": sum(file.stat().st_size for file in path.rglob("*") if file.is_file()),
        "image_bytes": tiles.nbytes,
        "build_seconds": build_seconds,
        "peak_resident_bytes": int(status_of("VmHWM")) * 1024,  # pages of mapped files among them
        "audit": as_json(done.summary),
        "config_of_sampler": asdict(sampling),
    }


if __name__ == "__main__":
    main()
