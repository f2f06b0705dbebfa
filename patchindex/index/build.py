"""Building an index scale by scale: train, then shard by shard; resumes where it was."""

import logging
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
import zarr

from patchindex.crew import LOCAL, Crew
from patchindex.device import CPU
from patchindex.errors import StoreError
from patchindex.file_names import one_line
from patchindex.geometry import PatchGeometry
from patchindex.images import ImageSet
from patchindex.index.assign import Assigner
from patchindex.index.config import IndexConfig
from patchindex.index.job import (
    IMAGES,
    WorkDir,
    describe_job,
    finalize,
    finish_arrays,
    locked,
    seconds_of,
)
from patchindex.index.lists import shard_ranges
from patchindex.index.patch_index import PatchIndex
from patchindex.index.plan import BuildPlan, check_disk, check_patches, plan_build
from patchindex.index.schema import Job, Manifest
from patchindex.index.shard import ScaleWork, build_shard
from patchindex.index.store import (
    hash_json,
    is_stray,
    join_names,
    read_manifest,
    translate_write_errors,
    write_array,
)
from patchindex.index.train import train_scale
from patchindex.index.trained import TrainedScale
from patchindex.progress import LocalProgress, Progress, ProgressCallback, telling

logger = logging.getLogger(__name__)

RESUME = "What is finished is kept: mend that, and the same command resumes."


def build_index(
    images: ImageSet,
    config: IndexConfig,
    out: str | Path,
    *,
    progress: Progress | None = None,
    overwrite: bool = False,
    device: torch.device = CPU,
    crew: Crew = LOCAL,
) -> PatchIndex:
    """Build the index at `out`, or finish building it, and open it.

    Every legal patch of every image is in it exactly once per scale. The same images and config
    give the same bits on the same device, however often the build was interrupted, and whoever
    does its shards.

    Args:
        progress: a class of bars such as tqdm's, or a callback that is told a stage, how much of it
            is done, and of how much.
        overwrite: replace an index at `out`, once the new one is complete.
        device: where patches are projected and assigned to lists.
        crew: who does the shards, once this process has trained a scale; others compute on devices
            of their own, and must share the folder of `out`.

    Raises:
        ClusterError: of a cluster's crew, if workers cannot serve.
        GeometryError: a scale is too large for the images.
        IndexConfigError: a scale has more patches than an index can hold.
        LockedError: another process builds at `out`.
        StoreError: `out` holds something else, or cannot be written.
    """
    target = Path(out).absolute()
    geometries = [
        PatchGeometry(
            height=images.height, width=images.width, patch_size=p, boundary=config.boundary
        )
        for p in config.scales
    ]
    plan = plan_build(images.pixels.shape, config, threads=torch.get_num_threads())
    check_patches(plan, len(images))
    job = describe_job(images, config)
    with (
        telling(progress) as tell,
        translate_write_errors(target, RESUME),
        locked(target) as work,
    ):
        if not _finished(target, work, job, overwrite=overwrite, images=images):
            work.adopt(job)
            crew.admit(folder=work.path)
            _log_plan(plan, device, crew)
            check_disk(plan, work.path, already=work.num_bytes())
            _write_images(work, images)
            finished = {IMAGES: [IMAGES]}
            seconds = 0.0
            for number, geometry in enumerate(geometries, 1):
                names = _build_scale(
                    work, images, geometry, config, tell,
                    device=device, crew=crew,
                )  # fmt: skip
                finished[f"{geometry.patch_size}"] = names
                seconds += seconds_of(work, names[:1])
                seconds += seconds_of(work, names[1:]) / min(crew.size, len(names) - 1)
                if number < len(geometries):
                    left = plan.time_left(number, seconds)
                    logger.info("scale %d is done; about %s left", geometry.patch_size, left)
            finalize(work, images, job, finished)
            work.swap_in(target)
            logger.info("%s is complete", target)
    return PatchIndex.open(target)


def _log_plan(plan: BuildPlan, device: torch.device, crew: Crew) -> None:
    """Tell people the plan."""
    for line in plan.lines():
        logger.info("%s", line)
    if device.type != "cpu":
        logger.info("plan: less time than that, because %s computes", device)
    if crew.size > 1:
        logger.info(
            "plan: that is for one process; %d workers share the shards, and each needs no more "
            "memory than that",
            crew.size,
        )


