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
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from patchindex import ImageSet, PatchIndex
from patchindex.devices import CPU
from patchindex.geometry import locate
from sampler.attribution.run_folder import RunFolder
from sampler.errors import SamplerConfigError
from sampler.results.accounts import LARGEST, MANY, Shape, check, list_of, number, or_null, whole
from sampler.results.output import write_json, write_whole
from sampler.results.run_account import is_retrieved
from sampler.results.trace import check_image_numbers
from sampler.run import SamplerConfig, make_machine, noise_of
from sampler.trajectory import sample

KEPT = 1  # the class that the images which stay are given


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
    top: int = 5
    pixel: tuple[int, int] | None = None
    exact: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LeaveOut:
    """What leaving images out has done to a sample.

    Attributes:
        exact: the twins are sums over every patch.
        removed, compared: numbers of the images that were left out, and of those for comparison.
        finished: the sample of the run; summed exactly, if only its twins are.
        without, control: what its noise becomes without them, and without those for comparison.
    """

    config: LeaveOutConfig
    exact: bool
    removed: tuple[int, ...]
    compared: tuple[int, ...]
    finished: Float[ndarray, "c h w"]
    without: Float[ndarray, "c h w"]
    control: Float[ndarray, "c h w"]

    def account(self) -> dict[str, Any]:
        """The check as JSON has it; distances are root mean squares in [-1, 1] units."""
        pixel = self.config.pixel
        images = {"sample": self.finished, "without": self.without, "control": self.control}
        return {
            "sample": self.config.sample,
            "pixel": None if pixel is None else list(pixel),
            "exact": self.exact,
            "removed": list(self.removed),
            "compared": list(self.compared),
            "distance": rms(self.without, self.finished),
            "control_distance": rms(self.control, self.finished),
            "at_pixel": None
            if pixel is None
            else {name: image[:, pixel[0], pixel[1]].tolist() for name, image in images.items()},
        }


def leave_out(
    run: RunFolder,
    source: ImageSet | PatchIndex,
    config: LeaveOutConfig,
    device: torch.device = CPU,
) -> LeaveOut:
    """Make a sample of a run again without the images with the largest shares in it.

    Args:
        source: the index or the images that the run was made from.
        device: where everything is computed.

    Raises:
        DatasetError: these are not the run's images.
        SamplerConfigError: there is no such sample or pixel, or no image was named for it.
    """
    images = source if isinstance(source, ImageSet) else source.images
    run.check_images(images)
    finished = run.samples()
    if not 0 <= config.sample < len(finished):
        raise SamplerConfigError(
            f"there is no sample {config.sample} in {run.path}. "
            f"Give a number from 0 to {len(finished) - 1}."
        )
    name = images_of_pixel if config.pixel else images_of_sample
    named = name(run, images, config)
    removed = heaviest_images(named, config)
    members = images.members(run.account["config"]["label"])
    compared = other_images(members, named, config)
    dictionaries = [removed, compared]
    if config.exact and is_retrieved(run.account):
        dictionaries.append([])  # so that only the images differ, and not the way they are summed
    resampled = [
        without_images(run, source, config, members, removed=gone, device=device)
        for gone in dictionaries
    ]
    return LeaveOut(
        config=config,
        exact=config.exact or not is_retrieved(run.account),
        removed=tuple(removed),
        compared=tuple(compared),
        finished=[finished[config.sample], *resampled[2:]][-1],
        without=resampled[0],
        control=resampled[1],
    )


def heaviest_images(named: Int[ndarray, " n"], config: LeaveOutConfig) -> list[int]:
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


def other_images(
    members: Int[ndarray, " m"], named: Int[ndarray, " n"], config: LeaveOutConfig
) -> list[int]:
    """As many images for comparison: such as were not named, or else the least of those."""
    rng = np.random.default_rng([config.seed, config.sample])
    unnamed = rng.permutation(np.setdiff1d(members, named))
    others = np.concatenate([unnamed, named[config.top :][::-1]])[: config.top]
    if len(others) < config.top or len(members) < 2 * config.top:
        raise SamplerConfigError(
            f"{config.top} of {len(members)} images would leave too few. Give a smaller --top."
        )
    return sorted(others.tolist())


def images_of_sample(
    run: RunFolder, images: ImageSet, config: LeaveOutConfig
) -> Int[ndarray, " n"]:
    """Images that are named for a sample, largest share over all steps first."""
    numbers = run.trace.read("image_numbers", config.sample).reshape(-1)
    shares = run.trace.read("image_shares", config.sample).reshape(-1)
    return by_weight(numbers, shares.astype(np.float64), len(images))


def images_of_pixel(run: RunFolder, images: ImageSet, config: LeaveOutConfig) -> Int[ndarray, " n"]:
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
    return by_weight(numbers, weights.astype(np.float64), len(images))


