"""Leave-out checks: sample the same noise again without the images that made a sample.

Attribution says how much weight an image had; whether it mattered is seen when it is gone. The
images leave the dictionary with all their patches, and the sample is made anew from its noise. As
many images that were not named leave it once more, for comparison: by so much any images change a
sample, and other draws of the tail.

`leave_out.npz` holds the checks whole; `leave_out.json` tells people what it holds.
"""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from patchindex import ImageSet, PatchIndex
from patchindex.crew import portion
from patchindex.device import CPU
from patchindex.geometry import locate
from sampler.attribution.run_folder import RunFolder
from sampler.choices import IMAGES_LEFT_OUT
from sampler.errors import SamplerConfigError
from sampler.results.json_files import as_json, checked, write_json, wrong
from sampler.results.output import write_whole
from sampler.results.study_results import LeaveOut, LeaveOutResult, LeaveOutResults, PixelValues
from sampler.results.trace import check_image_numbers
from sampler.run import make_machine, noise_of
from sampler.trajectory import sample

CHECKS, PICTURES = "leave_out.json", "leave_out.npz"
REMEDY = "Free some space, or mend its permissions."
_KEPT = 1  # the class that the images which stay are given
_IMAGES = ("finished", "without", "control")
# what NumPy, `zipfile` and `json` raise over files that are cut short, altered, or not ours
_DAMAGE = (
    OSError, EOFError, BadZipFile, zlib.error, ValueError, LookupError, TypeError, RecursionError,
    NotImplementedError,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveOutConfig:
    """What is left out of which sample.

    Attributes:
        sample: number of the sample in the run.
        top: how many images leave the dictionary, those with the largest shares first.
        pixel: row and column; shares of this pixel alone, else of the whole sample.
        exact: sum over every patch instead of retrieving.
        seed: of the images that leave it for comparison.
    """

    sample: int = 0
    top: int = IMAGES_LEFT_OUT
    pixel: tuple[int, int] | None = None
    exact: bool = False
    seed: int = 0


def leave_out(
    run: RunFolder,
    training_set: ImageSet | PatchIndex,
    config: LeaveOutConfig,
    device: torch.device = CPU,
) -> LeaveOut:
    """Make a sample of a run again without the images with the largest shares in it.

    Args:
        training_set: the index or the images that the run was made from.
        device: where everything is computed.

    Raises:
        DatasetError: these are not the run's images.
        SamplerConfigError: there is no such sample or pixel, or no image was named for it.
    """
    images = training_set.images
    run.check_images(images)
    finished = run.samples()
    if not 0 <= config.sample < len(finished):
        raise SamplerConfigError(
            f"there is no sample {config.sample} in {run.path}. "
            f"Give a number from 0 to {len(finished) - 1}."
        )
    name = _images_of_pixel if config.pixel else _images_of_sample
    named = name(run, images, config)
    removed = _heaviest_images(named, config)
    label_indices = images.label_indices(run.result.config.label)
    compared = _other_images(label_indices, named, config)
    dictionaries = [removed, compared]
    if config.exact and run.result.is_retrieved:
        dictionaries.append([])  # so that only the images differ, and not the way they are summed
    resampled = []
    for number, gone in enumerate(dictionaries):
        with portion(number, len(dictionaries)):
            resampled.append(
                _without_images(
                    run, training_set, config, label_indices, removed=gone, device=device
                )
            )
    without, control = resampled[:2]
    kept = [finished[config.sample], *resampled[2:]][-1]
    result = LeaveOutResult(
        sample=config.sample,
        pixel=config.pixel,
        exact=config.exact or not run.result.is_retrieved,
        removed=tuple(removed),
        compared=tuple(compared),
        removed_names=_files_of(removed, images),
        compared_names=_files_of(compared, images),
        distance=_rms(without, kept),
        control_distance=_rms(control, kept),
        at_pixel=None
        if config.pixel is None
        else PixelValues(
            sample=_channels(kept, config.pixel),
            without=_channels(without, config.pixel),
            control=_channels(control, config.pixel),
        ),
    )
    return LeaveOut(result=result, finished=kept, without=without, control=control)


def _files_of(numbers: Sequence[int], images: ImageSet) -> tuple[str, ...] | None:
    """Printable names of the images' files; None if they have none."""
    names = [name for number in numbers if (name := images.file_name(number)) is not None]
    return tuple(names) if images.names is not None else None


def _heaviest_images(named: Int[ndarray, " n"], config: LeaveOutConfig) -> list[int]:
    """As many of the named images as leave the dictionary.

    Raises:
        SamplerConfigError: none or fewer are named, or none is asked for.
    """
    if config.top < 1:
        raise SamplerConfigError(f"top is {config.top}. Give at least 1 image to leave out.")
    where = f"pixel {config.pixel}" if config.pixel else f"sample {config.sample}"
    if not len(named):
        raise SamplerConfigError(
            f"no training image was named for {where}: its weight is spread over very many "
            "patches. Give another --sample or --pixel."
        )
    if config.top > len(named):
        raise SamplerConfigError(
            f"{config.top} images were asked for, but {len(named)} are named for {where}. "
            f"Give a --top of at most {len(named)}."
        )
    heaviest: list[int] = named[: config.top].tolist()
    return heaviest


def _other_images(
    label_indices: Int[ndarray, " m"], named: Int[ndarray, " n"], config: LeaveOutConfig
) -> list[int]:
    """As many images for comparison: such as were not named, or else the least of those."""
    rng = np.random.default_rng([config.seed, config.sample])
    unnamed = rng.permutation(np.setdiff1d(label_indices, named))
    others = np.concatenate([unnamed, named[config.top :][::-1]])[: config.top]
    if len(others) < config.top or len(label_indices) < 2 * config.top:
        raise SamplerConfigError(
            f"{config.top} of {len(label_indices)} images would leave too few. "
            "Give a smaller --top."
        )
    return sorted(others.tolist())


def _images_of_sample(
    run: RunFolder, images: ImageSet, config: LeaveOutConfig
) -> Int[ndarray, " n"]:
    """Images that are named for a sample, largest share over all steps first."""
    numbers = run.trace.read("image_numbers", config.sample).reshape(-1)
    shares = run.trace.read("image_shares", config.sample).reshape(-1)
    return _by_weight(numbers, shares.astype(np.float64), len(images))


def _images_of_pixel(
    run: RunFolder, images: ImageSet, config: LeaveOutConfig
) -> Int[ndarray, " n"]:
    """Images of a pixel's listed sources, largest weight over all steps first."""
    row, col = config.pixel or (0, 0)
    if not (0 <= row < images.height and 0 <= col < images.width):
        raise SamplerConfigError(
            f"pixel {row},{col} lies outside the image. Give a row below {images.height} and a "
            f"column below {images.width}, from 0."
        )
    ids = run.trace.source_ids(config.sample, row, col)
    listed = ids >= 0
    numbers, _, _ = locate(ids[listed], images.height, images.width)
    weights = run.trace.read("source_weights", config.sample, row, col)[listed]
    return _by_weight(numbers, weights.astype(np.float64), len(images))


def _by_weight(
    numbers: Int[ndarray, " m"], weights: Float[ndarray, " m"], num_images: int
) -> Int[ndarray, " n"]:
    """The images that have any weight, heaviest first.

    Raises:
        StoreError: a trace names images that are not there.
    """
    check_image_numbers(numbers, num_images)
    total = np.bincount(numbers, weights, minlength=num_images)
    order: Int[ndarray, " n"] = np.argsort(-total, kind="stable")[: np.count_nonzero(total)]
    return order


def _without_images(
    run: RunFolder,
    training_set: ImageSet | PatchIndex,
    config: LeaveOutConfig,
    label_indices: Int[ndarray, " m"],
    *,
    removed: Sequence[int],
    device: torch.device,
) -> Float[ndarray, "c h w"]:
    """What the sample's noise becomes without these images."""
    images = training_set.images
    kept: Bool[ndarray, " n"] = np.zeros(len(images), dtype=np.bool_)
    kept[label_indices] = True
    kept[list(removed)] = False
    labels = kept.astype(np.int64) * _KEPT
    # all that can be asked of some classes alone can be asked of the images that stay
    reduced = (
        ImageSet.from_array(images.pixels, labels, name=images.name, layout="nchw").with_device(
            images.device
        )
        if isinstance(training_set, ImageSet)
        else training_set.relabelled(labels)
    )
    settings = run.result.config
    machine = make_machine(reduced, replace(settings, exact=settings.exact or config.exact))
    noise = noise_of(settings, images)[config.sample : config.sample + 1]
    result = sample(
        machine,
        noise.to(device),
        # those that the run used, so that only the images differ
        scales=run.result.scales.patch_sizes or [None],
        steps=settings.steps,
        schedule=settings.schedule,
        label=_KEPT,
        reference_steps=settings.reference_steps,
    )
    made: Float[ndarray, "c h w"] = result.images[0].cpu().numpy()
    return made


def _rms(image: Float[ndarray, "c h w"], other: Float[ndarray, "c h w"]) -> float:
    """Root mean square of the difference."""
    return float(np.sqrt(np.square(image.astype(np.float64) - other).mean()))


def _channels(image: Float[ndarray, "c h w"], pixel: tuple[int, int]) -> tuple[float, ...]:
    """The values of a pixel."""
    return tuple(image[:, pixel[0], pixel[1]].tolist())


def read_checks(folder: Path, images: ImageSet) -> list[LeaveOut]:
    """The checks that a run's folder holds, in the order of sample and pixel.

    Args:
        images: what the run was made from.

    Raises:
        ResultsError: what they tell of cannot be.
        SamplerConfigError: they cannot be read.
    """
    path = folder / PICTURES
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
            told = json.loads(str(found["accounts"]))
            pictures = [found[name] for name in _IMAGES]
    except FileNotFoundError:
        return []
    except _DAMAGE as error:
        raise _unreadable(path, str(error)) from error
    shape = (images.channels, images.height, images.width)
    if not isinstance(told, list) or any(
        found.dtype != np.float32 or found.shape != (len(told), *shape) for found in pictures
    ):
        raise _unreadable(path, f"it does not hold float32 pictures of {shape}")
    checks = []
    for position, (values, *of_one) in enumerate(zip(told, *pictures, strict=True)):
        where = f"accounts[{position}]"
        result: LeaveOutResult = checked(values, LeaveOutResult, path, where)
        _check_numbers(result, images, where, path)
        checks.append(LeaveOut(result=result, **dict(zip(_IMAGES, of_one, strict=True))))
    return checks


def _check_numbers(result: LeaveOutResult, images: ImageSet, where: str, path: Path) -> None:
    """Raise ResultsError unless a check names only images and a pixel that there are."""
    limits = {
        "pixel": (result.pixel or (), max(images.height, images.width)),
        "removed": (result.removed, len(images)),
        "compared": (result.compared, len(images)),
    }
    for name, (numbers, limit) in limits.items():
        if any(number >= limit for number in numbers):
            raise wrong(numbers, f"whole numbers from 0 to {limit - 1}", f"{where}.{name}", path)
    for name, names, numbers in (
        ("removed_names", result.removed_names, result.removed),
        ("compared_names", result.compared_names, result.compared),
    ):
        if names is not None and len(names) != len(numbers):
            raise wrong(names, f"a list of {len(numbers)} names", f"{where}.{name}", path)


def _unreadable(path: Path, why: str) -> SamplerConfigError:
    """The error of checks that cannot be read."""
    return SamplerConfigError(
        f"{path} cannot be read ({why}). Remove it, and repeat the checks with `sampler leave-out`."
    )


def keep_check(folder: Path, new: LeaveOut, images: ImageSet) -> None:
    """Add a check to a run's folder, in place of an earlier one of the same sample and pixel.

    Args:
        images: what the run was made from.

    Raises:
        OutputError: the disk is full or the folder went away.
    """
    checks = [kept for kept in read_checks(folder, images) if _place_of(kept) != _place_of(new)]
    checks = sorted([*checks, new], key=_place_of)
    results = LeaveOutResults(checks=tuple(kept.result for kept in checks))
    arrays = {
        "accounts": np.array(json.dumps(as_json(results)["checks"])),  # with their pictures
    } | {name: np.stack([getattr(kept, name) for kept in checks]) for name in _IMAGES}
    write_whole(
        {
            PICTURES: lambda path: np.savez(path, **arrays),  # type: ignore[arg-type]
            CHECKS: lambda path: write_json(results, path),
        },
        folder,
        REMEDY,
    )


def _place_of(check: LeaveOut) -> tuple[int, tuple[int, ...]]:
    """What a check is of: its sample, and its pixel if there is one."""
    return check.result.sample, check.result.pixel or ()
