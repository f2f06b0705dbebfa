"""Where a picture equals a training image at a displacement: comparison and segmentation by pixels.

Two accounts of a pixel are compared. As a copy, its error from the training image is normal with
standard deviation `tolerance`. As no copy, patches of other images account for it, with the squared
error `expected` that they are known to leave (`copy_candidates.expected_error`) and the same
tolerance. The log of the ratio of both likelihoods is the evidence in nats,

    1/2 (log(1 + expected / tolerance^2) + expected / (expected + tolerance^2)
         - squared / tolerance^2),

zero where the picture is plain and equal, and cut off below, so that one bad pixel does not
outweigh a region.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from patchindex import ImageSet
from patchindex.images import to_unit
from sampler.attribution.copy_candidates import Candidates

LEAST_EVIDENCE = -1.5  # nats of a pixel that differs
SMOOTHNESS = 0.25  # nats for each neighbor of the other kind
ROUNDS = 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Regions:
    """The best region of each candidate.

    Attributes:
        mask: its pixels.
        score: sum of their evidence, in nats.
        offset: brightness that was added to the image.
        squared: mean over channels of the squared difference from the image so brightened.
    """

    mask: Bool[Tensor, "m h w"]
    score: Float[Tensor, " m"]
    offset: Float[Tensor, " m"]
    squared: Float[Tensor, "m h w"]


def displaced(
    images: ImageSet, candidates: Candidates, *, wraps: bool
) -> tuple[Float[Tensor, "m c h w"], Bool[Tensor, "m h w"]]:
    """Each candidate's image, moved to the picture's place, and which pixels it covers."""
    height, width = images.height, images.width
    rows = candidates.dy[:, None] + np.arange(height)
    cols = candidates.dx[:, None] + np.arange(width)
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((cols >= 0) & (cols < width))[:, None]
    taken = images.pixels[candidates.image]
    moved = np.take_along_axis(taken, (rows % height)[:, None, :, None], axis=2)
    moved = np.take_along_axis(moved, (cols % width)[:, None, None, :], axis=3)
    valid = np.ones_like(inside) if wraps else inside
    return to_unit(moved), torch.from_numpy(valid)


def find_regions(
    picture: Float[Tensor, "c h w"],
    moved: Float[Tensor, "m c h w"],
    valid: Bool[Tensor, "m h w"],
    where: Bool[Tensor, "m h w"],
    expected: Float[Tensor, "h w"],
    *,
    tolerance: float,
    most_offset: float,
) -> Regions:
    """The connected region of each candidate with the most evidence of a copy.

    Args:
        picture, moved: in [-1, 1].
        valid: pixels that may be in a region.
        where: pixels that the brightness offset is found from.
        expected: squared error of pixels that are no copy.
        most_offset: largest brightness offset.
    """
    offset = brightness_offset(picture, moved, where & valid, most_offset)
    brightened = (moved + offset[:, None, None, None]).clamp(-1, 1)
    squared = (picture - brightened).square().mean(1)
    nats = evidence(squared, expected, tolerance).where(valid, LEAST_EVIDENCE)
    mask, score = best_component(segment(nats), nats)
    return Regions(mask=mask, score=score, offset=offset, squared=squared)


def brightness_offset(
    picture: Float[Tensor, "c h w"],
    moved: Float[Tensor, "m c h w"],
    where: Bool[Tensor, "m h w"],
    most: float,
) -> Float[Tensor, " m"]:
    """Median difference of picture and image in a region, within +-most; 0 where it is empty."""
    differences = (picture - moved).mean(1).where(where, torch.nan)
    middle = differences.flatten(1).nanmedian(dim=1).values
    return middle.nan_to_num(0.0).clamp(-most, most)


def evidence(
    squared: Float[Tensor, "m h w"], expected: Float[Tensor, "h w"], tolerance: float
) -> Float[Tensor, "m h w"]:
    """Log of the likelihood as a copy over that as no copy, of every pixel, cut off below."""
    copied = tolerance**2
    other = expected + copied
    nats = 0.5 * ((other / copied).log() + expected / other - squared / copied)
    return nats.clamp(min=LEAST_EVIDENCE)


def segment(nats: Float[Tensor, "m h w"]) -> Bool[Tensor, "m h w"]:
    """Pixels of copies: evidence of their own, and that neighbors are of one kind.

    Iterated conditional modes of an Ising prior, from the mean over 3 x 3 pixels.
    """
    mask = avg_pool2d(nats[:, None], 3, 1, 1, count_include_pad=False)[:, 0] > 0
    for _ in range(ROUNDS):
        sides = pad(2.0 * mask - 1, (1, 1, 1, 1))  # beyond the border is neither kind
        agreement = (
            sides[:, :-2, 1:-1] + sides[:, 2:, 1:-1] + sides[:, 1:-1, :-2] + sides[:, 1:-1, 2:]
        )
        mask = nats + SMOOTHNESS * agreement > 0
    return mask


def components(mask: Bool[ndarray, "m h w"]) -> Int[ndarray, "m h w"]:
    """A number above 0 for each pixel of a mask, the same for pixels joined by their sides."""
    m, height, width = mask.shape
    labels: Int[ndarray, "m h w"] = np.arange(1, mask.size + 1).reshape(mask.shape) * mask
    while True:
        by_rows = run_maxima(labels.reshape(-1, width)).reshape(mask.shape)
        columns = np.ascontiguousarray(by_rows.transpose(0, 2, 1))
        by_columns = run_maxima(columns.reshape(-1, height)).reshape(m, width, height)
        joined = by_columns.transpose(0, 2, 1)
        if np.array_equal(joined, labels):
            return labels
        labels = np.ascontiguousarray(joined)


def run_maxima(labels: Int[ndarray, "rows cols"]) -> Int[ndarray, "rows cols"]:
    """Every label of a row replaced by the largest of its run of labels above 0."""
    starts = np.ones(labels.shape, dtype=np.bool_)
    starts[:, 1:] = (labels[:, 1:] > 0) != (labels[:, :-1] > 0)
    places = np.flatnonzero(starts)
    largest = np.maximum.reduceat(labels.reshape(-1), places)
    lengths = np.diff(np.append(places, labels.size))
    runs: Int[ndarray, "rows cols"] = np.repeat(largest, lengths).reshape(labels.shape)
    return runs


def best_component(
    mask: Bool[Tensor, "m h w"], nats: Float[Tensor, "m h w"]
) -> tuple[Bool[Tensor, "m h w"], Float[Tensor, " m"]]:
    """Of each mask the connected part with the most evidence, and how much that is."""
    area = mask[0].numel()
    labels = components(mask.numpy())
    sums = np.bincount(labels.reshape(-1), nats.double().numpy().reshape(-1), labels.size + 1)
    by_pixel = np.append(0.0, sums[1:]).reshape(-1)[labels].reshape(len(mask), area)
    by_pixel = np.where(mask.flatten(1).numpy(), by_pixel, 0.0)
    score = by_pixel.max(axis=1, initial=0)
    best = labels.reshape(len(mask), area)[np.arange(len(mask)), by_pixel.argmax(axis=1)]
    best = np.where(score > 0, best, -1)
    chosen = torch.from_numpy((labels == best[:, None, None]) & (best > 0)[:, None, None])
    return chosen, torch.from_numpy(score).float()
