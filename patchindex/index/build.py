"""Building an index: train, assign block by block, merge, scale by scale; resumes where it was."""

import logging
import time
from dataclasses import fields
from functools import partial
from pathlib import Path

import numpy as np
import torch
import zarr
from jaxtyping import Int, UInt8
from numpy import ndarray

from patchindex.device import CPU
from patchindex.errors import StoreError
from patchindex.geometry import PatchGeometry
from patchindex.images import ImageSet
from patchindex.index.assign import list_block
from patchindex.index.config import IndexConfig
from patchindex.index.job import IMAGES, WorkDir, describe_job, finalize, finish_arrays, locked
from patchindex.index.lists import num_patches
from patchindex.index.merge import Part, merge_scale
from patchindex.index.patch_index import PatchIndex
from patchindex.index.plan import check_disk, check_patches, plan_build
from patchindex.index.schema import Job, Manifest
from patchindex.index.store import (
    hash_json,
    is_stray,
    read_manifest,
    translate_write_errors,
    write_array,
)
from patchindex.index.train import train_scale
from patchindex.index.trained import TrainedScale
from patchindex.progress import ProgressCallback, no_progress

logger = logging.getLogger(__name__)

RESUME = "What is finished is kept: mend that, and the same command resumes."


def build_index(
    images: ImageSet,
    config: IndexConfig,
    out: str | Path,
    *,
    progress: ProgressCallback | None = None,
    overwrite: bool = False,
    device: torch.device = CPU,
) -> PatchIndex:
    """Build the index at `out`, or finish building it, and open it.

    Every legal patch of every image is in it exactly once per scale. The same images and config
    give the same bits on the same device, however often the build was interrupted.

    Args:
        overwrite: replace an index at `out`, once the new one is complete.
        device: where patches are projected, assigned to lists and added up.

    Raises:
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
    with translate_write_errors(target, RESUME), locked(target) as work:
        if not _finished(target, work, job, overwrite):
            work.adopt(job)
            for line in plan.lines():
                logger.info("%s", line)
            if device.type != "cpu":
                logger.info("plan: less time than that, because %s computes", device)
            check_disk(plan, work.path, already=work.num_bytes())
            _write_images(work, images)
            for geometry in geometries:
                _build_scale(work, images, geometry, config, progress or no_progress, device=device)
            finalize(work, images, config, job)
            work.swap_in(target)
            logger.info("%s is complete", target)
    return PatchIndex.open(target)


def _finished(target: Path, work: WorkDir, job: Job, overwrite: bool) -> bool:
    """True if the index is there; raise StoreError if something else is that must stay."""
    if work.finish_swap(target, job):
        return True
    if not target.exists():
        return False
    if overwrite:
        _check_replaceable(target)
        return False
    if _read_existing(target).get("config_hash") != hash_json(job):
        raise StoreError(
            f"{target} was built from other images or with another configuration. "
            "Give another --out, or --overwrite to replace it."
        )
    logger.info("%s is complete already; nothing to do", target)
    return True


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
    known = {"zarr.json", "images", "labels", "scales"}
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
    write_array(root, "images", np.asarray(images.pixels))
    if images.labels is not None:
        write_array(root, "labels", images.labels)
    finish_arrays(work, IMAGES, sorted(root.array_keys()), time.perf_counter() - start)


def _build_scale(
    work: WorkDir,
    images: ImageSet,
    geometry: PatchGeometry,
    config: IndexConfig,
    progress: ProgressCallback,
    *,
    device: torch.device,
) -> None:
    """Write all arrays of one scale, once."""
    name = f"{geometry.patch_size}"
    if work.read_json(name):
        return
    trained, seconds = _trained_scale(work, images, geometry, config, progress, device=device)
    parts = []
    stage, per_image = f"scale {name}: assign", num_patches(geometry, 1)
    step = max(1, config.block_patches // per_image)
    for first in range(0, len(images), step):
        progress(stage, first, len(images))
        pixels = np.asarray(images.pixels[first : first + step])
        seconds += _write_part(
            work, _part_name(geometry, first), pixels, geometry, trained, device=device
        )
        read = partial(_read_part, work, _part_name(geometry, first))
        parts.append(Part(first=first, num_images=len(pixels), read_lists=read))
    progress(stage, len(images), len(images))
    start = time.perf_counter()
    scales = zarr.open_group(work.store, mode="r+").require_group("scales")
    group = scales.create_group(name, overwrite=True)
    merge_scale(group, images, geometry, trained, parts=parts, progress=progress, device=device)
    arrays = [f"scales/{name}/{array}" for array in sorted(group.array_keys())]
    seconds += time.perf_counter() - start
    finish_arrays(work, name, arrays, seconds)
    work.remove(f"scale-{name}")
    logger.info("scale %s is built: %.0f s in all", name, seconds)


def _part_name(geometry: PatchGeometry, first: int) -> str:
    """Name of the part that begins with this image."""
    return f"scale-{geometry.patch_size}/{first:09d}"


def _trained_scale(
    work: WorkDir,
    images: ImageSet,
    geometry: PatchGeometry,
    config: IndexConfig,
    progress: ProgressCallback,
    *,
    device: torch.device,
) -> tuple[TrainedScale, float]:
    """What was learned, now or before an interruption, and the seconds that took."""
    name = f"scale-{geometry.patch_size}/trained"
    arrays = work.read_arrays(name)
    if arrays is None:
        start = time.perf_counter()
        trained = train_scale(images, geometry, config, progress, device)
        arrays = {field.name: getattr(trained, field.name) for field in fields(TrainedScale)}
        arrays["seconds"] = np.array(time.perf_counter() - start)
        work.write_arrays(name, arrays)
    seconds = float(arrays.pop("seconds"))
    return TrainedScale(**arrays), seconds


def _write_part(
    work: WorkDir,
    name: str,
    pixels: UInt8[ndarray, "n c h w"],
    geometry: PatchGeometry,
    trained: TrainedScale,
    *,
    device: torch.device,
) -> float:
    """Write the lists of a block of images unless they are there; the seconds it took."""
    done = work.read_arrays(name)
    if done is not None:
        return float(done["seconds"])
    start = time.perf_counter()
    lists = list_block(pixels, geometry, trained, device)
    seconds = time.perf_counter() - start
    work.write_arrays(name, {"lists": lists, "seconds": np.array(seconds)})
    return seconds


def _read_part(work: WorkDir, name: str) -> Int[ndarray, " m"]:
    """The lists of a part that was written."""
    arrays = work.read_arrays(name, "lists")
    if arrays is None:
        raise StoreError(f"{work.path / name}.npz has vanished or is damaged. {RESUME}")
    lists: Int[ndarray, " m"] = arrays["lists"]
    return lists
