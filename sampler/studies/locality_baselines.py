r"""Two other theories of locality as denoisers: masks of the Wiener filter, and averaged crops.

Both weigh training images by softmax(-||M (y - x_n)||^2 / (2 sigma^2)) as the LS machine does, in
y = x0 + sigma eps, and differ in what M keeps: the coordinates that the Wiener filter uses
(arXiv 2509.09672), or a whole square crop (arXiv 2411.19339). The softmax is over all training
images, exactly, however many of them are in memory at once.
"""

from collections.abc import Callable, Iterator, Mapping
from math import log

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn.functional import threshold as where_above

from patchindex import ImageSet
from patchindex.images import to_unit
from sampler.choices import BaselineName
from sampler.denoiser import Denoiser, Images, groups
from sampler.errors import SamplerConfigError
from sampler.schedule import plan_steps
from sampler.studies.baselines import wiener_denoiser

BLOCK_NUMBERS = 2**22  # differences of states and images that are in memory at once
SMALLEST_LOG_WEIGHT = -60.0  # beside the largest, 0: of a million images they add up to 1e-20
SMALLEST_GAIN = 1e-6  # of a coordinate that rows of the Wiener filter are divided by
LARGE_SIDE = 64  # pixels, from which on the published threshold is lower
# arXiv 2411.19339: sides of crops at the 18 noise levels of EDM, from 80 to 0.002
PUBLISHED_SIDES = (*[32] * 7, 23, 15, 11, 7, 5, *[3] * 6)

# Of images, class of each state and device: their denoiser.
_MakeDenoiser = Callable[[ImageSet, Int[Tensor, " b"] | None, torch.device | None], Denoiser]


def lukoianov_denoiser(
    images: ImageSet,
    label: Int[Tensor, " b"] | None = None,
    device: torch.device | None = None,
    *,
    threshold: float | None = None,
) -> Denoiser:
    r"""Mean of each coordinate m under softmax_n(-||M_m (y - x_n)||^2 / (2 sigma^2)).

    M_m keeps the coordinates k at which row m of the Wiener filter W = C (C + sigma^2)^-1, divided
    by its diagonal entry, is at least `threshold` times the largest such value of all rows
    (arXiv 2509.09672). Coordinates are pixels of channels; diagonal entries below 1e-6, those of
    coordinates that all images agree on, divide nothing.

    Args:
        label: class of each state; None for all images.
        device: where the states will lie.
        threshold: None for the published one: 0.005 of grey images, 0.05 of color, 0.02 of color
            from 64 pixels a side. 0 keeps everything, as the IS machine does.

    Raises:
        SamplerConfigError: a threshold that is none.

    Example:
        >>> lukoianov_denoiser(ImageSet.load("mnist"))(y, 0.5)
    """
    share = _published_threshold(images) if threshold is None else threshold
    if not 0 <= share <= 1:
        raise SamplerConfigError(f"threshold is {share}. Give a share from 0 to 1.")
    covariances = {value: covariance(images.with_label(value), device) for value in _classes(label)}

    def of_class(y: Images, sigma: float, value: int | None) -> Images:
        mask = wiener_mask(covariances[value], sigma, share).to(y)
        return _masked_mean(images.pixels_on(y.device, value), y, sigma, mask)

    return _of_own_class(of_class, label)


def _published_threshold(images: ImageSet) -> float:
    """That of arXiv 2509.09672 for images of this size and color."""
    if images.channels == 1:
        return 0.005
    return 0.02 if min(images.height, images.width) >= LARGE_SIDE else 0.05


