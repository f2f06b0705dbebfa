"""Baselines of the comparison: the nearest training image, and the Wiener filter."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchindex import ImageSet
from patchindex.images import to_unit
from sampler.denoiser import Denoiser, groups

BLOCK_IMAGES = 4096


def nearest_images(
    images: Float[Tensor, "b c h w"], training: ImageSet
) -> tuple[Int[Tensor, " b"], Float[Tensor, " b"]]:
    """Position of the nearest training image, and the Euclidean distance to it."""
    flat = images.flatten(1)
    best = flat.new_full((len(flat),), torch.inf)
    where = torch.zeros_like(best, dtype=torch.long)
    for start, block in zip(
        range(0, len(training), BLOCK_IMAGES), training.tensor.split(BLOCK_IMAGES), strict=True
    ):
        # of differences: an expanded square would lose the small distances of memorised images
        mode = "donot_use_mm_for_euclid_dist"
        distances = torch.cdist(flat, to_unit(block.to(flat.device)).flatten(1), compute_mode=mode)
        found, position = distances.min(1)
        nearer = found < best
        best, where = torch.where(nearer, found, best), torch.where(nearer, position + start, where)
    return where, best


@dataclass(frozen=True, slots=True)
class WienerFilter:
    """Mean and principal axes of an image set.

    Attributes:
        axes: eigenvectors of the covariance as columns.
        variance: eigenvalues.
    """

    mean: Float[Tensor, " d"]
    axes: Float[Tensor, "d d"]
    variance: Float[Tensor, " d"]

    @classmethod
    def of(cls, images: ImageSet, device: torch.device | None = None) -> "WienerFilter":
        """The filter of these images, from sums over blocks of them."""
        size = images.channels * images.height * images.width
        total, products = (torch.zeros(shape, device=device) for shape in ((size,), (size, size)))
        # about grey, which is near the mean of images, so that the subtraction below is harmless
        for block in images.tensor.split(BLOCK_IMAGES):
            flat = to_unit(block.to(device)).flatten(1)
            total += flat.sum(0)
            products += flat.T @ flat
        mean = total / len(images)
        variance, axes = torch.linalg.eigh(products / len(images) - torch.outer(mean, mean))
        return cls(mean, axes, variance.clamp(min=0))

    def denoise(self, y: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b c h w"]:
        """E[x0 | y] = mean + C (C + sigma^2)^-1 (y - mean) for covariance C."""
        gain = self.variance / (self.variance + sigma**2)
        along = (y.flatten(1) - self.mean) @ self.axes
        return (self.mean + (along * gain) @ self.axes.T).reshape(y.shape)


def wiener_denoiser(
    images: ImageSet, label: Int[Tensor, " b"] | None, device: torch.device | None = None
) -> Denoiser:
    """The Wiener filter of each sample's own class; of all images without labels.

    Args:
        device: where the states will lie.
    """
    classes = [None] if label is None else label.unique().tolist()
    filters = {value: WienerFilter.of(images.with_label(value), device) for value in classes}

    def mean(y: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b c h w"]:
        means = torch.empty_like(y)
        for states, level, value in groups(len(y), sigma, label):
            chosen = slice(None) if states is None else states.to(y.device)
            means[chosen] = filters[value].denoise(y[chosen], level)
        return means

    return mean
