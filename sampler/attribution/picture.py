"""Which training images a picture comes from, whoever made it: its pixels at several noise levels.

Noise is added to the picture, y = x0 + sigma eps, at each level of a fixed list, and every pixel
of y is asked for its sources (arXiv 2412.20292, equation 10); the answers are averaged over several
draws of eps. A draw has the same eps at all levels and for all pictures: a picture becomes noise
along a straight line, on which what was found at one level serves at the next.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from patchindex import ImageSet, PatchIndex
from patchindex.crew import watched
from patchindex.images import shared_tensor, to_unit
from patchindex.progress import Progress, ProgressCallback, telling
from sampler.attribution.attributed import Level, PictureAttributions
from sampler.attribution.draws import average_draws
from sampler.attribution.image_file import SLACK
from sampler.choices import THEORY
from sampler.errors import SamplerConfigError
from sampler.estimator import CarriedHead, NeighborSearch, Retrieval, index_geometry, parts_for
from sampler.machines import ELSMachine
from sampler.noise import initial_noise
from sampler.results.picture_result import PictureConfig

STAGE = "asking at each noise level"
# A draw lists more than is kept: a patch that is eighth in one may be twentieth in another.
LISTED_OF_A_DRAW = 32
# pixels of states that are asked for at once, which bounds the memory of their lists to 200 MB
MOST_PIXELS = 2**19

DEFAULTS = PictureConfig()
Pictures = (
    Float[Tensor, "b c h w"] | UInt8[Tensor, "b c h w"]
    | Float[ndarray, "b c h w"] | UInt8[ndarray, "b c h w"]
)  # fmt: skip


def attribution(  # noqa: PLR0913 - a question and its settings, each by its name
    training_set: ImageSet | NeighborSearch,
    images: Pictures,
    *,
    sigmas: Sequence[float] | None = None,
    scales: Sequence[int] | Literal["theory"] | None = None,
    draws: int = DEFAULTS.draws,
    seed: int = 0,
    label: int | None = None,
    num_sources: int = DEFAULTS.num_sources,
    exact: bool | None = None,
    progress: Progress | None = None,
) -> PictureAttributions:
    """Which training images pictures come from, and where each of their pixels does.

    A picture's answer does not depend on the others that are asked about with it.

    Args:
        training_set: an index of the training images.
        images: made by any generator, of the index's size: floating point in [-1, 1], or uint8.
        sigmas: noise levels in data units, falling; None for `PICTURE_SIGMAS` of
            `sampler.results.picture_result`.
        scales: patch sizes of the index, at each of which every noise level is asked; None for the
            largest that is at most half of a picture's side; "theory" for those at which the
            machine denoises, small where noise is low.
        draws: of noise at each level, over which answers are averaged.
        seed: of these, and of what retrieval draws.
        label: class of the training images; None for all.
        num_sources: training patches to list for each pixel.
        exact: sum over every patch instead of retrieving; None where that is no slower.
        progress: a class of bars such as tqdm's, or a callback; of the noise levels that are done.

    Raises:
        SamplerConfigError: pictures of another shape or range, a setting out of range, or images
            without an index, among which no patch can be named.
        DatasetError: no image has the label.

    Example:
        >>> [found] = attribution(PatchIndex.open("photos.zarr"), picture[None])
        >>> found.shares[0].name, found.shares[0].share
        ('coats/0113.png', 0.31)
        >>> [(source.name, source.weight) for source in found.sources.at(12, 7)]
        >>> found.region(113)  # share of that training image in each pixel
    """
    config = PictureConfig(
        scales=scales if scales is None or isinstance(scales, str) else tuple(scales),
        draws=draws, seed=seed, label=label, num_sources=num_sources, exact=exact,
        **({} if sigmas is None else {"sigmas": tuple(map(float, sigmas))}),
    )  # fmt: skip
    return attribute(training_set, images, config, progress)


def attribute(
    training_set: ImageSet | NeighborSearch,
    images: Pictures,
    config: PictureConfig,
    progress: Progress | None = None,
) -> PictureAttributions:
    """`attribution`, with its settings as they are written down."""
    training = training_set.images
    if isinstance(training_set, ImageSet):
        raise SamplerConfigError(
            "where a picture comes from can only be named with an index. Build one with "
            "`patchindex build` and give it with --index."
        )
    training.count(config.label)  # refuses a label that no image has
    pictures = checked_pictures(images, training)
    config = replace(config, scales=config.scales or (telling_scale(training_set),))
    machine = picture_machine(training_set, config)
    levels = levels_of(machine, config)
    start = perf_counter()
    config = replace(config, exact=machine.parts is None)
    per_picture = config.draws * training.height * training.width
    groups = pictures.split(max(1, MOST_PIXELS // per_picture))
    found = []
    with telling(progress) as callback:
        for number, group in enumerate(groups):
            tell = _Telling(callback, number * len(levels), len(groups) * len(levels))
            found.append(list(_at_each_level(machine, training_set, group, config, tell)))
    return PictureAttributions(
        pictures=pictures,
        levels=tuple(Level.joined(parts) for parts in zip(*found, strict=True)),
        config=config,
        training=training,
        seconds=perf_counter() - start,
    )


def checked_pictures(images: Pictures, training: ImageSet) -> Float[Tensor, "b c h w"]:
    """The pictures in [-1, 1], on the processor.

    Raises:
        SamplerConfigError: another shape, type or range, or values that are not finite.
    """
    if isinstance(images, Tensor):
        values = images.detach().cpu()
    else:  # torch has no numbers of another byte order
        array = np.ascontiguousarray(images)
        values = shared_tensor(array.astype(array.dtype.newbyteorder("="), copy=False))
    shape = (training.channels, training.height, training.width)
    if values.ndim != 4 or tuple(values.shape[1:]) != shape or not len(values):
        raise SamplerConfigError(
            f"pictures have shape {list(values.shape)}, but the images of {training.name} are "
            f"{'x'.join(map(str, shape))}. Give shape [b, {', '.join(map(str, shape))}]."
        )
    if values.dtype == torch.uint8:
        return to_unit(values)
    if not values.is_floating_point():
        raise SamplerConfigError(
            f"pictures are {str(values.dtype).removeprefix('torch.')}. Give uint8 in 0..255, or "
            "floating point in [-1, 1]."
        )
    if not values.isfinite().all() or float(values.abs().max()) > 1 + SLACK:
        low, high = float(values.min()), float(values.max())
        raise SamplerConfigError(
            f"pictures have values from {low:g} to {high:g}. Give floating point values in "
            "[-1, 1], or uint8 in 0..255."
        )
    return values.float()


def picture_machine(training_set: ImageSet | NeighborSearch, config: PictureConfig) -> ELSMachine:
    """The machine that is asked: exact where that was wanted, or is no slower than retrieval.

    Raises:
        SamplerConfigError: a patch size that was asked for is not in the index.
    """
    parts = parts_for(training_set) if isinstance(training_set, PatchIndex) else 1
    k = patches_retrieved(training_set.images)
    strict = config.scales != THEORY
    retrieving = ELSMachine(training_set, seed=config.seed, k=k, parts=parts, strict_scales=strict)
    sizes = [size for _, size in levels_of(retrieving, config)]
    is_exact = config.exact
    if is_exact is None:
        is_exact = retrieving.exact_is_no_slower(sizes, config.label)
    return ELSMachine(training_set, exact=True) if is_exact else retrieving


def patches_retrieved(images: ImageSet) -> int:
    """As many patches for a pixel as runs retrieve; fewer of a few images, which may lack them."""
    return min(Retrieval.k, len(images))


def levels_of(machine: ELSMachine, config: PictureConfig) -> list[tuple[float, int]]:
    """Each noise level with each patch size that is compared there, in this order.

    Args:
        config: with its scales.
    """
    if isinstance(config.scales, str):
        sizes = machine.compared_sizes([machine.patch_size_at(sigma) for sigma in config.sigmas])
        return list(zip(config.sigmas, sizes, strict=True))
    sizes = machine.compared_sizes(config.scales or ())
    return [(sigma, size) for sigma in config.sigmas for size in sizes]


def telling_scale(index: NeighborSearch) -> int:
    """The patch size that tells training images apart best, and still fits into parts of them.

    Patches of 3 or 5 pixels, with which the machine denoises at low noise, are much the same in
    many images: a training picture of Fashion-MNIST then has 2 % of its own shares, and half of
    them at 15 pixels.
    """
    half = min(index.images.height, index.images.width) // 2
    return max([size for size in index.scales if size <= half] or [min(index.scales)])


@dataclass(frozen=True, slots=True)
class _Telling:
    """Tells how many noise levels of all groups of pictures are done."""

    progress: ProgressCallback
    done: int
    total: int

    def __call__(self, level: int, share: float) -> None:
        """So many levels are done, and a share of the next."""
        self.progress(STAGE, self.done + level + share, self.total)


def _at_each_level(
    machine: ELSMachine,
    index: NeighborSearch,
    pictures: Float[Tensor, "b c h w"],
    config: PictureConfig,
    tell: _Telling,
) -> Iterator[Level]:
    """Ask about some pictures together, from the highest noise to the lowest."""
    place = machine.images.device.place
    eps = initial_noise(config.draws, machine.images, config.seed)
    # all draws of a picture behind each other
    x0, noise = pictures.repeat_interleave(config.draws, 0), eps.repeat(len(pictures), 1, 1, 1)
    levels = levels_of(machine, config)
    heads: dict[int, CarriedHead | None] = {}  # by patch size
    known: CarriedHead | None = None
    for number, (sigma, size) in enumerate(levels):
        machine.images.crew.begin(f"noise level {number + 1} of {len(levels)}")
        if config.scales != THEORY:  # a head serves at the next level of its own size
            known = heads.get(size)
        y = x0 + sigma * noise
        with watched(partial(tell, number)):
            answer = machine.posterior_of(
                y.to(place), sigma, size, label=config.label, known=known,
                num_sources=max(LISTED_OF_A_DRAW, config.num_sources),
            )  # fmt: skip
        known = heads[size] = answer.head
        tell(number + 1, 0.0)
        yield Level(
            sigma=sigma,
            geometry=index_geometry(index, size),
            state=y[:: config.draws],
            posterior=average_draws(answer, config.draws, config.num_sources),
        )