def covariance(images: ImageSet, device: torch.device | None = None) -> Float[Tensor, "d d"]:
    """The covariance of the images' coordinates in float64, from sums over blocks of them."""
    size = images.channels * images.height * images.width
    total = torch.zeros(size, dtype=torch.float64, device=device)
    products = torch.zeros(size, size, dtype=torch.float64, device=device)
    for block in images.tensor.split(max(1, BLOCK_NUMBERS // size)):
        flat = to_unit(block.to(total.device)).flatten(1).double()
        total += flat.sum(0)
        products += flat.T @ flat
    mean = total / len(images)
    return products / len(images) - torch.outer(mean, mean)


def wiener_mask(
    covariance: Float[Tensor, "d d"], sigma: float, threshold: float
) -> Float[Tensor, "d d"]:
    """Row m is 1 at the coordinates that predict coordinate m, see `lukoianov_denoiser`."""
    noisy = covariance + sigma**2 * torch.eye(len(covariance)).to(covariance)
    # both are symmetric and commute, so that the order of the product does not matter
    wiener = torch.cholesky_solve(covariance, torch.linalg.cholesky(noisy))
    gain = wiener.diagonal()[:, None]
    relative = (wiener / torch.where(gain.abs() < SMALLEST_GAIN, 1.0, gain)).abs()
    return (relative >= threshold * relative.max()).to(covariance)


def _masked_mean(
    pixels: UInt8[Tensor, "n c h w"], y: Images, sigma: float, mask: Float[Tensor, "d d"]
) -> Images:
    """The mean of each coordinate over images that are compared by its row of the mask alone."""
    states = y.flatten(1)
    softmax = _RunningSoftmax()
    weighted = torch.zeros_like(states, dtype=torch.float64)
    for x in _blocks(pixels, states.numel(), y.device):
        flat = x.flatten(1)
        distance_sq = (states[:, None] - flat).square() @ mask.T
        kept, weights = softmax.add(-distance_sq / (2 * sigma**2))
        weighted = weighted * kept + (weights * flat).sum(1)
    return (weighted / softmax.total).to(y).reshape(y.shape)


def pspc_denoiser(
    images: ImageSet,
    label: Int[Tensor, " b"] | None = None,
    device: torch.device | None = None,  # noqa: ARG001 - nothing is prepared
    *,
    side_at: Callable[[float], int] | None = None,
) -> Denoiser:
    """Average over all square crops around a pixel of the posterior means of whole crops.

    A crop's mean is that under softmax_n(-||crop(y) - crop(x_n)||^2 / (2 sigma^2)) over the same
    place of all images; crops lie inside the image (arXiv 2411.19339, equations 9-11).

    Args:
        label: class of each state; None for all images.
        side_at: side of the crops in pixels by sigma; None for `published_side`. A side that
            exceeds the image's is the image's.

    Example:
        >>> pspc_denoiser(ImageSet.load("mnist"), side_at=lambda sigma: 7)(y, 0.5)
    """

    def of_class(y: Images, sigma: float, value: int | None) -> Images:
        side = (side_at or published_side)(sigma)
        return _crops_mean(images.pixels_on(y.device, value), y, sigma, side)

    return _of_own_class(of_class, label)


def published_side(sigma: float) -> int:
    """The published side of crops at EDM's noise level that is nearest to sigma in logarithm."""
    levels = [step.sigma for step in plan_steps((None,), len(PUBLISHED_SIDES), "edm")]
    gaps = [abs(log(level / sigma)) for level in levels]
    return PUBLISHED_SIDES[gaps.index(min(gaps))]


def _crops_mean(pixels: UInt8[Tensor, "n c h w"], y: Images, sigma: float, side: int) -> Images:
    """The average of crops' means, in two passes: their normalizers, then what they weigh."""
    rows, cols = (_windows(length, side).to(y) for length in y.shape[2:])

    def log_weights(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "b n i j"]:
        # sums of a few squares: differences of an integral image would lose small distances
        squares = (y[:, None] - x).square().sum(2)
        return -(rows.T @ squares @ cols) / (2 * sigma**2)

    softmax = _RunningSoftmax()
    for x in _blocks(pixels, y.numel(), y.device):
        softmax.add(log_weights(x))
    total = torch.zeros_like(y, dtype=torch.float64)
    for x in _blocks(pixels, y.numel(), y.device):
        shares = rows @ softmax.shares(log_weights(x)) @ cols.T
        total += torch.einsum("bnhw,nchw->bchw", shares, x)
    crops = torch.outer(rows.sum(1), cols.sum(1))
    return (total / crops).to(y)


def _windows(length: int, side: int) -> Float[Tensor, "h i"]:
    """1 where a position lies in a window; windows are as long as `side`, or as all there is."""
    side = min(side, length)
    place, start = torch.arange(length)[:, None], torch.arange(length - side + 1)
    return ((place >= start) & (place < start + side)).float()


class _RunningSoftmax:
    """Sums of exp(log_weights) over training images that come in blocks.

    Attributes:
        largest: of the log weights so far, by which all are shifted.
        total: of the shifted weights, in float64.
    """

    def __init__(self) -> None:
        self.largest, self.total = torch.tensor(-torch.inf), torch.tensor(0.0)

    def add(
        self, log_weights: Float[Tensor, "b n *q"]
    ) -> tuple[Float[Tensor, "b *q"], Float[Tensor, "b n *q"]]:
        """By what sums so far shrink under the new shift, and the shifted weights of a block."""
        largest = torch.maximum(self.largest.to(log_weights), log_weights.amax(1))
        kept = (self.largest.to(largest) - largest).exp().double()
        weights = _weights(log_weights, largest)
        self.largest, self.total = largest, self.total.to(kept) * kept + weights.sum(1)
        return kept, weights

    def shares(self, log_weights: Float[Tensor, "b n *q"]) -> Float[Tensor, "b n *q"]:
        """The weights of a block over the sum of all that were added."""
        return _weights(log_weights, self.largest) / self.total[:, None].to(log_weights)


def _weights(
    log_weights: Float[Tensor, "b n *q"], largest: Float[Tensor, "b *q"]
) -> Float[Tensor, "b n *q"]:
    """exp(log_weights - largest), exactly 0 where that is so small that no sum can tell."""
    shifted = log_weights - largest[:, None]
    # smaller ones and their products are denormal numbers, which processors take long over
    return where_above(shifted, SMALLEST_LOG_WEIGHT, -torch.inf).exp()


def _blocks(
    pixels: UInt8[Tensor, "n c h w"], num_states: int, device: torch.device
) -> Iterator[Float[Tensor, "n c h w"]]:
    """Training images in [-1, 1], as many at once as memory for differences admits."""
    for block in pixels.split(max(1, BLOCK_NUMBERS // num_states)):
        yield to_unit(block.to(device))


def _classes(label: Int[Tensor, " b"] | None) -> list[int | None]:
    """The classes that states have; None alone for all images."""
    return [None] if label is None else list(label.unique().tolist())


def _of_own_class(
    of_class: Callable[[Images, float, int | None], Images], label: Int[Tensor, " b"] | None
) -> Denoiser:
    """The denoiser that asks for each state's own class."""

    def mean(y: Images, sigma: float) -> Images:
        means = torch.empty_like(y)
        for states, level, value in groups(len(y), sigma, label):
            chosen = slice(None) if states is None else states.to(y.device)
            means[chosen] = of_class(y[chosen], level, value)
        return means

    return mean


BASELINES: Mapping[BaselineName, _MakeDenoiser] = {
    "wiener": wiener_denoiser,
    "lukoianov": lukoianov_denoiser,
    "pspc": pspc_denoiser,
}


def check_names(what: str, names: tuple[str, ...], known: tuple[str, ...]) -> None:
    """Raise SamplerConfigError unless all these names are known, and none is there twice."""
    wrong = [name for name in names if name not in known or names.count(name) > 1]
    if wrong:
        twice = " more than once" if wrong[0] in known else ""
        raise SamplerConfigError(
            f"{what} names {wrong[0]!r}{twice}. Give some of {', '.join(known)}, each once."
        )