def _finished(target: Path, work: WorkDir, job: Job, *, overwrite: bool, images: ImageSet) -> bool:
    """True if the index is there; raise StoreError if something else is that must stay."""
    if work.finish_swap(target, job):
        return True
    if not target.exists():
        return False
    if overwrite:
        _check_replaceable(target)
        return False
    existing = _read_existing(target)
    if existing.get("config_hash") != hash_json(job):
        raise StoreError(
            f"{target} was built from other images or with another configuration"
            f"{_difference(existing, job, len(images))}. "
            "Give another --out, or --overwrite to replace it."
        )
    logger.info("%s is complete already; nothing to do", target)
    return True


def _difference(existing: Manifest, job: Job, num_images: int) -> str:
    """In which respects an index differs from what is asked for; empty where none is known."""
    count = existing["arrays"]["images"]["shape"][0]
    told = []
    if existing["dataset"] != job["dataset"]:
        told.append(f"of {existing['dataset']}, not {job['dataset']}")
    if existing["images_sha256"] != job["images_sha256"]:
        told.append(
            f"{count:,} images, not {num_images:,}"
            if count != num_images
            else f"{count:,} images of which some are others now"
        )
    elif existing["names_sha256"] != job["names_sha256"]:
        told.append("images under other names")
    told += [
        f"{name} {existing['config'].get(name)}, not {value}"
        for name, value in job["config"].items()
        if existing["config"].get(name) != value
    ]
    return f" ({one_line('; '.join(told))})" if told else ""


def _read_existing(target: Path) -> Manifest:
    """Manifest of the index at `target`; if it cannot be read, the error says how to go on."""
    try:
        return read_manifest(target)
    except StoreError as error:
        raise StoreError(
            f"{target} exists, but is no index that can be used ({error}) "
            "Give another --out, or --overwrite to replace it."
        ) from error


def _check_replaceable(target: Path) -> None:
    """Raise StoreError unless `target` is an index, whole or damaged, and nothing else."""
    known = {"zarr.json", "images", "labels", "names", "scales"}
    if (
        not target.is_dir()
        or not {entry.name for entry in target.iterdir() if not is_stray(entry)} <= known
    ):
        raise StoreError(f"{target} is not an index, so it is not overwritten. Give another --out.")


def _write_images(work: WorkDir, images: ImageSet) -> None:
    """Copy the training set into the store, once."""
    if work.read_json(IMAGES):
        return
    start = time.perf_counter()
    root = zarr.open_group(work.store, mode="w")
    root.create_group("scales")
    write_array(root, "images", np.asarray(images.pixels))
    if images.labels is not None:
        write_array(root, "labels", images.labels)
    if images.names is not None:
        write_array(root, "names", join_names(images.names))
    finish_arrays(work, IMAGES, sorted(root.array_keys()), time.perf_counter() - start)


def _build_scale(
    work: WorkDir,
    images: ImageSet,
    geometry: PatchGeometry,
    config: IndexConfig,
    progress: ProgressCallback,
    *,
    device: torch.device,
    crew: Crew,
) -> list[str]:
    """Write all arrays of one scale, once; under which names that is noted."""
    name = f"{geometry.patch_size}"
    num_shards = len(shard_ranges(geometry, len(images), config))
    names = [name, *(f"{name}-{number}" for number in range(num_shards))]
    trained = _trained_scale(work, images, geometry, config, progress, device=device)
    with work.units() as units:
        missing = [n for n, noted in enumerate(names[1:]) if not work.read_json(noted)]
        for number in missing:
            work.remove(f"store/scales/{name}/shards/{number}")
        if missing:
            scale = ScaleWork(
                work=work, units=units, config=config,
                assigner=Assigner.of(trained, geometry, device), progress=LocalProgress(progress),
            )  # fmt: skip
            crew.begin(f"scale {name}: assign")
            crew.run(build_shard, missing, scale)
    return names


def _trained_scale(
    work: WorkDir,
    images: ImageSet,
    geometry: PatchGeometry,
    config: IndexConfig,
    progress: ProgressCallback,
    *,
    device: torch.device,
) -> TrainedScale:
    """What was learned, now or before an interruption."""
    name = f"{geometry.patch_size}"
    scales = zarr.open_group(work.store, mode="r+").require_group("scales")
    learned = [field.name for field in fields(TrainedScale)]
    if work.read_json(name):
        stored = {array: scales[f"{name}/{array}"] for array in learned}
        return TrainedScale(**{array: np.asarray(stored[array]) for array in learned})
    start = time.perf_counter()
    trained = train_scale(images, geometry, config, progress, device)
    group = scales.create_group(name, overwrite=True)
    group.create_group("shards")
    for array in learned:
        write_array(group, array, getattr(trained, array))
    written = [f"scales/{name}/{array}" for array in learned]
    finish_arrays(work, name, written, time.perf_counter() - start)
    return trained
