"""Images that machines do not hold: taken out of the training set, or of another set."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchindex import ImageSet, PatchIndex
from patchindex.images import to_unit
from sampler.denoiser import Images
from sampler.errors import SamplerConfigError
from sampler.noise import check_num
from sampler.results.run_result import SamplerConfig


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOut:
    """Images that no machine holds.

    Attributes:
        images: in [-1, 1].
        label: class of each; None if the set has no labels.
        origin: name of the set that they come from; None where they were held out of `rest`.
        rest: the training images without them.
    """

    images: Images
    label: Int[Tensor, " b"] | None
    origin: str | None
    rest: ImageSet | PatchIndex


def hold_out_of(training_set: ImageSet | PatchIndex, sampling: SamplerConfig) -> HeldOut:
    """As many images as configured, drawn from the training set and taken out of it.

    Raises:
        SamplerConfigError: an index, or fewer images than are asked for.
    """
    if not isinstance(training_set, ImageSet):
        raise SamplerConfigError(
            "an index holds all of its images, so that none can be held out of it. Give other "
            "images with --held-out, or --dataset in place of --index."
        )
    drawn = (training_set, sampling.num, sampling.seed, sampling.label)
    held, rest = hold_out(*drawn)
    return HeldOut(
        images=held,
        label=_labels_at(training_set, held_out_places(*drawn)),
        origin=None,
        # under its own name, for which scales are published
        rest=replace(rest, name=training_set.name, crop=training_set.crop),
    )


def hold_out(
    images: ImageSet, num: int, seed: int, label: int | None = None
) -> tuple[Float[Tensor, "b c h w"], ImageSet]:
    """So many images (of a class) drawn without replacement, in [-1, 1], and the set of all others.

    Raises:
        SamplerConfigError: there would be no others.
    """
    chosen = held_out_places(images, num, seed, label)
    kept = np.setdiff1d(np.arange(len(images)), chosen)
    rest = ImageSet.from_array(
        np.asarray(images.pixels[kept]),
        None if images.labels is None else images.labels[kept],
        class_names=images.class_names,
        name=f"{images.name} without {num} held out",
        layout="nchw",
    )
    return to_unit(np.asarray(images.pixels[chosen])), rest.with_device(images.device)


def held_out_places(
    images: ImageSet, num: int, seed: int, label: int | None = None
) -> Int[np.ndarray, " b"]:
    """Positions of the images that `hold_out` takes.

    Raises:
        SamplerConfigError: there would be no others.
        DatasetError: no image has the label.
    """
    among = images.label_indices(label)
    if not 0 < num < len(among):
        raise SamplerConfigError(
            f"{num} images cannot be held out of {len(among)}. Give --num from 1 to "
            f"{len(among) - 1}."
        )
    places: Int[np.ndarray, " b"] = among[
        np.random.default_rng(seed).choice(len(among), num, replace=False)
    ]
    return places


def draw_from(
    others: ImageSet, training_set: ImageSet | PatchIndex, sampling: SamplerConfig
) -> HeldOut:
    """As many images as configured, drawn from another set; says if training holds some of them.

    Raises:
        SamplerConfigError: fewer images than are asked for.
    """
    among = others.with_label(sampling.label)
    check_num(sampling.num)
    if sampling.num > len(among):
        raise SamplerConfigError(
            f"{sampling.num} images were asked for, but {others.name} has {len(among)}. Give --num "
            f"of at most {len(among)}."
        )
    places = np.random.default_rng(sampling.seed).choice(len(among), sampling.num, replace=False)
    images = to_unit(np.asarray(among.pixels[places]))
    return HeldOut(
        images=images,
        label=_labels_at(among, places),
        origin=others.name,
        rest=training_set,
    )


def _labels_at(images: ImageSet, places: Int[np.ndarray, " b"]) -> Int[Tensor, " b"] | None:
    if images.labels is None:
        return None
    return torch.from_numpy(images.labels[places].astype(np.int64))
