"""The data inside the page: a JSON header, and arrays of small whole numbers."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8, UInt16
from numpy import ndarray

from patchindex import ImageSet
from sampler.attribution.leave_out import read_checks
from sampler.attribution.shown import Shown
from sampler.errors import SamplerConfigError
from sampler.results.trace import Trace, check_image_numbers

_FINEST = 65535
_SOURCES_SHOWN = 4
# lighter ones say little, and the page could not hold the pictures of all their images
_LEAST_SHOWN = 0.005
# pixels of all steps and samples that make a page of about ten megabytes
MOST_PIXELS = 400_000
SHOWN_BYTES = 14_800_000  # of the whole page; pictures of training images fill it up
_NEARLY = 0.9  # of the largest weight: as good a place to start
_NOISE_QUANTILE = 0.998

Arrays = dict[str, Shaped[ndarray, "..."]]


def linear_levels(values: Float[ndarray, "..."], low: float, high: float) -> UInt8[ndarray, "..."]:
    """0 for `low` and less, 255 for `high` and more."""
    scaled = (values.astype(np.float32) - low) * (255 / (high - low))
    levels: UInt8[ndarray, "..."] = scaled.round().clip(0, 255).astype(np.uint8)
    return levels


def log_levels(
    values: Float[ndarray, "..."],
) -> tuple[UInt8[ndarray, "..."], tuple[float, float]]:
    """1 to 255 over the logarithms of the positive values, 0 for zero; and log10 of both ends."""
    positive = values > 0
    logs = np.log10(values, where=positive, out=np.zeros(values.shape, np.float32))
    known = logs[positive]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    high = max(high, low + 0.1)  # equal values need some range, too
    levels = 1 + ((logs - low) * (254 / (high - low))).round().clip(0, 254)
    kept: UInt8[ndarray, "..."] = np.where(positive, levels, 0).astype(np.uint8)
    return kept, (low, high)


def share_levels(
    weights: Float[ndarray, "*q m"],
) -> tuple[UInt16[ndarray, "*q m"], UInt16[ndarray, "*q"]]:
    """Shares in steps of 1 / 65535, and what they leave of the whole."""
    levels = (weights.astype(np.float64) * _FINEST).round().astype(np.int64)
    rest = (_FINEST - levels.sum(axis=-1)).clip(0)
    return levels.astype(np.uint16), rest.astype(np.uint16)


def chosen_samples(run: Shown, wanted: Sequence[int] | None) -> list[int]:
    """The samples that the page shows: those asked for, or as many as a page of fair size holds.

    Raises:
        SamplerConfigError: there is no such sample.
    """
    steps, num, _, height, width = run.trace.shape
    if wanted is None:
        return list(range(max(1, min(num, MOST_PIXELS // (steps * height * width)))))
    for sample in wanted:
        if not 0 <= sample < num:
            raise SamplerConfigError(
                f"there is no sample {sample} in {run.path}. Give numbers from 0 to {num - 1}."
            )
    return list(dict.fromkeys(wanted))


def make_payload(
    run: Shown, images: ImageSet, samples: Sequence[int]
) -> tuple[dict[str, Any], Arrays]:
    """Header and arrays for `render_page`, without the training images' pictures.

    Args:
        images: what the run was made from.
        samples: numbers of the samples to show.
    """
    run.check_images(images)
    trace, at = run.trace, list(samples)
    state = trace.read("state", at)
    ranges = _state_ranges(state)
    states = [linear_levels(part, -end, end) for part, end in zip(state, ranges, strict=True)]
    effective, effective_range = log_levels(trace.read("effective_sample_size", at))
    arrays: Arrays = {
        "state": np.stack(states),
        "mean": linear_levels(trace.read("mean", at), -1.0, 1.0),
        "effective_sample_size": effective,
    }
    error, error_range = log_levels(trace.read("standard_error", at).astype(np.float32))
    head_mass = trace.read("head_mass", at).astype(np.float32)
    if np.isfinite(head_mass).all():  # both are unknown where patches were left out
        arrays |= {"head_mass": linear_levels(head_mass, 0.0, 1.0), "standard_error": error}
    arrays |= _source_arrays(trace, at, images)
    pictures = run.pictures()
    if pictures is not None:
        arrays["picture"] = linear_levels(pictures[at], -1.0, 1.0)
    checks = [check for check in read_checks(run.path, images) if check.result.sample in at]
    if checks:
        pairs = ((check.finished, check.without) for check in checks)
        for name, pictures in zip(
            ("held_against", "left_out"), zip(*pairs, strict=True), strict=True
        ):
            arrays[name] = linear_levels(np.stack(pictures), -1.0, 1.0)
    header = {
        "kind": run.kind,
        "title": run.title(len(at)),
        "facts": run.facts(images),
        "steps": [
            asdict(step) | {"state_range": [-end, end]}
            for step, end in zip(run.levels(images), ranges, strict=True)
        ],
        "whole_images": run.compares_whole_images,
        "boundary": run.boundary,
        "samples": [
            {"number": number, "label": run.label}
            | run.words_of(number)
            | asdict(run.attribution[number])
            for number in at
        ],
        "leave_out": [
            {
                "sample": at.index(check.result.sample),
                "removed": list(check.result.removed),
                "distance": check.result.distance,
                "control_distance": check.result.control_distance,
            }
            for check in checks
        ]
        or None,
        "log_ranges": {
            "effective_sample_size": list(effective_range),
            "standard_error": list(error_range),
        },
        "start": place_to_start(arrays["source_weight"]),
        "least_share": _LEAST_SHOWN,
        "class_names": list(map(images.class_name, range(len(images.class_names)))) or None,
        "num_training_images": len(images.label_indices(run.label)),
    }
    return header, arrays


def _state_ranges(state: Float[ndarray, "s b c h w"]) -> list[float]:
    """For each step the largest value but for outliers, at least 1: what the picture spans."""
    sizes = np.abs(state.astype(np.float32)).reshape(len(state), -1)
    ends: list[float] = np.quantile(sizes, _NOISE_QUANTILE, axis=1).clip(1).tolist()
    return ends


def _source_arrays(trace: Trace, at: list[int], images: ImageSet) -> Arrays:
    """The heaviest sources of each pixel; light ones count as unattributed."""
    ids = trace.source_ids(at)[..., :_SOURCES_SHOWN]
    shares = trace.read("source_weights", at)[..., :_SOURCES_SHOWN].astype(np.float32)
    listed, per_image = shares >= _LEAST_SHOWN, images.height * images.width
    check_image_numbers(ids[listed] // per_image, len(images))
    weights, unattributed = share_levels(shares * listed)
    return {
        "source_image": np.where(listed, ids // per_image, -1).astype(np.int32),
        # two bytes are enough for images of up to 256 x 256
        "source_place": np.where(listed, ids % per_image, 0).astype(
            np.uint16 if per_image <= 2**16 else np.int32
        ),
        "source_weight": weights,
        "unattributed": unattributed,
    }


def place_to_start(weights: UInt16[ndarray, "s b h w m"]) -> dict[str, int] | None:
    """Sample, step and pixel where there is something to see; None where no source is shown.

    A pixel with nearly the largest listed weight: of the latest step that has one, in the first
    sample that does, and nearest to the middle.

    Args:
        weights: shares of the listed sources.
    """
    listed = weights.sum(axis=-1, dtype=np.int64)
    if not listed.max():
        return None
    enough = listed >= _NEARLY * listed.max()
    step = int(enough.any(axis=(1, 2, 3)).nonzero()[0][-1])
    sample = int(enough[step].any(axis=(1, 2)).argmax())
    rows, cols = enough[step, sample].nonzero()
    height, width = listed.shape[2:]
    nearest = int(((rows - height // 2) ** 2 + (cols - width // 2) ** 2).argmin())
    return {"sample": sample, "step": step, "y": int(rows[nearest]), "x": int(cols[nearest])}


def made_images(header: dict[str, Any]) -> list[int]:
    """Training images that the page shows beside samples: what was copied, shared or left out."""
    near = [sample.get("near_copies") or {"copies": []} for sample in header["samples"]]
    made = [copy["image"] for each in near for copy in each["copies"]]
    made += [entry["image"] for sample in header["samples"] for entry in sample["images"]]
    made += [image for entry in header["leave_out"] or [] for image in entry["removed"]]
    return list(dict.fromkeys(made))


def heaviest_images(header: dict[str, Any], arrays: Arrays) -> Int[ndarray, " n"]:
    """Training images that the page names: those that made the samples, then by weight."""
    named = arrays["source_image"]
    listed = named >= 0
    weight = np.bincount(named[listed], arrays["source_weight"][listed].astype(np.float64))
    by_weight = np.argsort(-weight, kind="stable")[: np.count_nonzero(weight)]
    named_first = dict.fromkeys([*made_images(header), *by_weight.tolist()])
    return np.array(list(named_first), dtype=np.int64)


def file_names(images: ImageSet, numbers: Int[ndarray, " n"]) -> dict[str, str] | None:
    """Printable names of the images' files by their numbers; None if images have none."""
    if images.names is None:
        return None
    return {str(number): images.file_name(number) or "" for number in numbers.tolist()}


def picture_arrays(images: ImageSet, numbers: Int[ndarray, " n"], bits: int = 8) -> Arrays:
    """Pictures and labels of these training images, ascending.

    Args:
        bits: of a pixel that are kept; the fewer, the better pictures deflate.
    """
    ordered, finest = np.sort(numbers), 2**bits - 1
    levels = (np.asarray(images.pixels[ordered]) * np.float32(finest / 255)).round()
    labels = None if images.labels is None else images.labels[ordered]
    return {
        "embedded_number": ordered.astype(np.int32),
        "embedded": (levels * np.float32(255 / finest)).round().astype(np.uint8),
        "embedded_label": np.full(len(ordered), -1, np.int32)
        if labels is None
        else labels.astype(np.int32),
    }
