"""Retrieval end to end on a device: build, posterior, and R2 against the exact scan."""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import click
import torch
from torch import Tensor

from benchmarks.device.chip import seconds_of
from benchmarks.device.photographs import mixtures, noisy
from patchindex import ImageSet, IndexConfig, PatchIndex, build_index
from patchindex.images import to_unit
from patchindex.index import plan_build
from sampler import ELSMachine
from sampler.schedule import alpha_bar
from sampler.studies.verify import pooled_r2

TIMES = (0.85, 0.5, 0.15)
LEAST_EXACT_SECONDS = 15
SMALLER = 10  # times fewer images, where time or disk does not suffice
DISK_SHARE = 0.9  # of what is free


class OutOfTimeError(Exception):
    """A build takes longer than it may; says how far it came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a run has left.

    Attributes:
        build_seconds: that one build may take.
        end: when all exact scans should be over, on the clock of `perf_counter`.
        scratch: folder of the index.
    """

    build_seconds: float
    end: float
    scratch: Path


def retrieval_rows(
    source: ImageSet,
    device: torch.device,
    *,
    num_images: int,
    side: int,
    patch_size: int,
    num_states: int,
    limits: Limits,
) -> Iterator[dict[str, Any]]:
    """Rows of the build and of each noise level; again of fewer images where there is no R2."""
    num_images = fitting(num_images, side, patch_size, limits.scratch)
    clean = to_unit(mixtures(source, num_states, side, seed=1, device=device).pixels).to(device)
    while num_images:
        images = mixtures(source, num_images, side, seed=0, device=device)
        with tempfile.TemporaryDirectory(dir=limits.scratch) as folder:
            index, built = build_within(images, patch_size, Path(folder, "index.zarr"), device,
                                        limits.build_seconds)  # fmt: skip
            yield built
            if index is not None:
                exact = ELSMachine(images)
                timed = exact_row(exact, clean[:1], patch_size, limits.end)
                yield timed
                for t in TIMES:
                    yield level_row(
                        index, exact, clean, patch_size, t, num_exact=timed["affordable_states"]
                    )
                if timed["affordable_states"]:
                    return
        num_images //= SMALLER
        click.echo(f"again with {num_images:,} images")


def fitting(num_images: int, side: int, patch_size: int, scratch: Path) -> int:
    """So many images, or as many as the disk has room for."""
    plan = plan_build((num_images, 3, side, side), IndexConfig(scales=(patch_size,)), threads=1)
    free = DISK_SHARE * shutil.disk_usage(scratch).free
    if plan.disk_bytes <= free:
        return num_images
    fewer = int(num_images * free / plan.disk_bytes)
    click.echo(f"{scratch} has room for an index of {fewer:,} images, not {num_images:,}")
    return fewer


def build_within(
    images: ImageSet, patch_size: int, path: Path, device: torch.device, seconds: float
) -> tuple[PatchIndex | None, dict[str, Any]]:
    """The index if it was built in time, and the row of the build."""
    start, reached = perf_counter(), ("", 0, 1)

    def progress(stage: str, done: int, total: int) -> None:
        nonlocal reached
        reached = stage, done, total
        if perf_counter() - start > seconds:
            raise OutOfTimeError

    index = None
    try:
        index = build_index(
            images, IndexConfig(scales=(patch_size,)), path, progress=progress, device=device
        )
    except OutOfTimeError:
        click.echo(f"the build was stopped after {seconds:.0f} s: {reached}")
    row = {
        "part": "build",
        "shape": list(images.pixels.shape),
        "dataset": images.name,
        "patch_size": patch_size,
        "complete": index is not None,
        "seconds": perf_counter() - start,
        "reached": list(reached),
        "disk_bytes": index.info().disk_bytes if index else None,
    }
    return index, row


def exact_row(exact: ELSMachine, clean: Tensor, patch_size: int, end: float) -> dict[str, Any]:
    """Seconds of the exact scan by those over a part of the images; states there is time for."""
    num_images = len(exact.images)
    part = ELSMachine(ImageSet.from_array(exact.images.pixels[: max(1, num_images // 10)]))
    level = alpha_bar(0.5)
    ask = lambda: part.posterior(noisy(clean, level, seed=2), level, patch_size)  # noqa: E731
    seconds_of(ask, clean.device, 1)  # compiles
    seconds = seconds_of(ask, clean.device, 1)[0] * num_images / len(part.images)
    left = max(LEAST_EXACT_SECONDS, end - perf_counter())
    return {
        "part": "exact", "patch_size": patch_size, "num_images": num_images,
        "measured_images": len(part.images), "seconds_of_all_images": seconds,
        "affordable_states": int(left // (seconds * len(TIMES))),
    }  # fmt: skip


def level_row(
    index: PatchIndex,
    exact: ELSMachine,
    clean: Tensor,
    patch_size: int,
    t: float,
    *,
    num_exact: int,
) -> dict[str, Any]:
    """Seconds a step per image at a time t, and R2 of so many against the exact means."""
    level, device = alpha_bar(t), clean.device
    xt, machine = noisy(clean, level, seed=3), ELSMachine(index, k=256, tail=4096)
    found: list[Tensor] = []
    run = lambda: found.append(machine.posterior(xt, level, patch_size).mean)  # noqa: E731
    first = seconds_of(run, device, 1)[0]  # compiles, and brings the lists to the device
    seconds = [total / len(xt) for total in seconds_of(run, device, 3)]
    row = {
        "part": "retrieval", "num_images": len(index.images), "patch_size": patch_size, "t": t,
        "states": len(xt), "first_call_seconds": first, "seconds_per_image": median(seconds),
        "spread": max(seconds) - min(seconds), "R2": None, "R2_states": 0,
    }  # fmt: skip
    if not num_exact:
        return row
    exact.images.pixels_on(device)  # copied there before time is taken
    means: list[Tensor] = []

    def ask(state: Tensor) -> None:
        means.append(exact.posterior(state, level, patch_size).mean)

    took = [seconds_of(partial(ask, state), device, 1)[0] for state in xt[:num_exact].split(1)]
    return row | {
        "exact_seconds_per_image": median(took),
        "R2": pooled_r2(found[-1][: len(means)], torch.cat(means)),
        "R2_states": len(means),
    }