def by_weight(
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


def without_images(
    run: RunFolder,
    source: ImageSet | PatchIndex,
    config: LeaveOutConfig,
    members: Int[ndarray, " m"],
    *,
    removed: Sequence[int],
    device: torch.device,
) -> Float[ndarray, "c h w"]:
    """What the sample's noise becomes without these images."""
    images = source if isinstance(source, ImageSet) else source.images
    kept: Bool[ndarray, " n"] = np.zeros(len(images), dtype=np.bool_)
    kept[members] = True
    kept[list(removed)] = False
    labels = kept.astype(np.int64) * KEPT
    # all that can be asked of some classes alone can be asked of the images that stay
    reduced = (
        ImageSet.from_array(images.pixels, labels, name=images.name, layout="nchw")
        if isinstance(source, ImageSet)
        else source.relabelled(labels)
    )
    known = {field.name for field in fields(SamplerConfig)}
    asked = {name: value for name, value in run.account["config"].items() if name in known}
    settings = SamplerConfig(**asked)
    machine = make_machine(reduced, replace(settings, exact=settings.exact or config.exact))
    noise = noise_of(settings, images)[config.sample : config.sample + 1]
    result = sample(
        machine,
        noise.to(device),
        # those that the run used, so that only the images differ
        scales=run.account["scales"]["patch_sizes"] or [None],
        steps=settings.steps,
        schedule=settings.schedule,
        label=KEPT,
        reference_steps=settings.reference_steps,
    )
    made: Float[ndarray, "c h w"] = result.images[0].cpu().numpy()
    return made


def rms(image: Float[ndarray, "c h w"], other: Float[ndarray, "c h w"]) -> float:
    """Root mean square of the difference."""
    return float(np.sqrt(np.square(image.astype(np.float64) - other).mean()))


CHECKS, PICTURES = "leave_out.json", "leave_out.npz"
IMAGES = ("finished", "without", "control")
# what NumPy, `zipfile` and `json` raise over files that are cut short, altered, or not ours
DAMAGE = (
    OSError, EOFError, BadZipFile, zlib.error, ValueError, LookupError, TypeError, RecursionError,
    NotImplementedError,
)  # fmt: skip
REMEDY = "Free some space, or mend its permissions."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Check:
    """A check that was kept.

    Attributes:
        account: see `LeaveOut.account`.
        finished, without, control: see `LeaveOut`.
    """

    account: dict[str, Any]
    finished: Float[ndarray, "c h w"]
    without: Float[ndarray, "c h w"]
    control: Float[ndarray, "c h w"]

    @property
    def sample(self) -> int:
        """Number of the sample in the run."""
        return int(self.account["sample"])


def read_checks(folder: Path, images: ImageSet) -> list[Check]:
    """The checks that a run's folder holds, in the order of sample and pixel.

    Args:
        images: what the run was made from.

    Raises:
        ResultsError: what they tell of cannot be.
        SamplerConfigError: they cannot be read.
    """
    try:
        with (folder / PICTURES).open("rb") as file, np.load(file, allow_pickle=False) as found:
            accounts = json.loads(str(found["accounts"]))
            pictures = [found[name] for name in IMAGES]
    except FileNotFoundError:
        return []
    except DAMAGE as error:
        raise unreadable(folder, str(error)) from error
    shape = (images.channels, images.height, images.width)
    if not isinstance(accounts, list) or any(
        found.dtype != np.float32 or found.shape != (len(accounts), *shape) for found in pictures
    ):
        raise unreadable(folder, f"it does not hold float32 pictures of {shape}")
    for position, account in enumerate(accounts):
        check(account, shape_of_check(images), f"accounts[{position}]", folder / PICTURES)
    return [
        Check(account=told, **dict(zip(IMAGES, of_one, strict=True)))
        for told, of_one in zip(accounts, zip(*pictures, strict=True), strict=True)
    ]


def shape_of_check(images: ImageSet) -> dict[str, Shape]:
    """What the account of a check holds."""
    numbers = list_of(whole(0, len(images) - 1), 1, len(images))
    pixel = list_of(whole(0, max(images.height, images.width) - 1), 2, 2)
    return {
        "sample": whole(0, MANY), "pixel": or_null(pixel), "removed": numbers, "compared": numbers,
        "distance": number(0, LARGEST), "control_distance": number(0, LARGEST),
    }  # fmt: skip


def unreadable(folder: Path, why: str) -> SamplerConfigError:
    """The error of checks that cannot be read."""
    return SamplerConfigError(
        f"{folder / PICTURES} cannot be read ({why}). Remove it, and repeat the checks with "
        "`sampler leave-out`."
    )


def keep_check(folder: Path, found: LeaveOut, images: ImageSet) -> None:
    """Add a check to a run's folder, in place of an earlier one of the same sample and pixel.

    Args:
        images: what the run was made from.

    Raises:
        OutputError: the disk is full or the folder went away.
    """
    new = Check(account=found.account(), **{name: getattr(found, name) for name in IMAGES})
    checks = [kept for kept in read_checks(folder, images) if place_of(kept) != place_of(new)]
    checks = sorted([*checks, new], key=place_of)
    accounts = [kept.account for kept in checks]
    arrays = {
        "accounts": np.array(json.dumps(accounts)),  # with the pictures that they are of
    } | {name: np.stack([getattr(kept, name) for kept in checks]) for name in IMAGES}
    write_whole(
        {
            PICTURES: lambda path: np.savez(path, **arrays),  # type: ignore[arg-type]
            CHECKS: lambda path: write_json({"checks": accounts}, path),
        },
        folder,
        REMEDY,
    )


def place_of(check: Check) -> tuple[int, list[int]]:
    """What a check is of: its sample, and its pixel if there is one."""
    return check.sample, check.account["pixel"] or []
