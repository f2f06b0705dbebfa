"""What leaving out one training image changes: one posterior mean, or a whole sample."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from patchindex import ImageSet, PatchGeometry, PosteriorRecord
from patchindex.kernels import exact_scan
from sampler import ELSMachine
from sampler.schedule import Step
from sampler.trajectory import Begun, follow

# where one image has more of a pixel, all others are summed anew: their sum would be a difference
# of two numbers that are almost equal
LARGEST_SHARE = 0.9999


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """One image left out of one state's posterior.

    Attributes:
        exact_share: its share of the posterior, averaged over the pixels; of all its patches.
        change: root mean square change of the posterior mean, over pixels and channels.
    """

    exact_share: float
    change: float


def remove_one_by_one(
    images: ImageSet,
    y: Float[Tensor, "1 c h w"],
    sigma: float,
    geometry: PatchGeometry,
    numbers: Sequence[int],
) -> Iterator[Removal]:
    """Leave each image out of the exact posterior of a state.

    The image's own sums give the change, share / (1 - share) (mean - its own mean), without a scan
    of the others, unless it has nearly all of some pixel.

    Args:
        numbers: of the images, each of which leaves alone.
    """
    everything = images.tensor
    total = exact_scan(everything, y, sigma, geometry)
    log_mass = _log_mass(total)
    for number in numbers:
        own = exact_scan(everything[number : number + 1], y, sigma, geometry)
        share = (_log_mass(own) - log_mass).exp()
        if float(share.max()) > LARGEST_SHARE:
            mean = exact_scan(without(images, number).tensor, y, sigma, geometry).mean
            change = mean - total.mean
        else:
            change = (share / (1 - share))[..., None] * (total.mean - own.mean)
        yield Removal(exact_share=float(share.mean()), change=rms(change))


def _log_mass(record: PosteriorRecord) -> Float[Tensor, "b h w"]:
    return record.log_max + record.sum_w.log()


def without(images: ImageSet, number: int) -> ImageSet:
    """All images but one."""
    kept = np.arange(len(images)) != number
    labels = None if images.labels is None else images.labels[kept]
    return replace(images, pixels=images.pixels[kept], labels=labels, names=None)


def final_change(
    images: ImageSet,
    number: int,
    plan: Sequence[Step],
    state: Float[Tensor, "1 c h w"],
    finished: Float[Tensor, "1 c h w"],
) -> float:
    """Root mean square change of a finished sample if an image is absent from a step on.

    Args:
        plan: of the steps that are left.
        state: before them.
        finished: the sample that all images made of it.
    """
    machine = ELSMachine(without(images, number))
    reached = state
    for done in follow(machine, state, plan, begun=Begun(reached=state)):
        reached = done.reached
    return rms(reached - finished)


def rms(values: Tensor) -> float:
    """Root mean square."""
    return float(values.double().square().mean().sqrt())


def choose_images(
    shares: Float[ndarray, " n"], named: int, controls: int, rng: np.random.Generator
) -> Int[ndarray, " m"]:
    """Images of all sizes of share, then as many others for comparison.

    Of those with a share, `named` at evenly spaced logarithms of their rank, the heaviest first.
    The others are drawn from the images without a share; where these are too few, those with the
    least share follow.
    """
    order = np.argsort(-shares, kind="stable")
    num_named = int(np.count_nonzero(shares))
    wanted = min(named, num_named)
    places = np.unique(np.geomspace(1, max(num_named, 1), wanted).round().astype(np.int64)) - 1
    spare = np.setdiff1d(np.arange(num_named), places)[: wanted - len(places)]
    heavy = order[np.sort(np.concatenate([places, spare]))]
    unnamed = rng.permutation(order[num_named:])
    lighter = order[:num_named][::-1]
    rest = np.concatenate([unnamed, lighter[~np.isin(lighter, heavy)]])
    chosen: Int[ndarray, " m"] = np.concatenate([heavy, rest[:controls]])
    return chosen


def geometry_for(images: ImageSet, patch_size: int) -> PatchGeometry:
    """All translations, zeros beyond borders."""
    return PatchGeometry(
        height=images.height, width=images.width, patch_size=patch_size, boundary="zeros",
        equivariant=True,
    )  # fmt: skip
